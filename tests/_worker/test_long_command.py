"""A command that keeps jobs waiting which are assigned to its own worker is told of, once."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue, JSONGearmanClient
from gearmancmd._worker import long_command
from gearmancmd._worker.assigned import AssignedJobs
from gearmancmd._worker.grabs import NEVER
from gearmancmd._worker.long_command import LongCommand
from tests.support.waiting import LIMIT, wait_for


def assigned(*numbers, waiting):
    """Jobs with these numbers, of which those that are `waiting` have not begun."""
    server = SimpleNamespace(connection=None)
    jobs = AssignedJobs({})
    for number in range(1, max(numbers) + 1):
        jobs.add(server, b"queue", b"H:x:%d" % number, b"", b"")
        if number not in waiting:
            jobs.begin(number)
        if number not in numbers:
            jobs.forget(number)
    return jobs


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if "that wait behind it" in record.getMessage()]


def test_it_is_told_once_after_the_time(caplog):
    long = LongCommand()
    for now in (100.0, 129.9, 130.0, 131.0, 200.0):
        long.watch(now, assigned(1, 2, 3, waiting={2, 3}))
        assert len(warnings_of(caplog)) == (now >= 130)
    assert warnings_of(caplog)[0].startswith("job H:x:1 of queue has run for 30 s; ")
    assert "(prefetch): 2;" in warnings_of(caplog)[0]


def test_each_command_has_its_own_time_and_its_own_line(caplog):
    long = LongCommand()
    long.watch(100.0, assigned(1, 2, waiting={2}))
    long.watch(129.0, assigned(2, 3, waiting={3}))
    long.watch(158.0, assigned(2, 3, waiting={3}))
    assert not warnings_of(caplog)
    long.watch(159.0, assigned(2, 3, waiting={3}))
    long.watch(160.0, assigned(3, 4, waiting={4}))
    long.watch(190.0, assigned(3, 4, waiting={4}))
    assert [line[:7] for line in warnings_of(caplog)] == ["job H:x", "job H:x"]
    assert "H:x:2" in warnings_of(caplog)[0] and "H:x:3" in warnings_of(caplog)[1]


def test_a_job_that_comes_late_is_waiting_too(caplog):
    long = LongCommand()
    long.watch(100.0, assigned(1, waiting=set()))
    long.watch(140.0, assigned(1, waiting=set()))
    assert not warnings_of(caplog)
    long.watch(141.0, assigned(1, 2, waiting={2}))
    assert len(warnings_of(caplog)) == 1


@pytest.mark.parametrize("not_begun", [set(), {1, 2}])
def test_nothing_is_told_and_nothing_spins_where_no_job_waits_behind_another(caplog, not_begun):
    long = LongCommand()
    for now in (100.0, 130.0, 160.0):
        long.watch(now, assigned(1, 2, waiting=not_begun))
        assert long.due(2) > now
    assert not warnings_of(caplog)


def test_it_wants_to_be_asked_only_when_there_may_be_something_to_tell():
    long = LongCommand()
    assert long.due(0) == NEVER
    long.watch(100.0, assigned(1, 2, waiting={2}))
    assert long.due(2) == 130.0 and long.due(1) == NEVER
    long.watch(130.0, assigned(1, 2, waiting={2}))
    assert long.due(2) == NEVER


class Calling(GearmanCMDQueue):
    """`ask` calls a queue of its own worker, and waits behind itself."""

    def __init__(self, address, queue):
        self._address, self._queue = address, queue
        self.let_go = threading.Event()

    def ask(self, gcmd, task):
        with JSONGearmanClient([self._address], timeout=LIMIT) as client:
            job = client.submit(self._queue, {"command": "answer"})
            assert self.let_go.wait(LIMIT)
            return job.done()

    def answer(self, gcmd, task):
        return "answered"


def test_a_command_that_waits_behind_itself_is_told_of(server, client, queue, run, caplog, monkeypatch):
    monkeypatch.setattr(long_command, "LONG_COMMAND_SECONDS", 0.2)
    target = Calling(server.address, queue)
    # Nothing but the warning itself is due in the time that the test has.
    run(GearmanCMD([server.address], prefetch=2, poll_timeout=100).register_task(queue, target))
    job = client.send(queue, {"command": "ask"})
    line = wait_for(lambda: next(iter(warnings_of(caplog)), None), "the warning")
    assert job.handle.decode() in line and f" of {queue} " in line and "(prefetch): 1;" in line
    target.let_go.set()
    assert client.outcome(job).result is False
    assert len(warnings_of(caplog)) == 1


def test_a_long_command_that_keeps_nobody_waiting_is_not_told_of(server, client, queue, run, caplog, monkeypatch):
    monkeypatch.setattr(long_command, "LONG_COMMAND_SECONDS", 0.0)
    target = Calling(server.address, f"{queue}-elsewhere")
    run(GearmanCMD([server.address], prefetch=2).register_task(queue, target))
    job = client.send(queue, {"command": "ask"})
    target.let_go.set()
    assert client.outcome(job).result is False
    assert not warnings_of(caplog)
