"""A command submits jobs by the worker's own connection, and needs no client for that."""

from __future__ import annotations

import datetime
import socket
import threading
from contextlib import closing
from typing import Any

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue, JobFailed, JobTimeout, JSONGearmanClient, ServerUnavailable
from gearmancmd._dispatch import caller
from tests.support.gearmand import admin, counts
from tests.support.proxy import Proxy
from tests.support.servers import assignment, packet
from tests.support.waiting import LIMIT, wait_for

ERRORS = (JobFailed, JobTimeout, ServerUnavailable, TypeError, ValueError, RuntimeError)


class Passing(GearmanCMDQueue):
    """`hand_on` submits what its task says, and tells the handle or the error; `note` keeps what it gets."""

    def __init__(self) -> None:
        self.noted: list[Any] = []
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def hand_on(self, gcmd: GearmanCMD, task: Any) -> Any:
        options = {**task.get("options", {})}
        if "in_seconds" in options:
            when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=options.pop("in_seconds"))
            options["when"] = when
        try:
            return [gcmd.submit(task["queue"], item, **options) for item in task["tasks"]]
        except ERRORS as error:
            return f"{type(error).__name__}: {error}"

    def hold_and_hand_on(self, gcmd: GearmanCMD, task: Any) -> Any:
        self.begun.set()
        assert self.let_go.wait(LIMIT)
        return self.hand_on(gcmd, task)

    def note(self, gcmd: GearmanCMD, task: Any) -> None:
        self.noted.append(task["number"])


@pytest.fixture
def passing(server, queue, run):
    target = Passing()
    run(GearmanCMD([server.address], prefetch=3).register_task(queue, target))
    yield target
    target.let_go.set()


def notes(count):
    return [{"command": "note", "number": number} for number in range(count)]


def test_a_command_submits_jobs_which_its_server_has_when_submit_returns(server, client, queue, passing):
    handles = client.call(queue, {"command": "hand_on", "queue": queue, "tasks": notes(50)}).result
    assert len(set(handles)) == 50 and all(handle.startswith("H:") for handle in handles)
    wait_for(lambda: len(passing.noted) == 50, "the jobs that were submitted")
    assert sorted(passing.noted) == list(range(50))


def test_jobs_for_another_queue_wait_for_its_worker(server, client, queue, passing):
    assert client.call(queue, {"command": "hand_on", "queue": f"{queue}-b", "tasks": notes(3)}).state == "complete"
    assert counts(server, f"{queue}-b") == (3, 0, 0)


def test_priority_unique_and_time_reach_the_server(gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Passing()))
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:

        def hand_on(**options: Any) -> Any:
            task = {"command": "hand_on", "queue": f"{queue}-b", "tasks": notes(2), "options": options}
            return client.call(queue, task)

        assert len(set(hand_on(unique="one"))) == 1
        hand_on(priority="high")
        hand_on(priority="low")
        line = next(line for line in admin(gearmand, "prioritystatus") if line.startswith(f"{queue}-b\t"))
        assert line.split("\t")[1:4] == ["2", "1", "2"]
        assert len(hand_on(in_seconds=3600)) == 2
        assert hand_on(in_seconds=3600, priority="low").startswith(
            "ValueError: priority must not be given together with"
        )


@pytest.mark.parametrize(
    ("tasks", "options", "told"),
    [
        ([{}], {"priority": "urgent"}, "ValueError: priority must be 'high', 'normal' or 'low', not 'urgent'"),
        ([{}], {"unique": "x" * 64}, "ValueError: unique must have at most 63 bytes"),
        ([{}], {"queue": ""}, "TypeError: "),
    ],
)
def test_what_cannot_be_submitted_is_refused_where_it_enters(client, queue, passing, tasks, options, told):
    task = {"command": "hand_on", "queue": queue, "tasks": tasks, "options": options}
    assert client.call(queue, task).result.startswith(told)


def test_a_queue_that_is_full_refuses_and_the_next_submission_gets_its_own_answer(own_gearmand, queue, run):
    run(GearmanCMD([own_gearmand.address]).register_task(queue, Passing()))
    with JSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
        client.submit("full", {}, background=True)
        with closing(socket.create_connection((own_gearmand.host, own_gearmand.port))) as connection:
            connection.sendall(b"maxqueue full 1\n")
            assert connection.recv(100).startswith(b"OK")
        task = {"command": "hand_on", "queue": "full", "tasks": notes(1)}
        assert "refused the job: QUEUE_ERROR" in client.call(queue, task)
        handle = client.call(queue, {**task, "queue": f"{queue}-b"})[0]
        assert client.status(handle).known


def test_a_server_that_is_lost_before_it_acknowledges_is_an_error(server, client, queue, run):
    target = Passing()
    with Proxy(server) as proxy:
        run(GearmanCMD([proxy.address]).register_task(queue, target))
        job = client.send(queue, {"command": "hold_and_hand_on", "queue": f"{queue}-b", "tasks": notes(1)})
        assert target.begun.wait(LIMIT)
        told = []
        target.hand_on = lambda gcmd, task: told.append(Passing.hand_on(target, gcmd, task))  # type: ignore[method-assign]
        proxy.break_off()
        target.let_go.set()
        client.outcome(job)
        assert told[0].startswith("ServerUnavailable: the job was not acknowledged, and may be queued: ")


def test_a_server_that_never_acknowledges_is_waited_for_no_longer_than_30_s(monkeypatch, queue, run):
    assert caller.SUBMIT_SECONDS == 30
    monkeypatch.setattr(caller, "SUBMIT_SECONDS", 0.2)
    target = Passing()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        run(GearmanCMD(["{}:{}".format(*listener.getsockname())]).register_task(queue, target))
        connection, _ = listener.accept()
        with closing(connection), connection.makefile("rb") as stream:
            task = {"command": "hand_on", "queue": "other", "tasks": notes(1)}
            connection.sendall(packet(6) + assignment(1, queue, task))
            received = b""
            while b"JobTimeout" not in received:
                received += stream.read1(65536)
    assert b"did not acknowledge the job within 0.2 s" in received


def test_outside_of_a_command_there_is_no_job_to_submit_from(gearmand, queue):
    with pytest.raises(RuntimeError, match="no job in hand"):
        GearmanCMD([gearmand.address]).submit(queue, {})


@pytest.mark.parametrize("graceful", [False, True])
def test_a_command_that_runs_while_the_worker_is_stopped_can_still_submit(server, client, queue, run, graceful):
    target = Passing()
    gcmd = GearmanCMD([server.address]).register_task(queue, target)
    running = run(gcmd)
    job = client.send(queue, {"command": "hold_and_hand_on", "queue": f"{queue}-b", "tasks": notes(2)})
    assert target.begun.wait(LIMIT)
    gcmd.stop(graceful=graceful)
    target.let_go.set()
    assert len(client.outcome(job).result) == 2
    assert running.wait() is None
    assert counts(server, f"{queue}-b")[0] == 2
