"""multiprocessing, pools, subprocesses and daemons: in commands, and around run()."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import select
import signal
import sys
import threading

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue, JSONGearmanWorker
from tests.support.blocks import blocks_of
from tests.support.commandline import Command
from tests.support.gearmand import counts
from tests.support.processes import PROGRAM
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ROOT

METHODS = ["fork", "spawn", "forkserver"]
WORK = {"command": "work"}


@pytest.mark.parametrize("by", ["Process", "Pool", "ProcessPoolExecutor"])
@pytest.mark.parametrize("method", METHODS)
def test_processes_in_a_command(site, queue, worker_process, method, by):
    process = worker_process(PROGRAM, json.dumps(site.servers), queue)
    task = {"command": "square", "method": method, "by": by, "numbers": [1, 2, 3]}
    for _ in range(2):
        assert site.client.call(queue, task, LIMIT * 2).result == [1, 4, 9]
    assert site.client.call(queue, WORK).result == process.process.pid
    assert counts(site.server, queue) == (0, 0, 1)


AROUND_RUN = """
import json, multiprocessing, sys
from tests.support.processes import ForkingCMD, Forks

if __name__ == "__main__":
    servers, queue, method = sys.argv[1:]
    context = multiprocessing.get_context(method)
    gcmd = ForkingCMD(json.loads(servers)).register_task(queue, Forks())
    gcmd.color = "green"
    processes = [context.Process(target=gcmd.run) for _ in range(2)]
    for process in processes:
        process.start()
    print("started", flush=True)
    for process in processes:
        process.join()
    print("ended", [process.exitcode for process in processes], flush=True)
"""


@pytest.mark.parametrize("method", METHODS)
def test_run_is_the_target_of_a_process(site, queue, worker_process, method):
    process = worker_process(AROUND_RUN, json.dumps(site.servers), queue, method)
    results = [site.client.call(queue, {"command": "leave"}, LIMIT * 2).result for _ in range(2)]
    assert [color for color, _ in results] == ["green", "green"]
    assert len({process.process.pid, *(pid for _, pid in results)}) == 3
    assert process.wait_for_line("ended") == "ended [0, 0]"


class Queue(GearmanCMDQueue):
    def __init__(self, color="red"):
        self.color = color

    def work(self, gcmd, task):
        return self.color

    def dump(self, gcmd, task):
        with pytest.raises(RuntimeError, match="cannot be pickled or copied while it is running"):
            pickle.dumps(gcmd)
        return "refused"


class ColoredCMD(GearmanCMD):
    def __init__(self, servers, color):
        super().__init__(servers, poll_timeout=0.25, prefetch=3)
        self.color = color


@pytest.mark.parametrize("through", [lambda gcmd: pickle.loads(pickle.dumps(gcmd)), copy.copy, copy.deepcopy])
def test_a_gcmd_that_was_pickled_or_copied_works_with_its_attributes_and_queues(server, client, queue, run, through):
    original = ColoredCMD([server.address], "blue").register_task(queue, Queue("green"))
    twin = through(original)
    assert (twin.color, twin.poll_timeout, twin.prefetch, twin.servers) == ("blue", 0.25, 3, [server.address])
    run(twin)
    assert client.call(queue, WORK).result == "green"
    assert client.call(queue, {"command": "dump"}).result == "refused"
    original.stop()  # which does not run
    assert client.call(queue, WORK).result == "green"


def test_what_cannot_be_pickled_is_named_by_pickle():
    gcmd = GearmanCMD(["localhost"], exception_handler=lambda error: None)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(gcmd)


# The command line.

TERMINATED = """
import multiprocessing, os, time
from gearmancmd import GearmanCMDQueue

context = multiprocessing.get_context("fork")

class Queue(GearmanCMDQueue):
    def terminate(self, gcmd, task):
        process = context.Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join()
        return process.exitcode

    def pool(self, gcmd, task):
        with context.Pool(4) as pool:  # it terminates its processes at the end
            return pool.map(abs, [-1, 2])

    def work(self, gcmd, task):
        return os.getpid()
