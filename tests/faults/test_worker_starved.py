"""A worker whose process may open nothing more goes on once it may again."""

from __future__ import annotations

from gearmancmd import JSONGearmanClient
from tests.support.waiting import wait_for

#: Its command `starve` takes all descriptors that there are, and each that becomes free, until the file is there.
WORKER = """
import os, resource, sys, threading, time
import gearmancmd

class Queue(gearmancmd.GearmanCMDQueue):
    def starve(self, gcmd, task):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        taken = []
        while not os.path.exists(sys.argv[3]):
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
                print("took descriptor", taken[-1], flush=True)
            except OSError:
                time.sleep(0.001)
        for descriptor in taken:
            os.close(descriptor)

    def reverse(self, gcmd, task):
        return task["message"][::-1]

gearmancmd.GearmanCMD([sys.argv[1]]).register_task(sys.argv[2], Queue()).run()
"""


def test_a_worker_that_may_open_nothing_more_connects_again_once_it_may(own_gearmand, queue, tmp_path, worker_process):
    file = tmp_path / "enough"
    process = worker_process(WORKER, own_gearmand.address, queue, str(file))
    with JSONGearmanClient([own_gearmand.address]) as client:
        client.call(queue, {"command": "starve"})
        process.wait_for_line("took descriptor 63")
        taken = len(process.lines)
        own_gearmand.stop()
        process.wait_for_line("no connection to gearmand")
        wait_for(lambda: [line for line in process.lines[taken:] if "took" in line])  # that of the connection
        own_gearmand.start()
        file.touch()
        assert client.call(queue, {"command": "reverse", "message": "Hello"}) == "olleH"
    assert len([line for line in process.lines if "no connection to gearmand" in line]) == 1
