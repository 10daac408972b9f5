"""Each Python block of the README is run as it stands, in a process of its own, and driven by gear's client."""

from __future__ import annotations

import contextlib
import fcntl
import json
import pickle
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from gearmancmd.server import EmbeddedServer
from tests.calling import Caller
from tests.commandline import PROGRAM
from tests.gearmand import counts
from tests.running import ENVIRONMENT, ROOT, ExampleProcess
from tests.waiting import wait_for

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


class Call(NamedTuple):
    """A task for a block's queue, and what the client is to see."""

    queue: str
    task: Any
    state: str
    data: bytes


REVERSE = {"command": "reverse", "message": "Hello"}
CALLS = [
    Call("queue", REVERSE, "complete", b'"olleH"'),
    Call("progress", {"command": "total", "numbers": [1, 2]}, "complete", b'{"so far":3}"nearly done"3'),
    Call("mail", {"to": "ada"}, "complete", b'"sent to ada"'),
    Call("post", {"urgent": True}, "complete", b'"sent at once"'),
    Call("printer", {"command": "print"}, "exception", b""),
    Call("plain", {"command": "print"}, "failed", b""),
    Call("service", REVERSE, "complete", b'"olleH"'),
    Call("pickle", pickle.dumps(REVERSE), "complete", pickle.dumps("olleH")),
    Call("by-itself", "Hello", "complete", b'"olleH"'),
]
WORKERS = {call.queue: next(block for block in BLOCKS if f'"{call.queue}"' in block) for call in CALLS}

#: Clients, by what only they hold, with what they print.
CLIENTS = [
    (
        " JSONGearmanClient(",
        ["olleH", r"H:\S+ \w+ olleH", r"H:\S+ \w+", "1000 jobs in the background", "olleH", "olleH"],
    ),
    ("AsyncJSONGearmanClient(", ["1000", "olleH"]),
    ("Admin(", [r"localhost:4730 queue 0 \d 1"]),
]
DRIVEN = re.compile(r"\.(run|work)\(\)|Client\(|Admin\(")


class PublicServer(NamedTuple):
    """What listens on the port that the README names."""

    host: str
    port: int


@pytest.fixture(scope="module")
def port_4730() -> Iterator[PublicServer]:
    """A server on gearmand's own port: the embedded one, or a gearmand that is there already. Of several runs of the
    tests, one has it at a time.
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
    script = tmp_path / "worker.py"
    script.write_text(WORKERS[call.queue], "utf-8")
    process = ExampleProcess(str(script))
    try:
        with Caller(port_4730) as client:
            outcome = client.call(call.queue, call.task)
    finally:
        process.interrupt()
        process.end()
    assert (outcome.state, outcome.data) == (call.state, call.data), process.lines
    if call.state == "exception":
        assert json.loads(outcome.exception or b"") == "out of paper"


@pytest.mark.parametrize(("mark", "lines"), CLIENTS, ids=[mark for mark, _ in CLIENTS])
def test_a_client_of_the_readme(port_4730, mark, lines):
    block = next(block for block in BLOCKS if mark in block)
    process = ExampleProcess("reverse.py")
    try:
        with Caller(port_4730) as client:
            client.call("queue", REVERSE)
            wait_for(lambda: counts(port_4730, "queue")[:1] == (0,), "the jobs of others to be done")
        command = [sys.executable, "-c", block]
        done = subprocess.run(command, env=ENVIRONMENT, timeout=60, capture_output=True, text=True)
    finally:
        process.interrupt()
        process.end()
    printed = [line for line in done.stdout.splitlines() if " queue " in line or "Admin" not in block]
    assert done.returncode == 0, done.stderr
    assert len(printed) == len(lines), printed
    for line, expected in zip(printed, lines, strict=True):
        assert re.fullmatch(expected, line)


@pytest.mark.parametrize("block", [block for block in BLOCKS if not DRIVEN.search(block)])
def test_a_block_that_is_no_worker(block, tmp_path: Path):
    authority = trustme.CA()
    certificate = authority.issue_cert("worker.example")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "worker.key"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "worker.pem"))
    subprocess.run([sys.executable, "-c", block], check=True, cwd=tmp_path, env=ENVIRONMENT, timeout=60)


def test_every_block_that_works_is_driven():
    assert not [block for block in BLOCKS if block not in WORKERS.values() and re.search(r"\.(run|work)\(\)", block)]
    assert len([block for block in BLOCKS if re.search(r"Client\(|Admin\(", block)]) == 3


def test_each_command_of_the_readme_has_its_help():
    commands = set(re.findall(r"`gearmancmd (\w+)", README))
    assert commands == {"demo", "run", "call", "submit", "status", "top", "workers", "cancel", "serve"}
    for command in commands:
        subprocess.run([*PROGRAM, command, "--help"], check=True, env=ENVIRONMENT, capture_output=True, timeout=60)


def test_completion_as_the_readme_has_it():
    environ = {**ENVIRONMENT, "_GEARMANCMD_COMPLETE": "bash_source"}
    done = subprocess.run(PROGRAM, env=environ, capture_output=True, text=True, timeout=60)
    assert "complete -o nosort" in done.stdout


def test_the_readmes_example_is_the_one_in_examples():
    example = (ROOT / "examples" / "reverse.py").read_text("utf-8")
    assert 'def reverse(self, gcmd, task):\n        return task["message"][::-1]' in example
