"""``gearmancmd demo``: a job server, a worker and a client, to see it work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..client import JSONGearmanClient
from ..cmd import GearmanCMD
from ..errors import MissingExtra, ServerUnavailable
from ..queue import GearmanCMDQueue
from ..testing import JobServer, job_server, working
from .failure import Failure
from .options import command
from .output import say
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
    with _server() as (name, address):
        _tell("job server", f"{name} on {address}")
        _tell("worker", 'queue "queue", with the command "reverse"')
        worker = GearmanCMD([address]).register_task("queue", Queue())
        with working(worker), JSONGearmanClient([address], timeout=_LIMIT) as client:
            for task in TASKS:
                _tell("task", as_json(task))
                _tell("result", as_json(client.call("queue", task)))


def _tell(what: str, text: str) -> None:
    say(f"{what:<11} {text}")


@contextmanager
def _server() -> Iterator[JobServer]:
    """A job server of our own, or the reason why there is none."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(job_server())
        except (MissingExtra, ServerUnavailable) as error:
            raise Failure(str(error)) from error
        yield server
