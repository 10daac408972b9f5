"""Each example is started as it stands, driven by gear's client, and stopped with Ctrl+C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib

import pytest

from gearmancmd.server import EmbeddedServer
from tests.support.gear_client import Caller
from tests.support.workers import ENVIRONMENT, ROOT, ExampleProcess


@pytest.fixture
def example():
    """Starts an example on a server of its own; the client that drives it."""
    started = []
    with EmbeddedServer() as server, Caller(server) as client:

        def start(name: str) -> Caller:
            started.append(ExampleProcess(name, server.address))
            return client

        yield start
        for process in started:
            process.interrupt()
            assert process.exit_status() == 0, process.lines
            process.end()


def test_reverse(example):
    client = example("reverse.py")
    assert client.call("queue", {"command": "reverse", "message": "Hello"}).data == b'"olleH"'
    assert client.call("queue", {"command": "sort"}).result == {"error": "unknown command"}


def test_reverse_stops_when_it_is_told_to():
    with EmbeddedServer() as server, Caller(server) as client:
        process = ExampleProcess("reverse.py", server.address)
        assert client.call("queue", {"command": "stop"}).data == b"null"
        assert process.exit_status() == 0
        process.end()


def test_custom_dispatch(example):
    client = example("custom_dispatch.py")
    assert client.call("mail", {"to": "ada"}).result == "sent to ada"
    assert client.call("mail", {"text": "hm"}).result == "kept as a draft"
    assert client.call("mail", {"spam": True}).result is None
    assert client.call("mail", {"to": "ada", "urgent": True}).result == "sent to ada at once"


def test_custom_worker(example):
    client = example("custom_worker.py")
    task = zlib.compress(json.dumps({"command": "reverse", "message": "Hello"}).encode())
    assert json.loads(zlib.decompress(client.call("compressed", task).data)) == "olleH"


def test_progress(example):
    client = example("progress.py")
    job = client.send("progress", {"command": "checksum", "numbers": [1, 2, 3]})
    assert client.outcome(job).result == 6
    assert client.statuses[job.handle][-1] == (b"3", b"3")
    assert client.call("progress", {"command": "checksum"}).reason == "numbers must be a list"


def test_client():
    with EmbeddedServer() as server, Caller(server):
        process = ExampleProcess("reverse.py", server.address)
        command = [sys.executable, "examples/client.py", server.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=ENVIRONMENT)
        process.interrupt()
        assert process.exit_status() == 0
        process.end()
    assert (done.returncode, done.stdout.split()) == (0, ["olleH", "gearman", "gearmancmd"]), done
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 1
    assert done.stderr.startswith("ServerUnavailable: ")


def test_the_test_suite(tmp_path):
    """With no plugin but gearmancmd's own, found or not by way of an installed package."""
    options = ["-p", "gearmancmd.pytest_plugin", "-p", "no:cacheprovider", "-W", "error", "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, ROOT / "examples" / "test_reverse.py"],
        env={**ENVIRONMENT, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done
    assert " 4 passed in " in f" {done.stdout.splitlines()[-1]}", done
