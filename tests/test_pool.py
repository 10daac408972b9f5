"""A WorkerPool: processes that are replaced when they end, for whatever reason, while clients notice nothing."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import types
from functools import partial
from pathlib import Path

import pytest

from gearmancmd import GearmanCMD, JobFailed, JSONGearmanClient
from gearmancmd.errors import BootError
from gearmancmd.pool import WorkerPool, cores
from tests.support.faults import TIMES, tell
from tests.support.gearmand import Gearmand, counts
from tests.support.pools import Noting, RunningPool, make
from tests.support.waiting import LIMIT, wait_for

PID = {"command": "pid"}


@pytest.fixture
def start(monkeypatch, tmp_path, caplog):
    """Runs a pool in a thread, and sees to it that it has ended with the test."""
    caplog.set_level(logging.INFO)
    # what a script that starts a pool has in its main module is imported by each child; here it would be pytest
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    started = []

    def start(server, queue, processes=2, threads=None, **options):
        pool = WorkerPool(partial(make, server.address, queue, tmp_path, threads), processes, **options)
        started.append(RunningPool(pool))
        return started[-1]

    yield start
    for running in started:
        running.end(LIMIT)


class Load:
    """Clients that call one after the other, until the block ends; `pids` are those of the processes that answered."""

    def __init__(self, server, queue, clients=3):
        self.pids = []
        self.errors = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(server, queue)) for _ in range(clients)]

    def _call(self, server, queue):
        try:
            with JSONGearmanClient([server.address], timeout=LIMIT) as client:
                while not self._over.is_set():
                    self.pids.append(client.call(queue, PID))
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert not self.errors

    def answered_by(self, count):
        """The processes that have answered from now on, once there are so many."""
        before = len(self.pids)
        return wait_for(lambda: (seen := set(self.pids[before:])) and len(seen) >= count and seen, "the answers")


def wait_until_ready(running, children=2):
    wait_for(lambda: running.pool.ready and len(running.pool.children) == children, "the children")
    return {child.pid for child in running.pool.children}


def await_end(running, pid):
    wait_for(lambda: pid not in {child.pid for child in running.pool.children}, "the end of the child")


def begun(place):
    """What the command `hold` or `hang` has written."""
    return wait_for(lambda: (place / "begun").exists() and (place / "begun").read_text("utf-8").split(), "the command")


# Children that end.


def test_a_child_that_is_killed_under_load_is_replaced_and_clients_notice_nothing(
    server, queue, start, caplog, monkeypatch
):
    monkeypatch.setattr("gearmancmd.pool.STEADY_SECONDS", 0)  # each pause is as short as the first
    running = start(server, queue)
    with Load(server, queue) as load:
        first = load.answered_by(2)
        assert first == {child.pid for child in running.pool.children}
        assert wait_for(lambda: sum(child.jobs_done for child in running.pool.children) > 10, "the count")
        for _ in range(TIMES):
            killed = min(first)
            os.kill(killed, signal.SIGKILL)
            await_end(running, killed)
            stayed = first - {killed}
            first = wait_until_ready(running)
            assert stayed < first == load.answered_by(2)
    tell("children of a pool killed under load", kills=TIMES, answers=len(load.pids), errors=len(load.errors))
    running.pool.stop()
    running.wait(LIMIT)
    assert running.result is True
    assert f"child {killed} was killed by SIGKILL" in caplog.text


def test_a_rolling_restart_under_load_replaces_all_and_is_never_without_a_worker(server, queue, start):
    working = []
    ready = threading.Event()

    def look(pool):
        if ready.is_set():
            working.append(sum(child.ready for child in pool.children))

    running = start(server, queue, on_turn=look)
    old = wait_until_ready(running)
    ready.set()
    with Load(server, queue) as load:
        for _ in range(TIMES):
            running.pool.restart()
            old = new_ones(load, old)
            assert old == wait_until_ready(running)
    assert set(working) <= {2, 3}
    tell("rolling restarts under load", restarts=TIMES, answers=len(load.pids), errors=len(load.errors))


def new_ones(load, old):
    return wait_for(lambda: (pids := set(load.pids[-20:])) and not pids & old and len(pids) == 2 and pids, "new ones")


def test_a_restart_goes_on_where_no_server_is_there(own_gearmand, queue, start):
    running = start(own_gearmand, queue, processes=1)
    (old,) = wait_until_ready(running, 1)
    own_gearmand.stop()
    wait_for(lambda: not running.pool.ready, "the loss of the server")
    running.pool.restart()
    wait_for(lambda: len(running.pool.children) == 1 and running.pool.children[0].pid != old, "the new child")
    own_gearmand.start()
    wait_until_ready(running, 1)


def test_a_child_that_ends_by_itself_is_replaced_after_a_growing_pause(gearmand, queue, start, caplog, monkeypatch):
    monkeypatch.setattr("gearmancmd.pool.STEADY_SECONDS", 3600)  # on a busy machine they live for long
    running = start(gearmand, queue, processes=1)
    for _ in range(3):
        (pid,) = wait_until_ready(running, 1)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: pid not in {child.pid for child in running.pool.children}, "its end")
    pauses = [record.args[2] for record in caplog.records if "another one is started in" in record.msg]
    assert 0.1 <= pauses[0] <= 0.2 <= pauses[1] <= 0.4 <= pauses[2] <= 0.8


# Children that cannot begin.


@pytest.mark.parametrize(
    ("fault", "text", "trace"),
    [
        ("raises", "^ValueError: no database$", "in _raise"),
        ("returns", r"^sys.exit\('leaving'\) was called$", "in _return"),
        ("dies", r"^child \d+ ended with exit status 7 before it could work$", None),
    ],
)
def test_a_child_that_cannot_boot_stops_the_pool_and_is_told_once(
    gearmand, queue, start, tmp_path, caplog, fault, text, trace
):
    (tmp_path / "fault").write_text(fault, "utf-8")
    running = start(gearmand, queue)
    running.wait(LIMIT)
    with pytest.raises(BootError, match=text) as raised:
        raise running.error
    assert caplog.text.count(" is started") == 1
    assert raised.value.__cause__ is None if trace is None else trace in str(raised.value.__cause__)


def test_new_code_that_cannot_boot_leaves_the_old_until_it_is_needed(gearmand, queue, start, tmp_path, caplog):
    running = start(gearmand, queue)
    old = wait_until_ready(running)
    (tmp_path / "fault").write_text("raises", "utf-8")
    running.pool.restart()
    wait_for(lambda: "rolling restart is broken off" in caplog.text, "the end of the restart")
    assert {child.pid for child in running.pool.children} == old
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        job = client.submit(queue, {"command": "hold", "place": str(tmp_path)})
        (holding,) = map(int, begun(tmp_path))
        os.kill(*old - {holding}, signal.SIGKILL)  # what takes its place cannot boot
        wait_for(lambda: running.pool.stopping, "the pool to stop")
        (tmp_path / "end").touch()
        assert job.result() == "held"
    running.wait(LIMIT)
    assert isinstance(running.error, BootError)


def test_a_child_that_was_replaced_before_it_could_boot_stops_nothing(gearmand, queue, start, tmp_path, caplog):
    running = start(gearmand, queue)
    old = wait_until_ready(running)
    (tmp_path / "fault").write_text("raises later", "utf-8")
    os.kill(min(old), signal.SIGKILL)
    booting = wait_for(lambda: {child.pid for child in running.pool.children} - old, "the child in its place")
    wait_for((tmp_path / "booting").exists)
    (tmp_path / "fault").unlink()
    running.pool.restart()
    wait_for(lambda: "rolling restart is done" in caplog.text, "the new children")
    (tmp_path / "go").touch()
    await_end(running, *booting)
    assert not booting & wait_until_ready(running)
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        assert client.call(queue, PID) not in old | booting
    assert "before it could work" not in caplog.text


# The end.


def test_the_jobs_in_hand_are_shown_and_finished_when_the_pool_stops(server, queue, start, tmp_path):
    running = start(server, queue, hooks=[Noting(tmp_path)])
    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        job = client.submit(queue, {"command": "hold", "place": str(tmp_path)})
        (pid,) = map(int, begun(tmp_path))
        (child,) = wait_for(lambda: [child for child in running.pool.children if child.jobs], "the report")
        (in_hand,) = child.jobs
        assert child.pid == pid and child.ready and not child.leaving and child.since < in_hand.since
        assert in_hand[:4] == (queue, "hold", job.handle, server.address)
        running.pool.stop()
        wait_for(lambda: [each.pid for each in running.pool.children] == [pid], "the end of the idle child")
        assert running.pool.children[0].leaving
        (tmp_path / "end").touch()
        assert job.result() == "held"
    running.wait(LIMIT)
    assert running.result is True and running.pool.children == ()
    assert (tmp_path / f"started-{pid}").exists()
    again = RunningPool(running.pool)
    try:
        assert pid not in wait_until_ready(again)
        again.pool.stop()
        again.pool.stop(graceful=False)  # the one that comes too late is not for the next run()
        again.wait(LIMIT)
    finally:
        again.end(LIMIT)


def handles(running):
    return [job.handle for child in running.pool.children for job in child.jobs]


def test_a_child_with_threads_shows_and_finishes_all_its_jobs(gearmand, queue, start, tmp_path):
    running = start(gearmand, queue, processes=1, threads=2)
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        jobs = [client.submit(queue, {"command": "hold", "place": str(place)}) for place in places]
        shown = wait_for(lambda: (found := handles(running))[1:] and found, "both")
        assert sorted(shown) == sorted(job.handle for job in jobs)
        running.pool.stop()
        wait_for(lambda: running.pool.children[0].leaving, "the child to hear of it")
        for place in places:
            (place / "end").touch()
        assert [job.result() for job in jobs] == ["held", "held"]
    running.wait(LIMIT)
    assert running.result is True


@pytest.mark.parametrize("graceful", [True, False])
def test_a_straggler_is_killed_and_its_job_goes_back_to_the_queue(gearmand, queue, start, tmp_path, graceful, caplog):
    running = start(gearmand, queue, processes=1, grace_seconds=1)
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        job = client.submit(queue, {"command": "hold", "place": str(tmp_path)}, background=True)
        begun(tmp_path)
        wait_for(lambda: handles(running), "the report")
    running.pool.stop(graceful)
    running.wait(LIMIT)
    assert running.result is False
    wait_for(lambda: counts(gearmand, queue) == (1, 0, 0), "the job to be back")
    assert f"job {job.handle} of {queue} (hold)" in caplog.text


@pytest.mark.parametrize("graceful", [True, False])
def test_a_pool_stops_in_the_middle_of_a_restart_whose_new_child_hangs(gearmand, queue, start, tmp_path, graceful):
    running = start(gearmand, queue, grace_seconds=1)
    wait_until_ready(running)
    (tmp_path / "fault").write_text("hangs", "utf-8")
    running.pool.restart()
    wait_for(lambda: len(running.pool.children) == 3, "the new child")
    running.pool.stop(graceful)
    running.wait(LIMIT)
    assert running.result is False and running.pool.children == ()


def test_a_job_over_the_hard_time_limit_is_killed_with_what_it_has_started(gearmand, queue, start, tmp_path, caplog):
    with Gearmand("--job-retries", "2") as limited:
        start(limited, queue, processes=1, hard_time_limit=1)
        with JSONGearmanClient([limited.address], timeout=LIMIT) as client:
            job = client.submit(queue, {"command": "hang", "place": str(tmp_path)})
            with pytest.raises(JobFailed):  # by gearmand, after as many attempts
                job.result()
    assert caplog.text.count(f"is killed: job {job.handle} of {queue} (hang) takes longer than 1 s") == 2
    assert "another one is started in" not in caplog.text  # there is no pause: the limit is one already
    started = [int(pid) for pid in begun(tmp_path)]
    assert len(started) == 2
    wait_for(lambda: not any(_lives(pid) for pid in started), "the end of the commands' processes")


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("limit", "task"),
    [
        ({"max_jobs": 5}, PID),
        ({"max_memory": 150}, {"command": "eat", "megabytes": 150}),
        ({"max_lifetime": 1}, PID),
    ],
)
def test_a_child_that_reaches_a_limit_is_replaced_and_no_job_fails(gearmand, queue, start, limit, task):
    running = start(gearmand, queue, processes=1, **limit)
    pids = []
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        while len(set(pids)) < 3:
            pids.append(client.call(queue, task))
    if "max_jobs" in limit:
        assert all(4 <= pids.count(pid) <= 5 for pid in list(dict.fromkeys(pids))[:2])  # the splay
    running.pool.stop()
    running.wait(LIMIT)
    assert running.result is True


# What is asked for.


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"factory": lambda: None}, "factory and hooks must be what pickle takes, as functions of a module are"),
        ({"factory": GearmanCMD(["localhost"])}, "factory must be a function that returns a GearmanCMD, not <"),
        ({"hooks": [object()]}, r"hooks\[0\] must have a method"),
        ({"processes": 0}, "processes must be at least 1, not 0"),
        ({"grace_seconds": 0}, "grace_seconds must be above 0 and finite, not 0"),
        ({"max_jobs": 1.5}, "max_jobs must be a whole number, not 1.5"),
        ({"max_memory": "1G"}, "max_memory must be a number of megabytes, not '1G'"),
        ({"max_lifetime": -1}, "max_lifetime must be above 0"),
        ({"hard_time_limit": True}, "hard_time_limit must be a number of seconds, not True"),
    ],
)
def test_a_pool_that_cannot_work_is_refused_at_once(arguments, text):
    with pytest.raises((TypeError, ValueError), match=text):
        WorkerPool(**{"factory": make, **arguments})


def test_there_is_one_process_for_each_core_that_may_be_used():
    assert cores() == len(os.sched_getaffinity(0))
