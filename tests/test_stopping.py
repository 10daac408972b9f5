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

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd.connection import CONNECT_TIMEOUT
from tests.gearmand import counts
from tests.waiting import wait_for


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
    wait_for(lambda: dials(port), "a connection attempt")
    gcmd.stop()
    assert running.wait() is None
    wait_for(lambda: not dials(port), "the attempt to be cut short", limit=CONNECT_TIMEOUT / 2)


def dials(port: int) -> list[str]:
    """The threads that try to connect to a port."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name == f"gearmancmd-dial-127.0.0.1:{port}"]


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
        wait_for(lambda: caplog.records, "the log line of the server's first answer")
        own_gearmand.stop()
        wait_for(lambda: len(caplog.records) > 1, "the log line of the outage")
        gcmd.stop()
        assert running.wait() is None
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
