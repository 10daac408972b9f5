"""What a job may send, from any thread and until it is answered."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue, JobEnded, JSONGearmanWorker
from tests.support.proxy import Proxy
from tests.support.servers import assignment, request
from tests.support.waiting import LIMIT, wait_for


class Outliving(GearmanCMDQueue):
    """Its command leaves a thread behind, which reports for as long as it is let."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.threads: list[threading.Thread] = []

    def outlive(self, gcmd, task):
        job, reported = gcmd.job, threading.Event()

        def report():
            try:
                while True:
                    job.send_warning(f"from {task['number']}")
                    reported.set()
            except Exception as error:
                self.errors.append(error)

        self.threads.append(threading.Thread(target=report))
        self.threads[-1].start()
        assert reported.wait(LIMIT)
        return task["number"]

    def quiet(self, gcmd, task):
        return list(gcmd.track(range(task["number"])))


@pytest.mark.parametrize("prefetch", [1, 8])
def test_a_report_of_a_thread_that_outlives_its_command_reaches_no_other_job(server, client, queue, run, prefetch):
    target = Outliving()
    run(GearmanCMD([server.address], prefetch=prefetch).register_task(queue, target))
    for number in range(10):
        loud = client.send(queue, {"command": "outlive", "number": number})
        quiet = client.send(queue, {"command": "quiet", "number": 3})
        assert client.outcome(loud).data.endswith(b'"from %d"%d' % (number, number))
        assert client.outcome(quiet).data == b"[0,1,2]"
    for thread in target.threads:
        thread.join(LIMIT)
    assert len(target.errors) == 10
    assert all(isinstance(error, JobEnded) and isinstance(error, RuntimeError) for error in target.errors)
    assert "is answered: nothing more can be sent for it" in str(target.errors[0])


def test_a_thread_of_a_command_has_no_job_in_hand_but_may_be_given_it(server, client, queue, run):
    class Helped(GearmanCMDQueue):
        def work(self, gcmd, task):
            errors = []

            def help(job):
                job.send_status(1, 2)
                job.send_data("part")
                try:
                    gcmd.job
                except RuntimeError as error:
                    errors.append(str(error))

            thread = threading.Thread(target=help, args=(gcmd.job,))
            thread.start()
            thread.join()
            return errors

    run(GearmanCMD([server.address]).register_task(queue, Helped()))
    job = client.send(queue, {"command": "work"})
    assert client.outcome(job).data.startswith(b'"part"["there is no job in hand')
    assert client.statuses[job.handle] == [(b"1", b"2")]


class Pouring(GearmanCMDQueue):
    """Its command streams until it is told that nobody reads."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.poured = 0

    def pour(self, gcmd, task):
        try:
            while True:
                gcmd.send_data("x" * (1 << 20))
                self.poured += 1
        except CommandError as error:
            self.error = error
            raise


def stands_still(target: Pouring) -> bool:
    """Whether the command waits for room."""
    before = target.poured
    return before > 0 and not threading.Event().wait(0.5) and target.poured == before


def test_stop_ends_the_wait_of_a_job_that_streams_to_a_server_that_does_not_read(queue, run):
    target = Pouring()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        gcmd = GearmanCMD([listener.getsockname()]).register_task(queue, target)
        running = run(gcmd)
        connection, _ = listener.accept()
        with closing(connection):
            connection.sendall(assignment(1, queue, {"command": "pour"}))
            wait_for(lambda: stands_still(target), "the command to wait")
            assert target.poured < 40, "reports went on ahead of the network"
            gcmd.stop()
            assert running.wait() is None
    assert "its worker was stopped" in str(target.error)


def test_the_loss_of_the_server_ends_the_wait_and_the_worker_goes_on(server, client, queue, run):
    target = Pouring()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        gcmd = GearmanCMD([listener.getsockname(), server.address]).register_task(queue, target)
        running = run(gcmd)
        connection, _ = listener.accept()
        asked = b""
        while request(30) not in asked:
            asked += connection.recv(65536)
        connection.sendall(assignment(1, queue, {"command": "pour"}))
        wait_for(lambda: stands_still(target), "the command to wait")
        connection.close()
        wait_for(lambda: target.error, "the command to be told")
    assert "its server was lost" in str(target.error)
    assert client.call(queue, {"command": "unknown"}).state == "failed"
    assert running.error is None


def test_reports_of_a_lost_job_harm_nobody(server, client, queue, run, caplog):
    let_go = threading.Event()
    begun = threading.Semaphore(0)

    class Reporting(GearmanCMDQueue):
        def work(self, gcmd, task):
            begun.release()
            assert let_go.wait(LIMIT)
            gcmd.send_status(1, 2)
            return "done"

    with Proxy(server) as proxy:
        run(GearmanCMD([proxy.address]).register_task(queue, Reporting()))
        job = client.send(queue, {"command": "work"})
        assert begun.acquire(timeout=LIMIT)
        proxy.break_off()
        wait_for(lambda: "no connection" in caplog.text, "the worker to notice")
        let_go.set()
        assert client.outcome(job).result == "done"
    assert client.statuses[job.handle] == [(b"1", b"2")]


def test_an_answered_job_takes_no_report_in_a_worker_by_itself(server, client, queue):
    seen = []

    def early(worker, job):
        worker.send_job_complete(job, "early")
        with pytest.raises(JobEnded):
            worker.send_job_status(job, 1, 2)
        with pytest.raises(RuntimeError):
            job.send_warning("late")
        seen.append(job)
        worker.shutdown()

    worker = JSONGearmanWorker([server.address])
    worker.register_task(queue, early)
    thread = threading.Thread(target=worker.work)
    thread.start()
    assert client.call(queue, {}).result == "early"
    thread.join(LIMIT)
    assert seen
