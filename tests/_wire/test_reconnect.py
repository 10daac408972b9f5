"""Attempts to reach a server, the waits between them, and what is logged of them."""

from __future__ import annotations

import _thread
import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace

import gearman.errors
import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd._wire import threads
from gearmancmd._wire.address import Address
from gearmancmd._wire.connection import ServerConnection
from gearmancmd._wire.reconnect import RECONNECT_FIRST_SECONDS as FIRST
from gearmancmd._wire.reconnect import RECONNECT_LAST_SECONDS as LAST
from gearmancmd._wire.reconnect import Attempt, Outage, open_within
from tests.support.gearmand import free_port
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import UNMEASURED


def test_the_first_wait_is_short_and_the_last_is_capped():
    outage = Outage("server")
    waits = [outage.failed("refused") for _ in range(40)]
    assert 0 < waits[0] < 0.1
    assert all(0 < wait <= LAST for wait in waits)
    assert all(wait >= LAST / 2 for wait in waits[10:])


def test_waits_are_jittered():
    assert len({Outage("server").failed("refused") for _ in range(20)}) > 10


def test_one_line_an_outage_and_one_a_recovery(caplog):
    outage = Outage("server")
    outage.heard()
    with caplog.at_level(logging.INFO, "gearmancmd"):
        for _ in range(2):
            for _ in range(5):
                outage.failed("refused")
            for _ in range(5):
                outage.heard()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2


def test_the_first_answer_of_a_server_is_told_once(caplog):
    outage = Outage("server")
    with caplog.at_level(logging.INFO, "gearmancmd"):
        outage.heard()
        outage.heard()
    assert [record.getMessage() for record in caplog.records] == ["gearmand at server answers"]


def test_a_recovery_starts_the_waits_anew():
    outage = Outage("server")
    for _ in range(10):
        outage.failed("refused")
    outage.heard()
    assert outage.failed("refused") < 0.1


# Where no thread can be started.

NO_THREAD = "can't start new thread"


