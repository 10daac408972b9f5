"""``gearmancmd demo``: a job server, a worker and a client, to see it work."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import click

from ..admin import Admin
from ..client import JSONGearmanClient
from ..cmd import GearmanCMD
from ..errors import ServerUnavailable
from ..queue import GearmanCMDQueue
from .failure import Failure
from .options import command
from .terminal import as_json

TASKS = (
    {"command": "reverse", "message": "namraeg"},
    {"command": "reverse", "message": ".eert a pu deppac eW"},
    {"command": "reverse", "message": "Hello"},
)

#: Seconds for things that take a few milliseconds.
_LIMIT = 20.0


class Queue(GearmanCMDQueue):
    """The README's first worker."""

    def reverse(self, gcmd: GearmanCMD, task: Any) -> str:
        """The message backwards."""
        return str(task["message"])[::-1]


@command("gearmancmd demo")
def demo() -> None:
    """See it work: a job server, a worker and a client.

    Tasks are sent, and their results printed. The server is gearmand where that is on PATH, else the embedded one.
    All of it ends with the command.
    """
    with job_server() as (name, address):
        _tell("job server", f"{name} on {address}")
        _tell("worker", 'queue "queue", with the command "reverse"')
        worker = GearmanCMD([address]).register_task("queue", Queue())
        with working(worker), JSONGearmanClient([address], timeout=_LIMIT) as client:
            for task in TASKS:
                _tell("task", as_json(task))
                result = client.call("queue", task)
                click.echo(f"{'result':<12}", err=True, nl=False)
                click.echo(as_json(result))


def _tell(what: str, text: str) -> None:
    click.echo(f"{what:<11} {text}", err=True)


@contextmanager
def working(gcmd: GearmanCMD) -> Iterator[None]:
    """The worker works in a thread, for the time of the block."""
    stopping = threading.Event()
    thread = threading.Thread(target=gcmd.run, args=(stopping,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        gcmd.stop()
        thread.join(_LIMIT)


@contextmanager
def job_server() -> Iterator[tuple[str, str]]:
    """A job server on a free loopback port, for the time of the block: what it is, and its "host:port"."""
    program = shutil.which("gearmand")
    if program is not None:
        with gearmand(program) as address:
            yield "gearmand", address
        return
    try:
        from ..server import EmbeddedServer  # noqa: PLC0415 - it needs an extra of its own
    except ImportError as error:
        raise Failure(f"no gearmand on PATH, and {error}") from error
    with EmbeddedServer() as server:
        yield "the embedded server", server.address


@contextmanager
def gearmand(program: str) -> Iterator[str]:
    """A gearmand of our own."""
    port = _free_port()
    address = f"127.0.0.1:{port}"
    options = ["--listen", "127.0.0.1", "--port", str(port), "--log-file", "none"]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(process, address)
        yield address
    finally:
        process.kill()  # it holds nothing that anybody wants
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _LIMIT
    admin = Admin([address], timeout=_LIMIT)
    while True:
        try:
            admin.version()
            return
        except ServerUnavailable as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"gearmand does not start: {error}") from error
            time.sleep(0.005)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
