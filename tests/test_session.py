"""The two threads of a run and the helm between them."""

from __future__ import annotations

import json
import random
import threading
import time

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue, JSONGearmanClient
from tests.gearmand import Gearmand, counts
from tests.running import UNMEASURED
from tests.waiting import LIMIT, wait_for


class Mixed(GearmanCMDQueue):
    """Commands of about the background thread's nap, shorter and longer."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def work(self, gcmd, task):
        if task["pause"]:
            gcmd.send_status(1, 2)
            time.sleep(float(task["pause"]))
        self.done.append(task["number"])
        return task["number"]


def tasks(count: int) -> list[dict[str, object]]:
    chance = random.Random(5)
    pauses = [0, 0, 0, 0.001, 0.002, 0.004, 0.01]
    return [{"command": "work", "number": number, "pause": chance.choice(pauses)} for number in range(count)]


@pytest.mark.parametrize("prefetch", [1, 5])
def test_short_and_long_commands_take_turns(server, queue, run, prefetch):
    run(GearmanCMD([server.address], prefetch=prefetch).register_task(queue, Mixed()))
    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        assert list(client.map(queue, tasks(300), window=20)) == list(range(300))


def test_a_worker_that_was_idle_works_on(server, queue, run):
    run(GearmanCMD([server.address]).register_task(queue, Mixed()))
    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        for task in tasks(40):
            assert client.call(queue, task) == task["number"]
            time.sleep(random.choice([0, 0.001, 0.01]))


def test_a_lost_server_is_noticed_and_found_again_in_a_long_command(own_gearmand, queue, run):
    let_go = threading.Event()

    class Holding(GearmanCMDQueue):
        def hold(self, gcmd, task):
            assert let_go.wait(LIMIT)

    run(GearmanCMD([own_gearmand.address]).register_task(queue, Holding()))
    with JSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
        client.submit(queue, {"command": "hold"})
        wait_for(lambda: counts(own_gearmand, queue)[1], "the command")
        own_gearmand.stop()
        own_gearmand.start()
        wait_for(lambda: counts(own_gearmand, queue)[2], "the worker, which is still in its command")
        let_go.set()


INTERRUPTED = """
import faulthandler, json, random, signal, sys, threading, time
from types import SimpleNamespace
from gearmancmd import GearmanCMD, GearmanCMDQueue
from tests.gearmand import counts

address, queue, prefetch = sys.argv[1:]
host, port = address.rsplit(":", 1)
server = SimpleNamespace(host=host, port=int(port))
chance = random.Random(7)
done = []

class Noting(GearmanCMDQueue):
    def work(self, gcmd, task):
        done.append(task["number"])
        return task["number"]

def interrupt(signum, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
faulthandler.dump_traceback_later(120, exit=True)
target = Noting()
threads = threading.active_count()
interrupted = 0
while counts(server, queue)[0]:
    try:
        # at a slow server the jobs would not come to an end this way
        delay = chance.uniform(0.001, 0.02) if interrupted < 200 else 1
        # again after 0.5 s: Python drops an exception that a signal handler raises in a __del__
        signal.setitimer(signal.ITIMER_REAL, delay, 0.5)
        GearmanCMD([address], prefetch=int(prefetch)).register_task(queue, target).run()
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        interrupted += 1
until = time.monotonic() + 5
while threading.active_count() > threads and time.monotonic() < until:
    time.sleep(0.01)
print("told", json.dumps([interrupted, threading.active_count() - threads, sorted(set(done))]))
"""


@pytest.mark.timeout(200)
@pytest.mark.parametrize("prefetch", [1, 16])
def test_ctrl_c_at_any_point_leaves_no_thread_and_loses_no_job(server, queue, worker_process, prefetch):
    # the embedded server shares this process, and on a busy machine has done no more than 70 of such jobs a second
    jobs = 4000 if isinstance(server, Gearmand) else 1000
    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        handles = list(client.submit_many(queue, [{"command": "work", "number": number} for number in range(jobs)]))
    process = worker_process(INTERRUPTED, server.address, queue, str(prefetch), environment=UNMEASURED)
    process.process.wait(timeout=150)
    interrupted, threads_left, done = json.loads(process.wait_for_line("told").removeprefix("told"))
    assert done == list(range(len(handles)))
    assert interrupted
    assert threads_left == 0
