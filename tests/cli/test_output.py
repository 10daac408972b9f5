"""Closed streams and full disks: a command works, or says one clear line."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue
from tests.support.commandline import ENVIRON, PROGRAM
from tests.support.gear_client import Caller
from tests.support.gearmand import counts
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ROOT

#: As users have it: what is printed stays in a buffer for a while.
BUFFERED = {name: value for name, value in ENVIRON.items() if name != "PYTHONUNBUFFERED"}

FULL = "gearmancmd: stdout cannot be written: No space left on device"

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this machine has no /dev/full")


def shell(*arguments, streams, input="", cwd=ROOT):
    """A command whose streams are led elsewhere by a shell."""
    command = f"exec {shlex.join([*PROGRAM, *arguments])} {streams}"
    return subprocess.run(
        ["/bin/sh", "-c", command], input=input, capture_output=True, text=True, timeout=LIMIT, cwd=cwd, env=BUFFERED
    )


@pytest.fixture
def worker(gearmand, queue, run):
    class Queue(GearmanCMDQueue):
        def reverse(self, gcmd, task):
            gcmd.send_warning("nearly")
            return task["message"][::-1]

    run(GearmanCMD([gearmand.address]).register_task(queue, Queue()))
    wait_for(lambda: counts(gearmand, queue)[2], "the worker")


def commands(queue, server):
    """Each command that ends by itself, with what it says on stdout in the usual case."""
    servers = ["-s", server.address]
    return {
        "--version": (["--version"], "gearmancmd"),
        "--help": (["--help"], "Usage"),
        "no command": ([], "Usage"),
        "status": (["status", *servers], queue),
        "status --json": (["status", "--json", *servers], queue),
        "workers": (["workers", *servers], queue),
        "call": (["call", queue, "reverse", "message=Hello", *servers], "olleH"),
        "call --raw": (["call", queue, "reverse", "message=Hello", "--raw", *servers], "olleH"),
        "call --background": (["call", queue, "reverse", "message=Hello", "--background", *servers], "H:"),
        "submit": (["submit", queue, *servers], "1 task submitted"),
        "demo": (["demo"], "olleH"),
    }


NAMES = list(commands("", type("Server", (), {"address": ""})))


@pytest.mark.parametrize("name", NAMES)
def test_on_a_full_disk_a_command_says_so_in_one_line(worker, gearmand, queue, name):
    arguments, _ = commands(queue, gearmand)[name]
    done = shell(*arguments, streams="> /dev/full", input='{"command": "reverse", "message": "x"}\n')
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line != 'warning: "nearly"']
    assert lines == [f"{FULL}; 1 task submitted" if name == "submit" else FULL]


@pytest.mark.parametrize("streams", ["<&- 2>&-", "<&- >&- 2>&-", "2> /dev/full"])
@pytest.mark.parametrize("name", NAMES)
def test_with_a_closed_stream_or_nowhere_to_complain_a_command_works(worker, gearmand, queue, name, streams):
    arguments, said = commands(queue, gearmand)[name]
    done = shell(*arguments, streams=streams, input='{"command": "reverse", "message": "x"}\n')
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    if ">&-" not in streams.replace("2>&-", ""):
        assert said in done.stdout or (name == "submit" and "<&-" in streams)


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2> /dev/full", "> /dev/full"])
def test_a_failure_keeps_its_exit_status_where_it_cannot_be_told(streams):
    for arguments, status in ((["cancel", "H:x:1", "-s", "127.0.0.1:1"], 4), (["status", "--nonsense"], 2)):
        done = shell(*arguments, streams=streams)
        assert done.returncode == status, done
        lines = done.stderr.splitlines()
        assert len(lines) == (0 if "2>" in streams else 1), done


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "< /dev/null > /dev/full 2> /dev/full"])
def test_run_works_without_streams(gearmand, queue, project, streams):
    """A command that prints into nowhere is answered too."""
    arguments = ["run", "shop.queues:Queue", "-q", queue, "-s", gearmand.address]
    command = f"exec {shlex.join([*PROGRAM, *arguments])} {streams}"
    process = subprocess.Popen(["/bin/sh", "-c", command], cwd=project, env=BUFFERED)
    try:
        with Caller(gearmand) as client:
            assert client.call(queue, {"command": "crash"}).reason == "ValueError: a bug"
            assert client.call(queue, {"command": "descriptors"}).result == [
                "/dev/null" if "-" in streams else name for name in ("/dev/null", "/dev/full", "/dev/full")
            ]
            assert client.call(queue, {"command": "reverse", "message": "Hello"}).result == "olleH"
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()


def test_what_a_module_prints_on_a_full_disk_is_one_line_at_the_end(tmp_path):
    """It stands in a buffer until then."""
    (tmp_path / "mine.py").write_text("print('hello')\nraise ValueError('a bug')", "utf-8")
    done = shell("run", "q=mine:Queue", streams="> /dev/full", cwd=tmp_path)
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert "ValueError: a bug" in first
    assert second == FULL


def test_top_without_a_stdout_says_so():
    done = shell("top", streams=">&-")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "top needs a terminal" in done.stderr


def test_call_with_a_closed_stdin_has_no_task(gearmand, queue):
    done = shell("call", queue, "-s", gearmand.address, streams="<&-")
    assert done.returncode == 2
    assert re.fullmatch("gearmancmd: the task from stdin is not JSON: .*\n", done.stderr)


def test_serve_on_a_full_disk_says_so():
    done = shell("serve", "--port", "0", streams="> /dev/full")
    assert (done.returncode, done.stderr) == (1, f"{FULL}\n")
