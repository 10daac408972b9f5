"""Every way to stop, and what becomes of the jobs."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import threading
import time

import pytest
import trustme

import gearmancmd
from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd._wire.opening import CONNECT_TIMEOUT
from tests.support.gearmand import Gearmand, counts
from tests.support.waiting import wait_for


class Queue(GearmanCMDQueue):
    def __init__(self):
        self.started = threading.Event()
        self.let_go = threading.Event()

    def reverse(self, gcmd, task):
        return task["message"][::-1]

    def stop(self, gcmd, task):
        gcmd.stop(graceful=task.get("graceful", False))
        return "own result"

    def fail(self, gcmd, task):
        raise ValueError("broken")

    def hold(self, gcmd, task):
        self.started.set()
        assert self.let_go.wait(30)
        return "held"


REVERSE = {"command": "reverse", "message": "abc"}

PROCESS = """
import sys, time, signal, logging, gearmancmd
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
class Queue(gearmancmd.GearmanCMDQueue):
    def hold(self, gcmd, task):
        print("begun", flush=True)
        time.sleep(float(task["seconds"]))
        return "held"
    def leave(self, gcmd, task):
        sys.exit(7)
gcmd = gearmancmd.GearmanCMD([sys.argv[1]]).register_task(sys.argv[2], Queue())
{setup}
try:
    gcmd.run()
    print("returned", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    gcmd.stop()
"""


def test_stop_in_a_command_answers_null_and_ends_the_run(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    running = run(gcmd)
    assert client.call(queue, {"command": "stop"}).data == b"null"
    assert running.wait() is None
    run(gcmd)
    assert client.call(queue, REVERSE).result == "cba"


def test_a_graceful_stop_in_a_command_answers_with_its_own_result(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    running = run(gcmd)
    assert client.call(queue, {"command": "stop", "graceful": True}).result == "own result"
    assert running.wait() is None
    run(gcmd)
    assert client.call(queue, REVERSE).result == "cba"


@pytest.mark.parametrize("graceful", [False, True])
def test_stop_from_another_thread_lets_the_command_finish(server, client, queue, run, graceful):
    target = Queue()
    gcmd = GearmanCMD([server.address]).register_task(queue, target)
    running = run(gcmd)
    job = client.send(queue, {"command": "hold"})
    assert target.started.wait(30)
    waiting = client.send(queue, REVERSE)
    gcmd.stop(graceful=graceful)
    target.let_go.set()
    assert client.outcome(job).result == "held"
    assert running.wait() is None
    assert not waiting.complete
    run(gcmd)
    assert client.outcome(waiting).result == "cba"


def test_prefetched_jobs_go_back_to_the_queue(server, client, queue, run):
    target = Queue()
    gcmd = GearmanCMD([server.address], prefetch=8).register_task(queue, target)
    running = run(gcmd)
    first = client.send(queue, {"command": "hold"})
    assert target.started.wait(30)
    others = [client.send(queue, REVERSE) for _ in range(12)]
    wait_for(lambda: counts(server, queue)[1] > 1, "jobs to be prefetched")
    gcmd.stop()
    target.let_go.set()
    assert client.outcome(first).result == "held"
    assert running.wait() is None
    run(gcmd)
    assert [client.outcome(job).result for job in others] == ["cba"] * 12


def test_stop_twice_and_before_and_after_runs(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    gcmd.stop()
    gcmd.stop(graceful=True)
    running = run(gcmd)
    assert client.call(queue, REVERSE).result == "cba"
    gcmd.stop()
    gcmd.stop()
    assert running.wait() is None
    gcmd.stop()
    run(gcmd)
    assert client.call(queue, REVERSE).result == "cba"


def test_stop_after_a_failed_run(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    running = run(gcmd)
    client.call(queue, {"command": "fail"})
    assert isinstance(running.wait(), ValueError)
    gcmd.stop()
    gcmd.stop()
    run(gcmd)
    assert client.call(queue, REVERSE).result == "cba"


def test_run_after_a_failed_run_without_a_stop(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    running = run(gcmd)
    client.call(queue, {"command": "fail"})
    running.wait()
    run(gcmd)
    assert client.call(queue, REVERSE).result == "cba"


def test_ctrl_c_while_idle(server, queue, worker_process):
    process = worker_process(PROCESS.format(setup=""), server.address, queue)
    process.wait_for_line("answers")
    process.interrupt()
    process.wait_for_line("interrupted")
    assert process.exit_status() == 0


def test_ctrl_c_in_a_command_puts_the_job_back_for_another_worker(server, client, queue, run, worker_process):
    process = worker_process(PROCESS.format(setup=""), server.address, queue)
    job = client.send(queue, {"command": "hold", "seconds": 60})
    process.wait_for_line("begun")
    process.interrupt()
    process.wait_for_line("interrupted")
    assert process.exit_status() == 0
    wait_for(lambda: counts(server, queue) == (1, 0, 0), "the job in the queue")
    target = Queue()
    target.let_go.set()
    run(GearmanCMD([server.address]).register_task(queue, target))
    assert client.outcome(job).result == "held"


def test_sys_exit_in_a_command_leaves_run_and_puts_the_job_back(server, client, queue, worker_process):
    process = worker_process(PROCESS.format(setup=""), server.address, queue)
    client.send(queue, {"command": "leave"}, background=True)
    assert process.exit_status() == 7
    wait_for(lambda: counts(server, queue) == (1, 0, 0), "the job in the queue")


@pytest.mark.parametrize("graceful, answer", [(True, b'"held"'), (False, b"null")])
def test_stop_from_a_signal_handler_in_a_command(server, client, queue, worker_process, graceful, answer):
    setup = f"signal.signal(signal.SIGTERM, lambda *_: gcmd.stop(graceful={graceful}))"
    process = worker_process(PROCESS.format(setup=setup), server.address, queue)
    job = client.send(queue, {"command": "hold", "seconds": 0.5})
    process.wait_for_line("begun")
    process.process.send_signal(signal.SIGTERM)
    assert client.outcome(job).data == answer
    process.wait_for_line("returned")
    assert process.exit_status() == 0


def test_stop_from_a_signal_handler_while_idle_with_a_long_poll_timeout(server, queue, worker_process):
    setup = "gcmd.poll_timeout = 600; signal.signal(signal.SIGTERM, lambda *_: gcmd.stop())"
    process = worker_process(PROCESS.format(setup=setup), server.address, queue)
    process.wait_for_line("answers")
    process.process.send_signal(signal.SIGTERM)
    process.wait_for_line("returned")
    assert process.exit_status() == 0


@pytest.fixture
def full_server():
    """A port where a connection attempt goes unanswered: the kernel's list of those to be accepted is full."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
            if not select.select([], [waiting], [], 0.3)[1]:
                break
        yield listener.getsockname()


@pytest.fixture
def mute_tls_server(tmp_path):
    """One that accepts, and never answers the TLS handshake."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {"host": "127.0.0.1", "port": listener.getsockname()[1], "ca_certs": str(tmp_path / "ca.pem")}


@pytest.mark.parametrize("unreachable", ["full_server", "mute_tls_server"])
def test_stop_ends_a_run_without_any_server(queue, run, request, unreachable):
    server = request.getfixturevalue(unreachable)
    port = server["port"] if isinstance(server, dict) else server[1]
    gcmd = GearmanCMD(["127.0.0.1:1", server], poll_timeout=60).register_task(queue, Queue())
    running = run(gcmd)
    wait_for(lambda: attempts(port), "a connection attempt")
    gcmd.stop()
    assert running.wait() is None
    wait_for(lambda: not attempts(port), "the attempt to be cut short", limit=CONNECT_TIMEOUT / 2)


def attempts(port: int) -> list[str]:
    """The threads that try to connect to a port."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name == f"gearmancmd-connect-127.0.0.1:{port}"]


def test_stop_with_a_paused_server(own_gearmand, queue, run):
    gcmd = GearmanCMD([own_gearmand.address]).register_task(queue, Queue())
    running = run(gcmd)
    wait_for(lambda: counts(own_gearmand, queue)[2] == 1, "the worker")
    own_gearmand.pause()
    gcmd.stop()
    assert running.wait() is None


def test_many_runs_leave_no_thread_and_no_file_descriptor(server, client, queue):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())

    def round_trip() -> None:
        thread = threading.Thread(target=gcmd.run)
        thread.start()
        assert client.call(queue, {"command": "stop"}).data == b"null"
        thread.join(30)
        assert not thread.is_alive()

    def open_files() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    round_trip()
    wait_for(lambda: counts(server, queue)[2] == 0, "the worker to be gone")
    threads, files = threading.active_count(), open_files()
    for _ in range(200):
        round_trip()
    wait_for(lambda: threading.active_count() <= threads, "the threads to be gone")
    # the embedded server lives in this process: its side of the last connection closes a little later
    wait_for(lambda: open_files() <= files, "the file descriptors to be closed")


