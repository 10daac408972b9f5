"""What is said on a terminal when nothing comes back for a while."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, closing, suppress

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd._wire.address import Address
from gearmancmd.cli.notice import mute, unserved
from tests.support.gear_client import Caller
from tests.support.gearmand import counts, free_port
from tests.support.screen import exit_status
from tests.support.servers import packet
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")

CTRL_C = "\x03"


class Queue(GearmanCMDQueue):
    def __init__(self):
        self.go = threading.Event()

    def reverse(self, gcmd, task):
        return task["message"][::-1]

    def wait(self, gcmd, task):
        self.go.wait(LIMIT)


def where(server):
    return Address(server.host, server.port)


# call.


def test_call_says_that_no_worker_serves_the_queue_and_waits_for_one(server, queue, run, terminal):
    child = terminal(f"gearmancmd call {queue} reverse message=Hello -s {server.address}")
    child.expect(f"no worker serves queue {queue} at {server.address}; waiting for one, Ctrl\\+C leaves\r\n")
    run(GearmanCMD([server.address]).register_task(queue, Queue()))
    child.expect_exact('"olleH"\r\n')
    assert exit_status(child) == 0


def test_call_tells_of_the_server_that_has_the_job(gearmand, own_gearmand, queue, run, terminal):
    """A worker at another server is of no use."""
    run(GearmanCMD([gearmand.address]).register_task(queue, Queue()))
    wait_for(lambda: counts(gearmand, queue)[2], "the worker")
    down = f"127.0.0.1:{free_port()}"
    child = terminal(f"gearmancmd call {queue} reverse message=Hello -s {down} -s {own_gearmand.address}")
    child.expect(f"no worker serves queue {queue} at {own_gearmand.address}")
    child.send(CTRL_C)
    assert exit_status(child) == 130


def test_there_is_nothing_to_say_where_a_worker_is(gearmand, queue, run):
    target = Queue()
    with Caller(gearmand) as client:
        client.send(queue, {"command": "wait"}, background=True)
        assert unserved(where(gearmand), queue)
        assert not unserved(where(gearmand), f"{queue}-other")
        run(GearmanCMD([gearmand.address]).register_task(queue, target))
        wait_for(lambda: counts(gearmand, queue)[1:] == (1, 1), "the job to run")
        client.send(queue, {"command": "wait"}, background=True)
        assert not unserved(where(gearmand), queue)
        target.go.set()
        wait_for(lambda: counts(gearmand, queue)[0] == 0, "the jobs to be done")
        assert not unserved(where(gearmand), queue)


def test_call_says_nothing_where_nobody_reads_it(gearmand, queue, terminal, run, tmp_path):
    child = terminal(
        f"gearmancmd call {queue} reverse message=Hello --timeout 4 -s {gearmand.address} 2> {tmp_path}/errors"
    )
    assert exit_status(child) == 3
    (line,) = (tmp_path / "errors").read_text("utf-8").splitlines()
    assert line.startswith("gearmancmd: ")


class JobServer:
    """Answers the first connection, which is a client's, with a job's result once a second one has asked something;
    that one, which is for the admin protocol, is told `answer`, and kept open.
    """

    def __init__(self, answer=b""):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._end = threading.Event()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._end.set()
        self._listener.close()
        self._thread.join(LIMIT)

    def _serve(self):
        client, _ = self._listener.accept()
        with closing(client):
            received = b""
            while b"\0REQ\0\0\0\x07" not in received:  # SUBMIT_JOB
                received += client.recv(65536)
            client.sendall(packet(8, b"H:x:1"))
            admin, _ = self._listener.accept()
            with closing(admin):
                admin.recv(65536)
                with suppress(OSError):
                    admin.sendall(self._answer)
                client.sendall(packet(13, b'H:x:1\0"done"'))
                self._end.wait(LIMIT)


def test_a_server_without_admin_answers_neither_fails_nor_delays_the_call(terminal):
    """The question for the workers would wait for 60 s."""
    answers = [b"", b"ERR UNKNOWN_COMMAND\n", b"HTTP/1.1 400 Bad Request\n.\n", b"\xff\t\t\n.\n"]
    with ExitStack() as stack:
        servers = [stack.enter_context(JobServer(answer)) for answer in answers]
        # at once: each asks after three seconds
        children = [terminal(f"gearmancmd call queue reverse -s {server.address}") for server in servers]
        for answer, child in zip(answers, children):
            assert exit_status(child) == 0, answer
            assert child.before == '"done"\r\n', answer


# run.


def test_run_says_that_a_server_accepts_but_does_not_answer(project, queue, terminal):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        child = terminal(f"gearmancmd run shop.queues:Queue -q {queue} -s {address}", PYTHONPATH=f"{project}:{ROOT}")
        child.expect(f"{address} did not answer within 3 s, though it may accept connections: is it a job server?")
        child.send(CTRL_C)
        assert exit_status(child) == 130
        assert "Traceback" not in child.before


def test_run_on_a_terminal_works_beside_a_mute_server(gearmand, project, queue, terminal):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        child = terminal(
            f"gearmancmd run shop.queues:Queue -q {queue} -s {address} -s {gearmand.address}",
            PYTHONPATH=f"{project}:{ROOT}",
        )
        with Caller(gearmand) as client:
            assert client.call(queue, {"command": "reverse", "message": "Hello"}).result == "olleH"
        child.expect(f"{address} did not answer within 3 s")
        child.kill(15)
        assert exit_status(child) == 0
        assert f"{gearmand.address} did not" not in child.before


def test_a_server_that_answers_or_cannot_be_reached_is_not_mute(server):
    assert mute(where(server)) is None
    assert mute(Address("127.0.0.1", free_port())) is None
