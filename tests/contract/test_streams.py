"""A worker whose standard streams are closed, or lead to a full disk, works all the same."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.support.gearmand import counts
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ENVIRONMENT

WORKER = """
import sys
from gearmancmd import GearmanCMD, GearmanCMDQueue

class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        print("reverses")
        return task["message"][::-1]

    def streams(self, gcmd, task):
        return [stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)]

    def quit(self, gcmd, task):
        gcmd.stop()

    def helper(self):
        pass  # is logged as no command

GearmanCMD([sys.argv[1]]).register_task(sys.argv[2], Queue()).run()
"""

CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all": "<&- >&- 2>&-"}


def start(server, queue, redirections):
    command = [sys.executable, "-u", "-c", WORKER, server.address, queue]
    return subprocess.Popen(["sh", "-c", f'exec "$@" {redirections}', "sh", *command], env=ENVIRONMENT)


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh")
@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams_do_no_harm(server, client, queue, closed):
    process = start(server, queue, CLOSED[closed])
    try:
        gone = client.call(queue, {"command": "streams"}).result
        assert gone == [closed in (name, "all") for name in ("stdin", "stdout", "stderr")]
        assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
        assert client.call(queue, {"command": "unknown"}).reason == f"queue {queue!r} has no command 'unknown'"
        assert client.call(queue, {"command": "quit"}).result is None
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: counts(server, queue)[2] == 0, "the worker to be gone")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_a_log_on_a_full_disk_does_no_harm(server, client, queue):
    process = start(server, queue, "2>/dev/full >/dev/null")
    try:
        assert client.call(queue, {"command": "unknown"}).state == "failed"
        assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
        assert client.call(queue, {"command": "quit"}).result is None
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