def test_a_stop_trigger_that_is_set_already(server, queue):
    trigger = threading.Event()
    trigger.set()
    started = time.monotonic()
    GearmanCMD([server.address], poll_timeout=60).register_task(queue, Queue()).run(trigger)
    assert time.monotonic() - started < 30


def test_a_stop_in_the_middle_of_an_outage_is_quiet(own_gearmand, queue, run, caplog):
    gcmd = GearmanCMD([own_gearmand.address]).register_task(queue, Queue())
    with caplog.at_level(logging.INFO, "gearmancmd"):
        running = run(gcmd)
        wait_for(lambda: "answers" in caplog.text, "the log line of the server's first answer")
        own_gearmand.stop()
        wait_for(lambda: "no connection" in caplog.text, "the log line of the outage")
        gcmd.stop()
        assert running.wait() is None
    lines = [record.levelname for record in caplog.records if not record.getMessage().startswith("worker ")]
    assert lines == ["INFO", "WARNING"]


def test_run_at_once_after_stop_waits_for_the_old_run_from_any_thread(server, client, queue, run):
    target = Queue()
    gcmd = GearmanCMD([server.address]).register_task(queue, target)
    old = run(gcmd)
    held = client.send(queue, {"command": "hold"})
    assert target.started.wait(30)
    gcmd.stop()
    new = run(gcmd)
    waiting = client.send(queue, REVERSE)
    target.let_go.set()
    assert client.outcome(held).result == "held"
    assert old.wait() is None
    assert client.outcome(waiting).result == "cba"
    assert new.error is None


