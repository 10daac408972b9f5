"""Connections that stay open and pass nothing on, as some firewalls leave them: the worker makes new ones."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing

import pytest

from gearmancmd import GearmanCMD, JSONGearmanClient
from gearmancmd._worker import grabs, loop
from tests.support.proxy import Proxy
from tests.support.queues import Serving
from tests.support.servers import assignment, request
from tests.support.waiting import LIMIT, wait_for

REVERSE = {"command": "reverse", "message": "abc"}


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    """Two seconds in the place of a minute."""
    monkeypatch.setattr(grabs, "DEAD_SECONDS", 2.0)
    monkeypatch.setattr(grabs, "ASK_AGAIN_SECONDS", 0.2)
    monkeypatch.setattr(loop, "DEAD_LOOK_SECONDS", 0.05)


@pytest.mark.parametrize("poll_timeout", [0.1, 600])
def test_an_idle_worker_connects_again_and_does_jobs(server, queue, run, poll_timeout):
    with Proxy(server) as proxy, JSONGearmanClient([server.address], timeout=LIMIT) as client:
        running = run(GearmanCMD([proxy.address], poll_timeout=poll_timeout).register_task(queue, Serving()))
        assert client.call(queue, REVERSE) == "cba"
        proxy.hold()
        # one of them may be on its way through the proxy already
        jobs = [client.submit(queue, REVERSE) for _ in range(2)]
        wait_for(lambda: any(job.done() for job in jobs), "a job to be done by another connection")
        assert proxy.connections > 1
    assert running.error is None


def test_a_command_is_not_taken_from_a_worker_that_waits_for_nothing(server, queue, run):
    target = Serving()
    with Proxy(server) as proxy, JSONGearmanClient([server.address], timeout=LIMIT) as client:
        run(GearmanCMD([proxy.address], prefetch=2).register_task(queue, target))
        job = client.submit(queue, {"command": "hold", "message": "held"})
        wait_for(lambda: target.started, "the command to begin")
        proxy.hold()
        connections = proxy.connections
        patience = time.monotonic() + 2 * grabs.DEAD_SECONDS
        wait_for(lambda: time.monotonic() > patience, "the worker's patience to end")
        proxy.flow()
        target.let_go.set()
        assert job.result() == "held"
        assert target.started == 1
        assert proxy.connections == connections


def test_a_payload_that_comes_slowly_is_waited_for(queue, run):
    task = {"command": "reverse", "message": "x" * 20}
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        run(GearmanCMD([listener.getsockname()]).register_task(queue, Serving()))
        listener.settimeout(LIMIT)
        connection, _ = listener.accept()
        with closing(connection):
            connection.settimeout(LIMIT)
            seen = b""
            while request(30) not in seen:
                seen += connection.recv(65536)
            for byte in assignment(1, queue, task):
                connection.sendall(bytes([byte]))
                threading.Event().wait(0.03)  # a slow network: the whole takes longer than two seconds
            while b'H:x:1\0"xxx' not in seen:
                seen += connection.recv(65536)
