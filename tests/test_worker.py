"""The worker classes by themselves, as gearman 2.x documents them."""

from __future__ import annotations

import logging
import threading
from typing import Any

import gearman
import gearman.errors
import pytest

import gearmancmd
from gearmancmd import GearmanWorker, JSONGearmanWorker
from tests.support.gear_client import Caller
from tests.support.gearmand import admin, counts
from tests.support.waiting import wait_for


class Working:
    """A worker whose work() is under way in a thread."""

    def __init__(self, worker: Any, poll_timeout: float = 0.1) -> None:
        self.worker = worker
        self.error: BaseException | None = None
        self._poll_timeout = poll_timeout
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.worker.work(poll_timeout=self._poll_timeout)
        except BaseException as error:
            self.error = error

    def wait(self) -> BaseException | None:
        self._thread.join(30)
        assert not self._thread.is_alive(), "work() does not return"
        return self.error

    def end(self) -> None:
        while self._thread.is_alive():
            self.worker.shutdown()
            self._thread.join(0.5)


@pytest.fixture
def work():
    started: list[Working] = []

    def start(worker: Any, **options: Any) -> Working:
        started.append(Working(worker, **options))
        return started[-1]

    yield start
    for working in started:
        working.end()


def reverse(worker, job):
    return job.data["message"][::-1]


MESSAGE = {"message": "abc"}


def test_a_callback_works_on_jobs(server, client, queue, work):
    worker = JSONGearmanWorker([server.address])
    assert worker.register_task(queue, reverse) == queue
    work(worker)
    assert client.call(queue, MESSAGE).result == "cba"


def test_names_handles_and_data_are_text(server, client, queue, work):
    seen = []
    worker = GearmanWorker([server.address])
    worker.register_task(queue.encode(), lambda worker, job: seen.append(job) or job.data.upper())
    work(worker)
    job = client.send(queue, "grüße".encode(), unique="one")
    assert client.outcome(job).data.decode() == "GRÜSSE"
    assert (seen[0].handle, seen[0].task, seen[0].unique, seen[0].data) == (job.handle.decode(), queue, "one", "grüße")
    assert repr(seen[0]) == f"<WorkerJob {seen[0].handle} of {queue}>"
    assert seen[0].to_dict() == {"task": queue, "job_handle": seen[0].handle, "unique": "one", "data": "grüße"}


def test_any_bytes_survive_a_worker_for_text(server, client, queue, work):
    worker = GearmanWorker([server.address])
    worker.register_task(queue, lambda worker, job: job.data)
    work(worker)
    assert client.call(queue, bytes(range(256))).data == bytes(range(256))


def test_a_result_may_be_bytes_but_not_nothing(server, client, queue, work):
    worker = GearmanWorker([server.address])
    worker.register_task(queue, lambda worker, job: b"\xff" if job.data == "bytes" else None)
    work(worker)
    assert client.call(queue, b"bytes").data == b"\xff"
    outcome = client.call(queue, b"nothing")
    assert outcome.said == b"the result cannot be encoded: TypeError: expected str or bytes, got None"
    assert client.call(queue, b"bytes").data == b"\xff"


def test_any_worker_class_can_have_the_loop(server, client, queue, work):
    class Old(gearman.GearmanWorker):
        data_encoder = gearmancmd.JSONDataEncoder

    class New(Old, GearmanWorker):
        pass

    worker = New([server.address])
    worker.register_task(queue, reverse)
    work(worker)
    assert client.call(queue, MESSAGE).result == "cba"


def test_the_hooks_are_called_in_order(server, client, queue, work):
    calls = []

    class Hooked(JSONGearmanWorker):
        def on_job_execute(self, current_job):
            calls.append("execute")
            return super().on_job_execute(current_job)

        def on_job_complete(self, current_job, job_result):
            calls.append(("complete", job_result))
            return super().on_job_complete(current_job, job_result)

        def on_job_exception(self, current_job, exc_info):
            calls.append(("exception", exc_info[0]))
            return super().on_job_exception(current_job, exc_info)

        def after_job(self):
            calls.append("after_job")
            return True

    worker = Hooked([server.address])
    worker.register_task(queue, reverse)
    work(worker)
    assert client.call(queue, MESSAGE).result == "cba"
    assert client.call(queue, {}).reason == "KeyError: 'message'"
    wait_for(lambda: len(calls) == 6)
    assert calls == ["execute", ("complete", "cba"), "after_job", "execute", ("exception", KeyError), "after_job"]