"""


@pytest.mark.parametrize("site", ["gearmand"], indirect=True)
def test_processes_in_a_command_of_the_command_line_can_be_terminated(site, queue, tmp_path):
    (tmp_path / "terminated.py").write_text(TERMINATED, "utf-8")
    command = Command("run", "terminated:Queue", "-q", queue, "-s", site.server.address, cwd=tmp_path)
    try:
        for _ in range(5):
            assert site.client.call(queue, {"command": "terminate"}).result == -signal.SIGTERM
            assert site.client.call(queue, {"command": "pool"}).result == [1, 2]
        assert site.client.call(queue, WORK).result == command.process.pid
        command.signal(signal.SIGTERM)
        assert command.exit_status() == 0
    finally:
        command.end()


@pytest.mark.parametrize("site", ["gearmand"], indirect=True)
def test_the_sigterm_handler_of_the_docs_is_the_workers_alone(site, queue, worker_process):
    block = next(block for block in blocks_of(ROOT / "docs" / "stopping.md") if "SIGTERM" in block)
    source = block.replace('return task["message"][::-1]', "return terminated()").replace("stopping-service", queue)
    source = source.replace("localhost:4730", site.server.address)
    terminated = """
import multiprocessing, time
def wait(begun):
    begun.set()
    for _ in range(600):  # Python sees a signal that comes just before a system call only when the call returns
        time.sleep(0.1)
def terminated():
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    process = context.Process(target=wait, args=(begun,))
    process.start()
    begun.wait()  # Python forgets a signal that comes before a child has begun
    process.terminate()
    process.join()
    return process.exitcode
"""
    process = worker_process(terminated + source)
    for _ in range(5):
        assert abs(site.client.call(queue, {"command": "reverse"}).result) in {signal.SIGTERM, 128 + signal.SIGTERM}
    process.process.terminate()
    assert process.exit_status() == 0


# Subprocesses, daemons, and platforms.


def test_subprocesses_inherit_nothing(site, queue, run):
    class Subprocess(GearmanCMDQueue):
        def sockets(self, gcmd, task):
            import subprocess

            source = "from tests.support.processes import sockets; print(sockets())"
            command = [sys.executable, "-c", source]
            options = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "check": True, "capture_output": True, "text": True}
            return [subprocess.run(command, close_fds=close, **options).stdout for close in (True, False)]

    run(GearmanCMD(site.servers).register_task(queue, Subprocess()))
    assert site.client.call(queue, {"command": "sockets"}).result == ["[]\n", "[]\n"]


DAEMON = """
import json, os, sys
from tests.support.processes import Forks, say
from gearmancmd import GearmanCMD

servers, queue = sys.argv[1:]
gcmd = GearmanCMD(json.loads(servers)).register_task(queue, Forks())
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
say(f"daemon {os.getpid()}")
os.chdir("/")
os.closerange(0, 1024)
os.open(os.devnull, os.O_RDWR)
os.dup2(0, 1)
os.dup2(0, 2)
gcmd.run()
"""


def test_a_worker_that_is_made_before_its_process_becomes_a_daemon(site, queue, worker_process):
    process = worker_process(DAEMON, json.dumps(site.servers), queue)
    pid = int(process.wait_for_line("daemon").split()[1])
    try:
        assert process.exit_status() == 0
        assert site.client.call(queue, WORK).result == pid
        assert site.client.call(queue, {"command": "stop"}).data == b"null"
        wait_for(lambda: counts(site.server, queue)[2] == 0, "the daemon to end")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_without_select_poll_run_and_work_say_so_in_one_line(monkeypatch):
    monkeypatch.delattr(select, "poll")
    worker = JSONGearmanWorker(["localhost"])
    worker.register_task("q", print)
    for start in (GearmanCMD(["localhost"]).register_task("q", Queue()).run, worker.work):
        with pytest.raises(RuntimeError, match=r"^select\.poll is missing, .*$"):
            start()
    assert threading.active_count() == len(threading.enumerate())
