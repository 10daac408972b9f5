"""A fork makes another process: it has no part in its parent's connections, jobs and run()."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue
from tests.support.gearmand import counts
from tests.support.processes import PROGRAM
from tests.support.servers import packet
from tests.support.workers import WorkerProcess

BY_ITSELF = "import sys; from tests.support.processes import work_by_itself; work_by_itself(*sys.argv[1:])"
WORK = {"command": "work"}


@pytest.fixture
def forking(site, queue, worker_process) -> Callable[..., WorkerProcess]:
    """Starts a worker that forks once at a place."""

    def start(place: str, child: str, program: str = PROGRAM) -> WorkerProcess:
        return worker_process(program, json.dumps(site.servers), queue, place, child)

    return start


ENDS = {
    "returns": (1, "RuntimeError left run() of the child: run() or work() was called in process {pid}, "),
    "raises": (1, "ValueError left run() of the child: the child's"),
    "raises CommandError": (1, "CommandError left run() of the child: the child's"),
    "calls sys.exit": (7, "SystemExit left run() of the child"),
    "calls os._exit": (8, ""),
    "calls stop": (8, ""),
    "reports": (8, "the child may not report: JobEnded: run() or work() was called in process {pid}, "),
}


@pytest.mark.parametrize("child", ENDS)
def test_a_child_that_is_forked_in_a_command_ends_and_its_parent_goes_on(site, queue, forking, child):
    process = forking("a command", child)
    pid = process.process.pid
    assert [site.client.call(queue, WORK).result for _ in range(3)] == [pid] * 3
    status, said = ENDS[child]
    process.wait_for_line(f"the child ended with {status}")
    process.wait_for_line("the child has the sockets []")
    assert any(line.startswith(said.format(pid=pid)) for line in process.lines), process.lines
    assert not [line for line in process.lines if "goes on with" in line]
    assert sum("may not report" in line for line in process.lines) == (3 if child == "reports" else 0)
    assert counts(site.server, queue) == (0, 0, 1)


PLACES = [
    "the decoder",
    "the queue's dispatch",
    "dispatch",
    "the encoder",
    "on_job_execute",
    "on_job_complete",
    "after_job",
    "the stop trigger",
]


@pytest.mark.parametrize("child", ["returns", "raises", "calls sys.exit"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("site", ["gearmand"], indirect=True)
def test_a_child_that_is_forked_in_a_hook_ends_and_its_parent_goes_on(site, queue, forking, place, child):
    process = forking(place, child)
    results = [site.client.call(queue, WORK).result for _ in range(3)]
    assert results == [process.process.pid] * 3
    process.wait_for_line(f"the child ended with {ENDS[child][0]}")
    error = process.wait_for_line("left run() of the child").split()[0]
    codec = place in {"the encoder", "the decoder"}
    raised = ("PayloadError" if place == "the decoder" else "ResultError") if codec else "ValueError"
    assert error == {"returns": "RuntimeError", "raises": raised, "calls sys.exit": "SystemExit"}[child]
    assert not [line for line in process.lines if "goes on with" in line]


def test_a_child_that_is_forked_in_an_exception_handler_ends_and_its_parent_goes_on(site, queue, forking):
    process = forking("the exception handler", "returns")
    for _ in range(2):
        assert site.client.call(queue, {"command": "fail"}).result == "handled: to be handled"
    process.wait_for_line("the child ended with 1")
    process.wait_for_line("RuntimeError left run() of the child")


@pytest.mark.parametrize(("place", "told"), [("a thread of a command", False), ("after_poll", True)])
def test_a_child_that_is_forked_in_another_thread_ends_with_that_thread(site, queue, forking, place, told):
    process = forking(place, "returns")
    assert [site.client.call(queue, WORK).result for _ in range(3)] == [process.process.pid] * 3
    process.wait_for_line("the child ended with 0")
    assert any(line.startswith("RuntimeError: run() or work() was called") for line in process.lines) == told


def test_a_child_that_is_forked_in_on_gearman_error_ends(queue, worker_process):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        program = f"from tests.support.processes import Worker; del Worker.after_poll; {PROGRAM}"  # which would see it
        process = worker_process(program, json.dumps([address]), queue, "on_gearman_error", "returns")
        accepted, _ = listener.accept()
        with contextlib.closing(accepted):
            accepted.sendall(packet(19, b"QUEUE_ERROR\0no room"))
            process.wait_for_line("RuntimeError: run() or work() was called")
            process.wait_for_line("the child ended with 0")


@pytest.mark.parametrize("place", ["a command", "the encoder", "after_job", "after_poll"])
def test_a_child_of_a_worker_that_works_by_itself_ends_and_its_parent_goes_on(site, queue, forking, place):
    process = forking(place, "returns", BY_ITSELF)
    assert [site.client.call(queue, WORK).result for _ in range(3)] == [process.process.pid] * 3
    process.wait_for_line("the child ended with 1")
    process.wait_for_line("RuntimeError left work() of the child")


@pytest.mark.parametrize("child", ["calls run", "runs another"])
@pytest.mark.parametrize("place", ["a command", "a thread of a command", "beside run()"])
def test_run_in_a_child_has_connections_of_its_own(site, queue, forking, place, child):
    process = forking(place, child)
    first = site.client.send(queue, WORK)
    process.wait_for_line("the child has the sockets []")
    worker = site.client.call(f"{queue}-child", WORK).result
    assert worker != process.process.pid
    assert site.client.call(f"{queue}-child", {"command": "stop"}).data == b"null"
    process.wait_for_line("run() of the child has returned")
    process.wait_for_line("the child ended with 8")
    results = [site.client.outcome(first).result, site.client.call(queue, WORK).result]
    assert results == [process.process.pid] * 2


def test_work_in_a_child_has_connections_of_its_own(site, queue, forking):
    process = forking("a command", "calls work", BY_ITSELF)
    first = site.client.send(queue, WORK)
    assert site.client.call(f"{queue}-child", None).result not in {None, process.process.pid}
    process.wait_for_line("work() of the child has returned")
    assert [site.client.outcome(first).result, site.client.call(queue, WORK).result] == [process.process.pid] * 2


class Answering(GearmanCMDQueue):
    def hold(self, gcmd, task):
        return "done again"


@pytest.mark.parametrize("helper", ["os.fork", "Process", "ProcessPoolExecutor"])
def test_a_helper_that_outlives_its_worker_does_not_keep_the_job_from_the_queue(site, queue, forking, run, helper):
    process = forking("", "")
    job = site.client.send(queue, {"command": "hold", "helper": helper})
    pid = int(process.wait_for_line("helper").split()[1])
    try:
        process.process.kill()
        run(GearmanCMD([site.server.address]).register_task(queue, Answering()))
        assert site.client.outcome(job).result == "done again"
        os.kill(pid, 0)  # the helper is still there
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