def test_after_poll_is_asked_and_ends_the_work(server, queue, work):
    asked = []

    class Counting(JSONGearmanWorker):
        def after_poll(self, any_activity):
            asked.append(any_activity)
            return len(asked) < 5

    worker = Counting([server.address])
    worker.register_task(queue, reverse)
    assert work(worker, poll_timeout=0.01).wait() is None
    assert len(asked) == 5 and False in asked


def test_after_job_ends_the_work_and_work_may_begin_again(server, client, queue, work):
    class OneJob(JSONGearmanWorker):
        def after_job(self):
            return False

    worker = OneJob([server.address])
    worker.register_task(queue, reverse)
    for _ in range(3):
        working = work(worker)
        assert client.call(queue, MESSAGE).result == "cba"
        assert working.wait() is None


def test_a_callback_that_fails_is_logged_and_the_worker_goes_on(server, client, queue, work, caplog):
    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, reverse)
    work(worker)
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        assert client.call(queue, b"{").state == "failed"
        assert client.call(queue, 5).reason.startswith("TypeError")
        assert client.call(queue, MESSAGE).result == "cba"
    assert len([r for r in caplog.records if queue in r.getMessage()]) == 2


def test_an_answer_to_a_server_that_has_gone_meanwhile_is_void_and_told_of(own_gearmand, queue, work, caplog):
    def outlast(worker, job):
        own_gearmand.stop()
        return {}

    with Caller(own_gearmand) as client:
        client.send(queue, MESSAGE, background=True)
    worker = JSONGearmanWorker([own_gearmand.address])
    worker.register_task(queue, outlast)
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        work(worker)
        wait_for(lambda: "was done in vain" in caplog.text, "the warning")


def test_a_callback_sends_updates(server, client, queue, work):
    def steps(worker, job):
        worker.send_job_status(job, 1, 4)
        worker.send_job_data(job, "data")
        worker.send_job_warning(job, "warning")
        worker.wait_until_updates_sent([job], poll_timeout=10)
        return "end"

    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, steps)
    work(worker)
    job = client.send(queue, {})
    assert client.outcome(job).data == b'"data""warning""end"'
    assert client.statuses[job.handle] == [(b"1", b"4")]


def test_updates_arrive_while_the_callback_is_still_at_work(server, client, queue, work):
    let_go = threading.Event()

    def slow(worker, job):
        worker.send_job_status(job, 1, 2)
        assert let_go.wait(30)

    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, slow)
    work(worker)
    job = client.send(queue, {})
    wait_for(lambda: client.statuses.get(job.handle), "the status")
    let_go.set()
    assert client.outcome(job).result is None


@pytest.mark.parametrize(
    "answer, state",
    [
        (lambda worker, job: worker.send_job_complete(job, "early"), "complete"),
        (lambda worker, job: worker.send_job_failure(job), "failed"),
        (lambda worker, job: worker.send_job_exception(job, "why"), "failed"),
    ],
)
def test_a_callback_may_answer_itself_and_only_the_first_answer_counts(server, client, queue, work, answer, state):
    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, answer)
    work(worker)
    for _ in range(3):
        assert client.call(queue, {}).state == state


def test_an_answer_leaves_at_once_though_the_callback_goes_on(server, client, queue, work):
    let_go = threading.Event()

    def answer_and_tidy_up(worker, job):
        worker.send_job_complete(job, "early")
        assert let_go.wait(30)

    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, answer_and_tidy_up)
    work(worker)
    assert client.call(queue, {}).result == "early"
    let_go.set()


def test_another_thread_of_the_callback_may_send_updates(server, client, queue, work):
    def pour(worker, job):
        thread = threading.Thread(target=lambda: [worker.send_job_data(job, "x" * 500_000) for _ in range(20)])
        thread.start()
        thread.join()
        return "end"

    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, pour)
    work(worker)
    assert client.call(queue, {}).data == (b'"%s"' % (b"x" * 500_000)) * 20 + b'"end"'