def test_many_restarts_from_another_thread_lose_nothing(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    running = run(gcmd)
    for number in range(50):
        gcmd.stop()
        running = run(gcmd)
        if number % 5 == 0:
            assert client.call(queue, REVERSE).result == "cba"
    assert running.error is None


def test_run_in_a_command_of_that_run_would_wait_for_itself(server, client, queue, run):
    errors = []

    class Restarting(GearmanCMDQueue):
        def restart(self, gcmd, task):
            gcmd.stop(graceful=True)
            try:
                gcmd.run()
            except RuntimeError as error:
                errors.append(str(error))

    running = run(GearmanCMD([server.address]).register_task(queue, Restarting()))
    client.call(queue, {"command": "restart"})
    assert running.wait() is None
    assert errors == ["run() is running already"]


def test_a_stop_while_run_is_being_set_up_is_not_lost(server, queue, run):
    class Early(gearmancmd.JSONGearmanWorker):
        def register_task(self, task, callback_function):
            gcmd.stop()
            return super().register_task(task, callback_function)

    class EarlyCMD(GearmanCMD):
        worker = Early

    gcmd = EarlyCMD([server.address], poll_timeout=600).register_task(queue, Queue())
    assert run(gcmd).wait() is None


@pytest.mark.parametrize("prefetch", [1, 10])
def test_a_graceful_stop_finishes_what_was_assigned_and_costs_no_attempt(gearmand, queue, run, prefetch):
    """`gearmand -j 1` drops a job that comes back to its queue once."""
    done = []

    class Noting(GearmanCMDQueue):
        def note(self, gcmd, task):
            time.sleep(0.02)
            done.append(task["number"])

    with Gearmand("--job-retries", "1") as server, gearmancmd.JSONGearmanClient([server.address]) as submitter:
        numbers = range(60)
        list(submitter.submit_many(queue, [{"command": "note", "number": number} for number in numbers]))
        gcmd = GearmanCMD([server.address], prefetch=prefetch).register_task(queue, Noting())
        while counts(server, queue)[0]:
            before = len(done)
            running = run(gcmd)
            wait_for(lambda: len(done) > before or not counts(server, queue)[0], "a job to be done")
            gcmd.stop(graceful=True)
            assert running.wait() is None
    assert sorted(done) == list(numbers)


def test_a_graceful_stop_answers_all_jobs_that_are_assigned_with_their_own_results(server, client, queue, run):
    target = Queue()
    gcmd = GearmanCMD([server.address], prefetch=8).register_task(queue, target)
    jobs = [client.send(queue, {"command": "hold"})] + [client.send(queue, REVERSE) for _ in range(20)]
    running = run(gcmd)
    assert target.started.wait(30)
    wait_for(lambda: counts(server, queue)[1] > 1, "jobs to be prefetched")
    gcmd.stop(graceful=True)
    target.let_go.set()
    assert running.wait() is None
    assert client.outcome(jobs[0]).result == "held"
    wait_for(lambda: counts(server, queue)[1] == 0, "no job to be running")
    left = counts(server, queue)[0]
    assert left > 0
    wait_for(lambda: sum(job.complete for job in jobs) == len(jobs) - left, "the answers to all others")
    run(gcmd)
    assert [client.outcome(job).result for job in jobs[1:]] == ["cba"] * 20


@pytest.mark.parametrize("graceful", [False, True])
def test_a_stop_with_a_server_away_lets_the_command_finish_and_the_loop_sleep(server, client, queue, run, graceful):
    polls = []

    class Counting(gearmancmd.JSONGearmanWorker):
        def after_poll(self, any_activity):
            polls.append(any_activity)
            return True

    class CountingCMD(GearmanCMD):
        worker = Counting

    target = Queue()
    gcmd = CountingCMD(["127.0.0.1:1", server.address], poll_timeout=5).register_task(queue, target)
    running = run(gcmd)
    job = client.send(queue, {"command": "hold"})
    assert target.started.wait(30)
    gcmd.stop(graceful=graceful)
    before = len(polls)
    assert not threading.Event().wait(0.5)
    assert len(polls) < before + 20
    target.let_go.set()
    assert client.outcome(job).result == "held"
    assert running.wait() is None


def test_a_plain_stop_after_a_graceful_one_is_plain(server, client, queue, run):
    target = Queue()
    gcmd = GearmanCMD([server.address], prefetch=8).register_task(queue, target)
    held = client.send(queue, {"command": "hold"})
    others = [client.send(queue, REVERSE) for _ in range(12)]
    running = run(gcmd)
    assert target.started.wait(30)
    wait_for(lambda: counts(server, queue)[1] > 1, "jobs to be prefetched")
    gcmd.stop(graceful=True)
    gcmd.stop()
    target.let_go.set()
    assert running.wait() is None
    assert client.outcome(held).result == "held"
    assert not any(job.complete for job in others)
