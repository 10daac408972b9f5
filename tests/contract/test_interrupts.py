"""One exception at any line of run(), such as Ctrl+C's, leaves everything usable."""

from __future__ import annotations

import json

import pytest

from gearmancmd import JSONGearmanClient
from tests.support.gearmand import Gearmand
from tests.support.waiting import LIMIT
from tests.support.workers import UNMEASURED

AT_EACH_LINE = """
import json, logging, sys, threading
from gearmancmd import GearmanCMD, GearmanCMDQueue, JSONGearmanClient
from tests.support.interrupts import KINDS, end_if_it_hangs, open_files, settled, strike

address, queue, graceful = sys.argv[1], sys.argv[2], sys.argv[3] == "graceful"
kind = KINDS[sys.argv[4]]
end_if_it_hangs()
logging.disable(logging.CRITICAL)

class Queue(GearmanCMDQueue):
    def work(self, gcmd, task):
        done.append(task["number"])
        gcmd.send_status(1, 2)
        if task.get("stop"):
            gcmd.stop(graceful)
        return task["number"]

class Counting:
    starts = stops = 0

    def on_start(self):
        self.starts += 1

    def on_job(self, job, task):
        begun.append(job.handle)

    def on_done(self, job, result, seconds):
        ended.append(job.handle)

    on_failure = on_done

    def on_stop(self):
        self.stops += 1

done, begun, ended = [], [], []
client = JSONGearmanClient([address], timeout=30)
counting = Counting()
hooks = [counting] if sys.argv[5] == "hooks" else []
gcmd = GearmanCMD([address], hooks=hooks).register_task(queue, Queue())

def submit(number):
    client.submit(queue, {"command": "work", "number": number, "stop": True}, background=True)

submit(0)
total = strike(gcmd.run, 0, kind).count
threads, files = threading.active_count(), open_files()
bad = []
struck = 0
for at in range(1, total + 40, int(sys.argv[6])):
    submit(at)
    lines = strike(gcmd.run, at, kind)
    struck += lines.where is not None
    if not settled(lambda: threading.active_count() <= threads):
        bad.append(["thread", at, lines.where])
    if not settled(lambda: open_files() <= files):
        bad.append(["file", at, lines.where])
    if counting.stops < counting.starts:
        bad.append(["on_stop", at, lines.where])
    try:
        if at not in done or lines.where is not None:
            # what was not answered is back in the queue; a job that was answered is not
            submit(-at)
            while -at not in done:
                gcmd.run()
    except Exception as error:
        bad.append([repr(error), at, lines.where])
        gcmd = GearmanCMD([address], hooks=hooks).register_task(queue, Queue())
if len(ended) != len(set(ended)):
    bad.append(["two ends of a job", ended])
if hooks and not (total < counting.starts and (kind is not KeyboardInterrupt or set(ended) <= set(begun))):
    bad.append(["hooks", counting.starts, len(begun), len(ended)])
print("told", json.dumps([total, struck, bad]), flush=True)
lost = {0, *range(1, total + 40, int(sys.argv[6]))} - set(done)
print("lost", json.dumps(sorted(lost) if kind is KeyboardInterrupt else []), flush=True)  # others fail the job in hand
"""


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("way", "kind", "hooks", "step"),
    [
        ("plain", "Ctrl+C", "hooks", 1),
        ("plain", "another exception of a signal handler", "no hooks", 4),
        ("graceful", "Ctrl+C", "no hooks", 2),
        ("graceful", "another exception of a signal handler", "hooks", 1),
    ],
)
def test_an_exception_at_each_line_leaves_no_thread_no_descriptor_and_a_run_that_works(
    gearmand, queue, worker_process, way, kind, hooks, step
):
    process = worker_process(AT_EACH_LINE, gearmand.address, queue, way, kind, hooks, str(step), environment=UNMEASURED)
    process.process.wait(timeout=180)
    total, struck, bad = json.loads(process.wait_for_line("told").removeprefix("told"))
    assert bad == []
    assert total > 100
    assert struck > total / step - 20, "how many lines a run has depends on what arrives when"
    assert json.loads(process.wait_for_line("lost").removeprefix("lost")) == []


INTERRUPTED = """
import faulthandler, json, random, signal, sys, threading, time
from types import SimpleNamespace
from gearmancmd import GearmanCMD, GearmanCMDQueue
from tests.support.gearmand import counts

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