def test_functions_come_and_go_while_it_works(gearmand, queue, work):
    worker = JSONGearmanWorker([gearmand.address])
    worker.register_task(queue, reverse)
    work(worker)
    with Caller(gearmand) as client:
        waiting = client.send(f"{queue}-b", MESSAGE)
        assert client.call(queue, MESSAGE).result == "cba"
        worker.register_task(f"{queue}-b", reverse)
        assert client.outcome(waiting).result == "cba"
        worker.register_task(f"{queue}-b", reverse)
        worker.unregister_task(queue)
        wait_for(lambda: counts(gearmand, queue)[2] == 0, "CANT_DO")
        assert counts(gearmand, f"{queue}-b")[2] == 1
        worker.set_client_id(f"id-{queue}")
        wait_for(lambda: any(f"id-{queue}" in line for line in admin(gearmand, "workers")), "the client id")


def test_unregistering_waits_for_the_job_in_hand(server, client, queue, work):
    done = []

    def once(worker, job):
        worker.unregister_task(queue)
        done.append(job.handle)
        return "done"

    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, once)
    work(worker)
    assert client.call(queue, {}).result == "done"
    wait_for(lambda: counts(server, queue)[2] == 0, "CANT_DO")
    assert len(done) == 1


def test_a_callback_may_shut_the_worker_down(server, client, queue, work):
    worker = JSONGearmanWorker([server.address], prefetch=4)
    worker.register_task(queue, lambda worker, job: worker.shutdown() or "last")
    jobs = [client.send(queue, {}) for _ in range(3)]
    for _ in jobs:
        assert work(worker).wait() is None
    assert [client.outcome(job).result for job in jobs] == ["last"] * 3


def test_prefetched_jobs_are_answered_one_by_one(server, client, queue, work):
    let_go = threading.Event()
    worker = JSONGearmanWorker([server.address], prefetch=16)
    worker.register_task(queue, lambda worker, job: job.data if job.data < 5 else let_go.wait(30))
    jobs = [client.send(queue, number) for number in range(6)]
    work(worker)
    assert [client.outcome(job).result for job in jobs[:5]] == [0, 1, 2, 3, 4]
    assert not jobs[5].complete
    let_go.set()
    assert client.outcome(jobs[5]).result is True


def test_servers_can_be_added(server, client, queue, work):
    worker = JSONGearmanWorker()
    worker.add_connection(server.address)
    worker.register_task(queue, reverse)
    work(worker)
    assert client.call(queue, MESSAGE).result == "cba"


def test_one_worker_works_once_at_a_time(server, client, queue, work):
    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, reverse)
    work(worker)
    client.call(queue, MESSAGE)
    with pytest.raises(RuntimeError, match="working already"):
        worker.work()


def test_nothing_can_be_sent_when_it_does_not_work(server):
    worker = JSONGearmanWorker([server.address])
    with pytest.raises(gearman.errors.InvalidWorkerState):
        worker.send_job_status(None, 1, 2)


def test_a_foreign_transport_is_refused(server):
    class Foreign(GearmanWorker):
        connection_class = gearman.connection.GearmanConnection

    with pytest.raises(TypeError, match="connection_class must be a gearmancmd ServerConnection"):
        Foreign([server.address]).work()


@pytest.mark.parametrize("payload", [b"{}" * 3, b"\xff"])
def test_a_payload_that_nobody_reads_does_no_harm(server, client, queue, work, payload):
    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, lambda worker, job: "unread")
    work(worker)
    assert client.call(queue, payload).result == "unread"


def test_a_job_above_max_payload_fails_though_nobody_reads_its_payload(server, client, queue, work):
    worker = JSONGearmanWorker([server.address], max_payload=1000)
    worker.register_task(queue, lambda worker, job: "unread")
    work(worker)
    assert client.call(queue, b"x" * 500).result == "unread"
    assert "max_payload, which is 1000" in client.call(queue, b"x" * 2000).reason
    assert client.call(queue, b"x").result == "unread"


@pytest.mark.parametrize("failures, state", [("warning", "failed"), ("exception", "exception"), ("plain", "failed")])
def test_a_workers_failures_travel_as_it_was_told(gearmand, queue, work, failures, state):
    def refuse(worker, job):
        raise gearmancmd.CommandError

    worker = JSONGearmanWorker([gearmand.address], failures=failures)
    worker.register_task(queue, refuse)
    work(worker)
    with Caller(gearmand) as client:
        outcome = client.call(queue, {})
    assert outcome.state == state
    assert outcome.said == (None if failures == "plain" else b'"CommandError"')
