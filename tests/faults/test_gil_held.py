"""A command that lets no other thread run, while its server is killed and comes back."""

from __future__ import annotations

import os

from gearmancmd import JSONGearmanClient
from tests.support.waiting import LIMIT, wait_for

#: PyDLL holds Python's lock in the call, so that the worker's loop stands still until there is something to read.
WORKER = """
import ctypes, os, sys
import gearmancmd

class Queue(gearmancmd.GearmanCMDQueue):
    def hold(self, gcmd, task):
        print("holds", flush=True)
        assert ctypes.PyDLL(None).read(pipe, ctypes.create_string_buffer(1), 1) == 1
        return "held"

pipe = os.open(sys.argv[3], os.O_RDWR)
gearmancmd.GearmanCMD([sys.argv[1]]).register_task(sys.argv[2], Queue()).run()
"""


def test_an_answer_to_a_server_that_has_gone_meanwhile_is_void_and_told_of(
    own_gearmand, queue, tmp_path, worker_process
):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)
    process = worker_process(WORKER, own_gearmand.address, queue, str(path))
    with JSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
        client.submit(queue, {"command": "hold"}, background=True)
        process.wait_for_line("holds")
        own_gearmand.stop()
        own_gearmand.start()
        os.write(pipe, b"12")
        process.wait_for_line("was done in vain: its server was lost, and has requeued it")
        assert client.call(queue, {"command": "hold"}) == "held"
    os.close(pipe)
    wait_for(lambda: process.lines.count("holds") == 2)
