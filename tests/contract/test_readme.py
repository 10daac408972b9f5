"""Each Python block of the README is run as it stands, in a process of its own, and driven by gear's client."""

from __future__ import annotations

import contextlib
import fcntl
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gearmancmd.server import EmbeddedServer
from tests.support.blocks import Call, answer_of, blocks_of
from tests.support.commandline import PROGRAM
from tests.support.gear_client import Caller
from tests.support.gearmand import counts
from tests.support.waiting import wait_for
from tests.support.workers import ENVIRONMENT, ROOT, ExampleProcess

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = blocks_of(ROOT / "README.md")


REVERSE = {"command": "reverse", "message": "Hello"}
CALLS = [
    Call("queue", REVERSE, "complete", b'"olleH"'),
    Call("mail", {"to": "ada"}, "complete", b'"sent to ada from mail"'),
]
WORKERS = {call.queue: next(block for block in BLOCKS if f'"{call.queue}"' in block) for call in CALLS}
CLIENT = next(block for block in BLOCKS if "JSONGearmanClient(" in block)


class PublicServer(NamedTuple):
    """What listens on the port that the README names."""

    host: str
    port: int


@pytest.fixture
def port_4730() -> Iterator[PublicServer]:
    """A server on gearmand's own port: the embedded one, or a gearmand that is there already. Of several runs of the
    tests, one has it at a time, and for one test only: the others' time-outs go on while they wait.
    """
    server = PublicServer("127.0.0.1", 4730)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(open(Path(tempfile.gettempdir()) / "gearmancmd-tests-4730.lock", "w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            socket.create_connection(server, timeout=5).close()
        except OSError:
            stack.enter_context(EmbeddedServer(port=4730))
        yield server


@pytest.mark.parametrize("call", CALLS, ids=[call.queue for call in CALLS])
def test_a_worker_of_the_readme(port_4730, call, tmp_path: Path):
    outcome, lines = answer_of(WORKERS[call.queue], port_4730, call, tmp_path)
    assert (outcome.state, outcome.data) == (call.state, call.data), lines


def test_the_client_of_the_readme(port_4730):
    process = ExampleProcess("reverse.py")
    try:
        with Caller(port_4730) as client:
            client.call("queue", REVERSE)
            wait_for(lambda: counts(port_4730, "queue")[:1] == (0,), "the jobs of others to be done")
        command = [sys.executable, "-c", CLIENT]
        done = subprocess.run(command, env=ENVIRONMENT, timeout=60, capture_output=True, text=True)
    finally:
        process.interrupt()
        process.end()
    assert (done.returncode, done.stdout) == (0, "olleH\n"), done.stderr


def test_every_block_is_driven():
    assert [block for block in BLOCKS if block not in (*WORKERS.values(), CLIENT)] == []
    assert len(README.splitlines()) <= 150


def test_each_command_of_the_readme_has_its_help():
    commands = set(re.findall(r"`gearmancmd (\w+)", README))
    assert commands == {"demo", "run", "call", "submit", "status", "top", "workers", "cancel", "serve"}
    for command in commands:
        subprocess.run([*PROGRAM, command, "--help"], check=True, env=ENVIRONMENT, capture_output=True, timeout=60)


def test_the_readmes_example_is_the_one_in_examples():
    example = (ROOT / "examples" / "reverse.py").read_text("utf-8")
    assert re.search(r'    def reverse\(.*\n        return task\["message"\]\[::-1\]\n', BLOCKS[0])[0] in example
