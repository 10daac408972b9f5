"""What a forked child has of its parent's sockets, whenever the fork comes."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import Pipe
from typing import Any

import pytest
import trustme

import gearmancmd
from gearmancmd import JSONGearmanWorker
from gearmancmd._wire import fork
from gearmancmd._wire.address import Address
from gearmancmd._wire.connection import ServerConnection
from gearmancmd._wire.opening import open_socket
from gearmancmd._wire.waker import Waker
from tests.support.dialling import in_child, inodes
from tests.support.processes import sockets
from tests.support.proxy import Proxy
from tests.support.servers import request
from tests.support.tls import tls_for
from tests.support.waiting import wait_for
from tests.support.workers import ENVIRONMENT


def inode(opened: socket.socket) -> int:
    return os.fstat(opened.fileno()).st_ino


def test_a_connection_is_closed_and_its_peer_hears_nothing_of_that(server):
    connection = ServerConnection(server.host, server.port)
    connection.connect()
    with closing(connection):
        assert connection.gearman_socket is not None
        number = inode(connection.gearman_socket)
        assert in_child(lambda: (number in inodes(), connection.connected)) == "(False, False)"
        connection.write(request(30))  # GRAB_JOB_UNIQ, answered by NO_JOB
        assert connection.flush()
        assert wait_for(connection.receive) == [(10, [])]


def test_both_ends_of_a_waker_and_of_a_pipe_are_closed():
    waker = Waker()
    one, other = Pipe()
    fork.close_in_child(one)
    fork.close_in_child(other)
    descriptors = {waker.fileno(), one.fileno(), other.fileno()}
    assert in_child(lambda: descriptors & set(sockets())) == "set()"
    one.send("still open here")
    assert other.recv() == "still open here"


def test_a_descriptor_that_is_a_strangers_by_now_is_left_to_it(gearmand):
    opened = open_socket(Address(gearmand.host, gearmand.port))
    waker = Waker()
    one, other = Pipe()
    fork.close_in_child(one)
    with open(os.devnull) as null, closing(one), closing(other):
        numbers = [opened.fileno(), waker.fileno(), one.fileno()]
        opened.close()
        waker.close()
        fork.keep_in_child(one)
        for number in numbers:  # one.close() closes its descriptor at first, and forgets the number then
            os.dup2(null.fileno(), number)
        strangers = os.fstat(null.fileno()).st_rdev
        assert in_child(lambda: {os.fstat(number).st_rdev for number in numbers}) == f"{{{strangers}}}"
        for number in numbers[:2]:
            os.close(number)


def test_what_is_gone_is_forgotten(server):
    for _ in range(3):
        open_socket(Address(server.host, server.port)).close()
        ServerConnection(server.host, server.port)
        gc.collect()
        known = len(fork._resources), len(fork._calls)
    for _ in range(100):
        open_socket(Address(server.host, server.port)).close()
        ServerConnection(server.host, server.port)
    gc.collect()
    assert (len(fork._resources), len(fork._calls)) == known


def test_a_fork_in_a_destructor():
    answers = []

    class Forking:
        def __del__(self) -> None:
            answers.append(in_child(lambda: number in inodes()))

    waker = Waker()
    number = os.fstat(waker.fileno()).st_ino
    circle: list[Any] = [Forking()]
    circle.append(circle)
    del circle
    gc.collect()
    assert answers == ["False"]


@pytest.fixture(params=["plain", "TLS"])
def address(request: pytest.FixtureRequest, gearmand, tmp_path) -> Iterator[Address]:
    if request.param == "plain":
        yield Address(gearmand.host, gearmand.port)
        return
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Proxy(gearmand, tls=tls_for(authority, "localhost")) as proxy:
        yield Address("localhost", proxy.port, ca_certs=str(tmp_path / "ca.pem"))


def test_a_fork_at_any_line_of_dialling_has_no_part_in_the_connection(address):
    program = "import sys; from tests.support.dialling import main; main(*sys.argv[1:])"
    arguments = [address.host, str(address.port), address.ca_certs or ""]
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=110)
    lines, bad, encrypted = json.loads(done.stdout)
    assert bad == []
    assert lines > 20
    assert encrypted == address.tls


def test_a_connection_whose_handshake_goes_on_is_closed(tmp_path):
    """By a server that takes connections and says nothing."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    over = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = Address("127.0.0.1", listener.getsockname()[1], ca_certs=str(tmp_path / "ca.pem"))

        def dial() -> None:
            with pytest.raises(OSError):
                open_socket(address, abandoned=over.is_set)

        thread = threading.Thread(target=dial)
        before = inodes()
        thread.start()
        accepted, _ = listener.accept()
        with closing(accepted):
            wait_for(lambda: accepted.recv(1, socket.MSG_PEEK), "the client's hello")
            dialling = inodes() - before - {inode(accepted)}
            assert dialling
            assert in_child(lambda: dialling & inodes()) == "set()"
            over.set()
            thread.join()


def test_a_fork_while_a_socket_is_being_made_by_another_thread_has_no_part_in_it(monkeypatch):
    """Python lets other threads run while the system makes the socket, before anybody knows its number."""
    made: list[socket.socket] = []
    answers = []

    class Forking(socket.socket):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)
            if len(made) == 1:
                answers.append(in_child(inodes))

    monkeypatch.setattr(socket, "socket", Forking)
    with closing(fork.new_socket(socket.AF_INET, socket.SOCK_STREAM, 0)) as opened:
        assert opened is made[1]
        assert str(inode(opened)) not in answers[0]


def test_a_worker_that_is_made_opens_nothing(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    servers = ["localhost:4730", {"host": "localhost", "ca_certs": str(tmp_path / "ca.pem")}]
    before = os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")

    class Queue(gearmancmd.GearmanCMDQueue):
        def work(self, gcmd, task):
            pass

    kept = [gearmancmd.GearmanCMD(servers).register_task("q", Queue()), JSONGearmanWorker(servers)]
    assert os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd") == before
    assert kept
