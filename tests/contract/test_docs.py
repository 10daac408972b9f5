"""Each Python block of the docs is run as it stands, but for the server's address, beside the examples' workers.

A block that is a worker is sent a task.
"""

from __future__ import annotations

import pickle
import re
import subprocess
import sys

import pytest
import trustme

from tests.support.blocks import Call, answer_of, blocks_of
from tests.support.commandline import PROGRAM
from tests.support.gear_client import Caller
from tests.support.workers import ENVIRONMENT, ROOT, ExampleProcess

#: Whose blocks are run by tests of their own: tests/compat, test_tutorial.py and test_frameworks.py.
ELSEWHERE = {ROOT / "docs" / name for name in ("compat.md", "tutorial.md", "frameworks.md")}
PAGES = sorted(set((ROOT / "docs").rglob("*.md")) - ELSEWHERE)
BLOCKS = {f"{page.name} {number}": block for page in PAGES for number, block in enumerate(blocks_of(page), 1)}
PICTURES = [
    page.parent / name for page in PAGES for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text("utf-8"))
]
#: What a call of print() is to print: the comment behind it.
PRINTED = re.compile(r"print\(.*\)  # (.*)$", re.MULTILINE)


REVERSE = {"command": "reverse", "message": "Hello"}
CALLS = [
    Call("commands-progress", {"command": "total", "numbers": [1, 2]}, "complete", b'{"so far":3}"nearly done"3'),
    Call("commands-mail", {"to": "ada"}, "complete", b'"sent to ada"'),
    Call("commands-post", {"urgent": True}, "complete", b'"sent at once"'),
    Call("errors-printer", {"command": "print"}, "failed", b'"out of paper"'),
    Call("stopping-service", REVERSE, "complete", b'"olleH"'),
    Call("workers-pickle", pickle.dumps(REVERSE), "complete", pickle.dumps("olleH")),
    Call("workers-by-itself", "Hello", "complete", b'"olleH"'),
]
WORKERS = {call.queue: next(block for block in BLOCKS.values() if f'"{call.queue}"' in block) for call in CALLS}
PROGRAMS = {name: block for name, block in BLOCKS.items() if block not in WORKERS.values()}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A directory with the files that the blocks about TLS name."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    certificate = authority.issue_cert("worker.example")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "worker.key"))
    certificate.cert_chain_pems[0].write_to_path(str(directory / "worker.pem"))
    return directory


@pytest.fixture(scope="module")
def served(gearmand):
    """The address of a gearmand with the workers of examples/."""
    workers = [ExampleProcess(name, gearmand.address) for name in ("reverse.py", "progress.py")]
    with Caller(gearmand) as client:
        client.call("queue", {"command": "reverse", "message": "Hello"})
        client.call("progress", {"command": "checksum", "numbers": []})
    yield gearmand.address
    for worker in workers:
        worker.interrupt()
        worker.end()


@pytest.mark.parametrize("block", PROGRAMS.values(), ids=PROGRAMS)
def test_a_block_of_the_docs(served, certificates, block, tmp_path):
    script = tmp_path / "block.py"  # which the processes that it starts can import
    script.write_text(block.replace("localhost:4730", served), "utf-8")
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=certificates, env=ENVIRONMENT, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in PRINTED.findall(block) if line not in done.stdout.splitlines()] == []


@pytest.mark.parametrize("call", CALLS, ids=[call.queue for call in CALLS])
def test_a_worker_of_the_docs(gearmand, call, tmp_path):
    worker = WORKERS[call.queue].replace("localhost:4730", gearmand.address)
    outcome, lines = answer_of(worker, gearmand, call, tmp_path)
    assert (outcome.state, outcome.data) == (call.state, call.data), lines


def test_completion_as_the_docs_have_it():
    environ = {**ENVIRONMENT, "_GEARMANCMD_COMPLETE": "bash_source"}
    done = subprocess.run(PROGRAM, env=environ, capture_output=True, text=True, timeout=60)
    assert "complete -o nosort" in done.stdout


def test_the_pictures_are_those_that_the_script_draws():
    source = (ROOT / "scripts" / "pictures.py").read_text("utf-8")
    assert PICTURES
    assert [str(picture) for picture in PICTURES if not picture.is_file()] == []
    drawn = {"soak"} | {picture.stem for picture in PICTURES if f'"{picture.stem}": ' in source}  # soak: by tox -e soak
    assert {picture.stem for picture in PICTURES} <= drawn


def test_there_are_blocks_and_they_print():
    assert len(BLOCKS) > 5
    assert [
        name
        for name, block in BLOCKS.items()
        if name.startswith("clients") and "Client(" in block and not PRINTED.search(block)
    ] == []