class Threads:
    """Makes the starts of threads fail that are told to, and keeps the time of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, broken: Callable[[int], bool], error: Exception) -> None:
        self.failed_at: list[float] = []
        self._broken = broken
        self._error = error
        self._begun = 0
        self._monkeypatch = monkeypatch

    def break_the_interpreters(self) -> None:
        start = _thread.start_new_thread

        def start_or_fail(*arguments):
            self._fail_if_broken()
            return start(*arguments)

        self._monkeypatch.setattr(threads, "_thread", SimpleNamespace(start_new_thread=start_or_fail))

    def break_the_librarys(self) -> None:
        start = threading.Thread.start

        def start_or_fail(thread):
            if thread.name.startswith("gearmancmd-"):
                self._fail_if_broken()
            start(thread)

        self._monkeypatch.setattr(threading.Thread, "start", start_or_fail)

    def _fail_if_broken(self) -> None:
        self._begun += 1
        if self._broken(self._begun):
            self.failed_at.append(time.monotonic())
            raise self._error


BREAKS = {
    "the interpreter starts none": Threads.break_the_interpreters,
    "threading starts none": Threads.break_the_librarys,
}

each_break = pytest.mark.parametrize("break_them", BREAKS.values(), ids=BREAKS.keys())


@each_break
@pytest.mark.parametrize("error", [RuntimeError(NO_THREAD), MemoryError(NO_THREAD)], ids=["no thread", "no memory"])
def test_an_attempt_without_a_thread_is_one_that_failed(monkeypatch, break_them, error):
    break_them(Threads(monkeypatch, lambda number: True, error))
    done = []
    attempt = Attempt(Address("127.0.0.1", free_port()), done.append)
    attempt.start()
    assert attempt.ended.wait(LIMIT)
    assert done == [attempt]
    assert attempt.socket is None and attempt.error is error


@each_break
def test_an_attempt_without_a_thread_may_be_abandoned(monkeypatch, break_them):
    done = []
    attempt = Attempt(Address("127.0.0.1", free_port()), done.append)
    attempt.abandon()
    break_them(Threads(monkeypatch, lambda number: True, RuntimeError(NO_THREAD)))
    attempt.start()
    assert attempt.ended.wait(LIMIT)
    assert done == []


@each_break
def test_a_worker_comes_up_once_threads_can_be_started_again(
    server, client, queue, run, monkeypatch, caplog, break_them
):
    class Reversing(GearmanCMDQueue):
        def reverse(self, gcmd, task):
            return task["message"][::-1]

    # the first is the worker's own
    broken = Threads(monkeypatch, lambda number: 1 < number <= 5, RuntimeError(NO_THREAD))
    break_them(broken)
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        running = run(GearmanCMD([server.address]).register_task(queue, Reversing()))
        assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert running.error is None
    pauses = [after - before for before, after in zip(broken.failed_at, broken.failed_at[1:], strict=False)]
    assert len(pauses) == 3
    assert all(pause > FIRST * 2**number / 2 * 0.9 for number, pause in enumerate(pauses)), pauses
    lines = [record.getMessage() for record in caplog.records if server.address in record.getMessage()]
    assert len(lines) == 1 and lines[0].endswith(NO_THREAD)


@each_break
def test_a_run_whose_own_thread_cannot_be_started_says_so_and_may_be_tried_again(
    server, client, queue, run, monkeypatch, break_them
):
    class Reversing(GearmanCMDQueue):
        def reverse(self, gcmd, task):
            return task["message"][::-1]

    break_them(Threads(monkeypatch, lambda number: number == 1, RuntimeError(NO_THREAD)))
    gcmd = GearmanCMD([server.address]).register_task(queue, Reversing())
    assert str(run(gcmd).wait()) == NO_THREAD
    run(gcmd)
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"


# Waiting for a connection.


def test_a_thread_that_waits_gets_a_connected_socket(server):
    with closing(open_within(Address(server.host, server.port))) as opened:
        assert opened.getpeername() == (server.host, server.port)


def test_a_look_up_that_hangs_keeps_nobody_longer_than_the_time_out(names):
    names.hang("slow.example")
    with pytest.raises(TimeoutError):
        open_within(Address("slow.example"), 0.1)


def test_dead_addresses_keep_nobody_longer_than_the_time_out(names, dead_address):
    names.add("dead.example", *[dead_address.target] * 3)
    with pytest.raises(TimeoutError):
        open_within(Address("dead.example"), 0.1)


def test_a_connection_is_given_up_while_its_look_up_hangs(names):
    names.hang("slow.example")
    with pytest.raises(gearman.errors.ConnectionError, match=r"slow\.example:4730: timed out"):
        ServerConnection("slow.example").connect()


def test_an_attempt_ends_soon_when_ctrl_c_breaks_off_the_wait_for_it(dead_address):
    address = Address(*dead_address.target)

    def attempts():
        return [thread for thread in threading.enumerate() if thread.name == f"gearmancmd-connect-{address}"]

    def press_ctrl_c():
        wait_for(attempts, "the attempt")
        _thread.interrupt_main()

    pressing = threading.Thread(target=press_ctrl_c)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        open_within(address, 3600)
    pressing.join()
    wait_for(lambda: not attempts(), "the attempt to end")


def test_whatever_an_attempt_fails_of_is_an_error_of_the_system(monkeypatch):
    Threads(monkeypatch, lambda number: True, RuntimeError(NO_THREAD)).break_the_librarys()
    with pytest.raises(OSError, match=NO_THREAD):
        open_within(Address("127.0.0.1", free_port()))


def test_a_look_up_that_ends_when_nobody_waits_any_more_leaves_no_socket(server, names):
    names.hang("slow.example")
    done = []
    attempt = Attempt(Address("slow.example"), done.append)
    attempt.start()
    wait_for(lambda: "slow.example" in names.asked, "the look-up")
    attempt.abandon()
    names.add("slow.example", (server.host, server.port))
    names.release()
    assert attempt.ended.wait(LIMIT)
    assert done == []
    assert attempt.socket is None or attempt.socket.fileno() == -1


def test_a_socket_that_was_handed_over_is_closed_when_it_is_abandoned(server):
    done = []
    attempt = Attempt(Address(server.host, server.port), done.append)
    attempt.start()
    assert attempt.ended.wait(LIMIT)
    assert done == [attempt]
    attempt.abandon()
    assert attempt.socket.fileno() == -1


LOOKING_UP = """
import socket, sys, threading, time

begun = threading.Event()

def look_up(*arguments, **options):
    begun.set()
    time.sleep(600)

socket.getaddrinfo = look_up
from gearmancmd._wire.address import Address
from gearmancmd._wire.reconnect import open_within

try:
    open_within(Address("slow.example"), 0.1)
except TimeoutError:
    assert begun.wait(30)
    print("timed out")
"""


def test_the_process_can_exit_while_a_look_up_is_under_way(worker_process):
    process = worker_process(LOOKING_UP)
    assert process.exit_status() == 0
    process.wait_for_line("timed out")


OPENING_AT_EACH_LINE = """
import sys
from gearmancmd._wire.connection import ServerConnection
from tests.support.interrupts import strike_at_each_line

host, port = sys.argv[2].split(":")

def call():
    connection = ServerConnection(host, int(port))
    try:
        connection.connect()
        assert connection.connected
    finally:
        connection.close()

strike_at_each_line(call, sys.argv[1])
"""


@pytest.mark.timeout(200)
@pytest.mark.parametrize("kind", ["Ctrl+C", "another exception of a signal handler"])
def test_an_exception_at_any_line_of_the_wait_leaves_no_descriptor(gearmand, worker_process, kind):
    process = worker_process(OPENING_AT_EACH_LINE, kind, gearmand.address, environment=UNMEASURED)
    process.process.wait(timeout=180)
    struck, bad = json.loads(process.wait_for_line("told").removeprefix("told"))
    assert bad == []
    assert struck > 20
