"""A command that lets no other thread run, while its server is killed and comes back."""

from __future__ import annotations

import os

import pytest

from gearmancmd import JSONGearmanClient
from tests.support.waiting import LIMIT, wait_for

#: PyDLL holds Python's lock in the call, so that the worker's loop stands still until the shell has read a line. The
#: shell says itself that it waits: the lock is held by then.
WORKER = """
import ctypes, sys
import gearmancmd

class Queue(gearmancmd.GearmanCMDQueue):
    def hold(self, gcmd, task):
        assert ctypes.PyDLL(None).system(b"echo holds; read line < " + sys.argv[3].encode()) == 0
        return "held"

gcmd = gearmancmd.GearmanCMD([sys.argv[1]], poll_timeout=float(sys.argv[4])).register_task(sys.argv[2], Queue())
gcmd.run()
"""


@pytest.mark.parametrize("poll_timeout", ["0.001", "60"])
def test_an_answer_to_a_server_that_has_gone_meanwhile_is_void_and_told_of(
    own_gearmand, queue, tmp_path, worker_process, poll_timeout
):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)
    process = worker_process(WORKER, own_gearmand.address, queue, str(path), poll_timeout)
    with JSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
        client.submit(queue, {"command": "hold"}, background=True)
        process.wait_for_line("holds")
        own_gearmand.stop()
        own_gearmand.start()
        os.write(pipe, b"\n")
        process.wait_for_line("was done in vain: its server was lost, and has requeued it")
        os.write(pipe, b"\n")
        assert client.call(queue, {"command": "hold"}) == "held"
    os.close(pipe)
    wait_for(lambda: process.lines.count("holds") == 2)
