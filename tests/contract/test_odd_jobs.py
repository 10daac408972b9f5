"""Exceptions, payloads and packets of the odd kind fail a job at most, and what becomes of the worker is known."""

from __future__ import annotations

import asyncio
import builtins
import json
import logging
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

import gearmancmd
from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue
from gearmancmd.logs import REASON_LIMIT_BYTES, Flood
from tests.support.gear_client import Outcome
from tests.support.proxy import Proxy
from tests.support.waiting import LIMIT, wait_for

MIB = 1 << 20


class TextCMD(GearmanCMD):
    worker = gearmancmd.GearmanWorker


KINDS = {"JSON": GearmanCMD, "text": TextCMD}

both_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


class Raising(GearmanCMDQueue):
    """The task is the command's name, bare, so that JSON workers and text workers have the same one."""

    def __init__(self, make_error: Callable[[], BaseException], times: float = float("inf")) -> None:
        self._make_error = make_error
        self._times = times
        self.raised = 0

    def dispatch(self, task: Any) -> Any:
        return task

    def fail(self, gcmd: Any, task: Any) -> Any:
        if self.raised >= self._times:
            return "done"
        self.raised += 1
        raise self._make_error()

    def fine(self, gcmd: Any, task: Any) -> Any:
        return "fine"


def payload(kind: type, task: str) -> bytes:
    return task.encode() if kind is TextCMD else json.dumps(task).encode()


def said(kind: type, outcome: Outcome) -> str:
    """The reason, decoded as clients of this kind of worker do."""
    assert outcome.said is not None
    return outcome.said.decode("utf-8", "backslashreplace") if kind is TextCMD else json.loads(outcome.said)


# What exceptions say.

TEXTS = {
    "control characters": "a\0b\r\n\t\x1b[2J\x7f",
    "C1": "\x85\x9b31m",
    "bidi marks": "\u202ecod.exe\u2066\u200f",
    "separators": "one\u2028two\u2029three",
    "halves of surrogate pairs": "\ud83d and \udcff",
    "a megabyte": "x" * MIB,
    "a megabyte of umlauts": "ü" * MIB,
    "a megabyte of emoji": "🖨" * MIB,
    "a megabyte of NULs": "\0" * MIB,
    "a megabyte of halves": "\ud83d" * MIB,
}

each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
each_way = pytest.mark.parametrize("failures", ["warning", "exception"])


def assert_harmless(records: list[logging.LogRecord]) -> None:
    assert records
    for record in records:
        line = record.getMessage()
        assert line.isprintable() and len(line) < 3200, line[:100]


def test_a_reason_that_an_encoder_makes_too_long_however_short_it_is_is_cut(server, client, queue, run):
    class Padding(gearmancmd.JSONDataEncoder):
        @classmethod
        def encode(cls, encodable_object):
            return b"0" * (2 * REASON_LIMIT_BYTES)

    class Worker(gearmancmd.JSONGearmanWorker):
        data_encoder = Padding

    class Padded(GearmanCMD):
        worker = Worker

    run(Padded([server.address]).register_task(queue, Raising(lambda: CommandError("out of paper"))))
    outcome = client.call(queue, {"command": "fail"})
    assert outcome.state == "failed"
    assert outcome.said == b"0" * REASON_LIMIT_BYTES


@both_kinds
@each_way
@each_text
def test_a_command_error_of_any_text_fails_its_job_only(server, client, queue, run, caplog, kind, failures, text):
    gcmd = kind([server.address], failures=failures)
    with caplog.at_level(logging.DEBUG, "gearmancmd"):
        running = run(gcmd.register_task(queue, Raising(lambda: CommandError(text))))
        outcome = client.call(queue, payload(kind, "fail"))
        assert client.call(queue, payload(kind, "fine")).state == "complete"
    assert outcome.state == ("exception" if failures == "exception" else "failed")
    assert 0 < len(outcome.said or b"") <= REASON_LIMIT_BYTES
    reason = said(kind, outcome)
    if kind is GearmanCMD:
        assert text.startswith(reason) and (len(text) == MIB or reason == text)
    assert running.error is None
    assert_harmless(caplog.records)


@both_kinds
@each_text
def test_any_other_exception_of_any_text_fails_its_job_with_one_line_and_leaves_run(
    server, client, queue, run, caplog, kind, text
):
    with caplog.at_level(logging.DEBUG, "gearmancmd"):
        running = run(kind([server.address]).register_task(queue, Raising(lambda: ValueError(text))))
        outcome = client.call(queue, payload(kind, "fail"))
        error = running.wait()
    assert outcome.state == "failed"
    reason = said(kind, outcome)
    assert reason.startswith("ValueError") and reason.isprintable() and len(reason) <= 1000
    assert isinstance(error, ValueError) and error.args == (text,)
    assert_harmless(caplog.records)


def raising(error: BaseException) -> Callable[[Any], str]:
    def speak(self: Any) -> str:
        raise error

    return speak


MUTE = {
    "it raises": raising(ValueError("no words")),
    "it raises SystemExit": raising(SystemExit(3)),
    "it raises RecursionError": raising(RecursionError()),
    "it recurses": lambda self: str(self),
    "it returns bytes": lambda self: b"bytes",
    "it returns None": lambda self: None,
}

each_mute = pytest.mark.parametrize("speak", MUTE.values(), ids=MUTE.keys())


@both_kinds
@each_mute
def test_an_exception_that_cannot_speak_fails_its_job_by_its_type(server, client, queue, run, kind, speak):
    mute = type("Mute", (Exception,), {"__str__": speak})
    running = run(kind([server.address]).register_task(queue, Raising(mute)))
    assert said(kind, client.call(queue, payload(kind, "fail"))) == "Mute"
    assert isinstance(running.wait(), mute)


@both_kinds
@each_mute
def test_a_command_error_that_cannot_speak_fails_its_job_only(server, client, queue, run, kind, speak):
    mute = type("Mute", (CommandError,), {"__str__": speak})
    running = run(kind([server.address]).register_task(queue, Raising(mute)))
    job = client.send(queue, payload(kind, "fail"))
    wait_for(lambda: job.complete, "the end of the job")
    assert job.failure
    assert client.call(queue, payload(kind, "fine")).state == "complete"
    assert running.error is None


# Exceptions that are no Exception.


class Own(BaseException):
    pass


JOBS: dict[str, Callable[[], BaseException]] = {
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
    "Own": lambda: Own("text"),
}
PROCESSES: dict[str, Callable[[], BaseException]] = {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}

if sys.version_info >= (3, 11):
    group, base_group = (getattr(builtins, name) for name in ("ExceptionGroup", "BaseExceptionGroup"))
    JOBS["ExceptionGroup"] = lambda: group("several", [ValueError("one"), CommandError("two")])
    JOBS["BaseExceptionGroup"] = lambda: base_group("several", [Own("one"), asyncio.CancelledError()])
    PROCESSES["a group with KeyboardInterrupt"] = lambda: base_group("several", [KeyError(), KeyboardInterrupt()])
    PROCESSES["a group in a group with SystemExit"] = lambda: base_group(
        "several", [ValueError(), base_group("inner", [SystemExit(3)])]
    )

each_of_a_job = pytest.mark.parametrize("name", JOBS)
each_of_the_process = pytest.mark.parametrize("make_error", PROCESSES.values(), ids=PROCESSES.keys())


@both_kinds
@each_of_a_job
def test_an_exception_that_is_no_exception_fails_its_job_and_leaves_run(server, client, queue, run, kind, name):
    running = run(kind([server.address]).register_task(queue, Raising(JOBS[name])))
    outcome = client.call(queue, payload(kind, "fail"))
    assert outcome.state == "failed"
    assert said(kind, outcome).partition(":")[0] == name
    assert type(running.wait()).__name__ == name


@both_kinds
@each_of_a_job
def test_an_exception_handler_may_answer_for_it(server, client, queue, run, kind, name):
    gcmd = kind([server.address], exception_handler=lambda error: type(error).__name__)
    running = run(gcmd.register_task(queue, Raising(JOBS[name])))
    outcome = client.call(queue, payload(kind, "fail"))
    assert (outcome.state, outcome.data) == ("complete", payload(kind, name))
    assert client.call(queue, payload(kind, "fine")).state == "complete"
    assert running.error is None


@each_of_the_process
def test_what_ends_the_process_leaves_run_and_the_job_goes_back_to_the_queue(server, client, queue, run, make_error):
    handled = []
    target = Raising(make_error, times=1)
    gcmd = GearmanCMD([server.address], exception_handler=handled.append).register_task(queue, target)
    job = client.send(queue, "fail")
    error = run(gcmd).wait()
    assert type(error) is type(make_error())
    assert not job.complete and not job.data
    assert target.raised == 1
    run(gcmd)
    assert client.outcome(job).result == "done"
    assert handled == []


# Payloads above max_payload.


class Measuring(GearmanCMDQueue):
    def dispatch(self, task: Any) -> Any:
        return "measure"

    def measure(self, gcmd: Any, task: Any) -> Any:
        return len(task)


def assert_too_large(outcome: Outcome, size: int, limit: int) -> None:
    assert outcome.state == "failed"
    stated = re.fullmatch(
        rf"the payload was not taken: its (\d+) bytes are more than max_payload, which is {limit}", outcome.reason
    )
    assert stated and size <= int(stated[1]) < size + 200, outcome.reason  # with the names


@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("size", [1001, 100_000, 5 * MIB])
def test_jobs_above_max_payload_fail_with_their_size_and_those_behind_them_are_done(
    server, client, queue, run, prefetch, size
):
    jobs = [(length, client.send(queue, "x" * length)) for length in (10, size, 20, size + 1, size + 2, 30)]
    running = run(GearmanCMD([server.address], prefetch=prefetch, max_payload=1000).register_task(queue, Measuring()))
    for length, job in jobs:
        if length < 1000:
            assert client.outcome(job).result == length
        else:
            assert_too_large(client.outcome(job), length + 2, 1000)
    assert running.error is None


@pytest.mark.parametrize("chunk", [1, 7, 999])
def test_a_payload_that_arrives_in_pieces_is_read_past_all_the_same(server, client, queue, run, chunk):
    with Proxy(server, chunk=chunk) as proxy:
        run(GearmanCMD([proxy.address], prefetch=8, max_payload=1000).register_task(queue, Measuring()))
        jobs = [client.send(queue, "x" * length) for length in (10, 5000, 20)]
        assert client.outcome(jobs[0]).result == 10
        assert_too_large(client.outcome(jobs[1]), 5002, 1000)
        assert client.outcome(jobs[2]).result == 20
        assert proxy.connections == 1


@contextmanager
def working(worker: gearmancmd.GearmanWorker) -> Iterator[None]:
    """The worker works by itself, in a thread, for the time of the ``with`` block."""
    thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.1})
    thread.start()
    try:
        yield
    finally:
        while thread.is_alive():
            worker.shutdown()
            thread.join(0.5)


@pytest.mark.parametrize("look", [lambda job: job.data, lambda job: job.payload], ids=["data", "payload"])
@pytest.mark.parametrize("prefetch", [1, 8])
def test_a_worker_by_itself_has_a_max_payload_too(server, client, queue, prefetch, look):
    worker = gearmancmd.JSONGearmanWorker([server.address], prefetch, max_payload=1000)
    worker.register_task(queue, lambda worker, job: len(look(job)))
    jobs = [client.send(queue, "x" * length) for length in (10, 100_000, 10)]
    with working(worker):
        assert client.outcome(jobs[0]).state == "complete"
        assert_too_large(client.outcome(jobs[1]), 100_002, 1000)
        assert client.outcome(jobs[2]).result == client.outcome(jobs[0]).result


# Packets as no job server sends them.


def packet(kind: int, body: bytes) -> bytes:
    return b"\0RES" + struct.pack("!II", kind, len(body)) + body


def assignment(number: int, queue: str, task: object) -> bytes:
    return packet(31, b"\0".join([b"H:x:%d" % number, queue.encode(), b"u", json.dumps(task).encode()]))


class RawServer:
    """Says to a worker what the test has it say, and hears what the worker sends."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LIMIT)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._connection: socket.socket | None = None
        self._heard = b""

    def accept(self) -> None:
        self._hang_up()
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(LIMIT)
        self._heard = b""

    def say(self, data: bytes) -> None:
        assert self._connection is not None
        self._connection.sendall(data)

    def hear(self, text: bytes) -> None:
        """Wait until the worker has sent this."""
        assert self._connection is not None
        while text not in self._heard:
            data = self._connection.recv(65536)
            assert data, f"the worker hung up after {self._heard!r}"
            self._heard += data

    def hears_the_end(self) -> bool:
        """Wait until the worker hangs up."""
        assert self._connection is not None
        try:
            while self._connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()


GRAB = b"\0REQ" + struct.pack("!II", 30, 0)


@pytest.fixture
def raw_server(run: Any) -> Iterator[RawServer]:
    """It hangs up before the worker ends, which would wait for that."""
    with closing(RawServer()) as server:
        yield server


@pytest.mark.parametrize("number", [10, 19, 6, 8, 99], ids=["NO_JOB", "ERROR", "NOOP", "JOB_CREATED", "no kind"])
@pytest.mark.parametrize("max_payload", [None, 1000])
def test_a_server_that_declares_4_gib_for_what_is_no_job_is_dropped_and_tried_again(
    raw_server, queue, run, caplog, number, max_payload
):
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        running = run(GearmanCMD([raw_server.address], max_payload=max_payload).register_task(queue, Measuring()))
        raw_server.accept()
        raw_server.hear(GRAB)
        raw_server.say(b"\0RES" + struct.pack("!II", number, 2**32 - 1))
        assert raw_server.hears_the_end()
        raw_server.accept()
        raw_server.hear(GRAB)
        raw_server.say(assignment(1, queue, "abc"))
        raw_server.hear(b"H:x:1\x003")
    assert running.error is None
    assert len(caplog.records) == 1
    assert "4294967295 bytes" in caplog.text


def test_an_error_of_a_server_is_heard_whatever_max_payload_is(raw_server, queue, run, caplog, few_errors):
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        run(GearmanCMD([raw_server.address], max_payload=60).register_task(queue, Measuring()))
        raw_server.accept()
        raw_server.hear(GRAB)
        raw_server.say(packet(19, b"QUEUE_FULL\0" + b"no room " * 20) + assignment(1, queue, "abc"))
        raw_server.hear(b"H:x:1\x003")
    assert "QUEUE_FULL: no room" in caplog.text


@pytest.fixture
def few_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server has sent an ERROR to this process yet: there is one count for all."""
    monkeypatch.setattr(gearmancmd.GearmanWorker, "_errors", Flood())


ERRORS = {
    "control characters": b"CODE\r\n\0\x1b[2J\x07text\r\nforged line",
    "NULs": b"\0\0\0\0",
    "nothing": b"\0",
    "not UTF-8": b"\xff\xfe\0\x80\x9b\xed\xa0\x80",
    "bidi marks and separators": "\u202eCODE\0\u2028\u2066text\x85".encode(),
    "every byte": bytes(range(256)),
    "formats": b"%s%n%(a)s\0{0}%d",
    "a megabyte": b"CODE\0" + b"x" * MIB,
}


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS.keys())
def test_an_error_of_any_bytes_is_one_line_and_the_job_behind_it_is_done(
    raw_server, queue, run, caplog, few_errors, body
):
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        running = run(GearmanCMD([raw_server.address]).register_task(queue, Measuring()))
        raw_server.accept()
        raw_server.hear(GRAB)
        raw_server.say(packet(19, body) + assignment(1, queue, "abc"))
        raw_server.hear(b"H:x:1\x003")
    assert running.error is None
    assert len(caplog.records) == 1
    assert_harmless(caplog.records)


def test_a_flood_of_errors_is_a_few_lines_and_a_count_and_the_jobs_behind_it_are_done(
    raw_server, queue, run, caplog, few_errors
):
    flood = b"".join(packet(19, body) for name, body in ERRORS.items() if name != "a megabyte")
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        running = run(GearmanCMD([raw_server.address], prefetch=2).register_task(queue, Measuring()))
        raw_server.accept()
        raw_server.hear(GRAB)
        for number in range(1, 4):
            raw_server.say(flood * 500)
            raw_server.say(assignment(number, queue, "abc"))
            raw_server.hear(b"H:x:%d\x003" % number)
    assert running.error is None
    assert_harmless(caplog.records)
    # more than 10,000 were sent; on a slow machine they may take longer than the seconds that are counted together
    assert len(caplog.records) < 30
    assert any("are only counted" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("number", [8, 11, 12, 20, 28, 31, 32, 41])
@pytest.mark.parametrize("fields", ["²", "-1", "9" * 5000, "٣", "", "1.5"])
def test_odd_fields_of_packets_that_no_worker_asks_for_harm_nothing(raw_server, queue, run, number, fields):
    running = run(GearmanCMD([raw_server.address]).register_task(queue, Measuring()))
    raw_server.accept()
    raw_server.hear(GRAB)
    raw_server.say(packet(number, b"\0".join([fields.encode()] * 8)))
    raw_server.say(assignment(1, queue, "abc"))
    try:
        raw_server.hear(b"H:x:1\x003")
    except (AssertionError, ConnectionResetError):  # hung up: the next connection finds it well
        raw_server.accept()
        raw_server.hear(GRAB)
        raw_server.say(assignment(2, queue, "abc"))
        raw_server.hear(b"H:x:2\x003")
    assert running.error is None


# Where memory is short.


class Scarce(gearmancmd.JSONDataEncoder):
    """There is no memory for "hungry", neither as a payload nor as a result."""

    @classmethod
    def encode(cls, encodable_object: Any) -> bytes:
        if encodable_object == "hungry":
            raise MemoryError
        return super().encode(encodable_object)

    @classmethod
    def decode(cls, decodable_string: Any) -> Any:
        if decodable_string == b'"hungry"':
            raise MemoryError("no room")
        return super().decode(decodable_string)


class ScarceWorker(gearmancmd.JSONGearmanWorker):
    data_encoder = Scarce


class ScarceCMD(GearmanCMD):
    worker = ScarceWorker


class Telling(GearmanCMDQueue):
    def dispatch(self, task: Any) -> Any:
        return "tell"

    def tell(self, gcmd: Any, task: Any) -> Any:
        if task == "ahead":
            gcmd.send_data("hungry")
        return task[::-1]


@pytest.mark.parametrize("prefetch", [1, 8])
def test_a_payload_or_result_without_memory_fails_its_job_only(server, client, queue, run, prefetch):
    jobs = [client.send(queue, task) for task in ("abc", "hungry", "yrgnuh", "ahead", "def")]
    running = run(ScarceCMD([server.address], prefetch=prefetch).register_task(queue, Telling()))
    outcomes = [client.outcome(job) for job in jobs]
    assert [outcome.state for outcome in outcomes] == ["complete", "failed", "failed", "failed", "complete"]
    assert outcomes[1].reason == "the payload cannot be decoded: MemoryError: no room"
    assert outcomes[2].reason.startswith("the result cannot be encoded: MemoryError")
    assert outcomes[3].reason.startswith("the result cannot be encoded: MemoryError")
    assert outcomes[4].result == "fed"
    assert running.error is None


def test_a_worker_by_itself_survives_them_too(server, client, queue):
    worker = ScarceWorker([server.address])
    worker.register_task(queue, lambda worker, job: job.data[::-1])
    jobs = [client.send(queue, task) for task in ("abc", "hungry", "yrgnuh", "def")]
    with working(worker):
        assert [client.outcome(job).state for job in jobs] == ["complete", "failed", "failed", "complete"]


def test_a_reason_without_memory_is_sent_bare(server, client, queue, run):
    running = run(ScarceCMD([server.address]).register_task(queue, Raising(lambda: CommandError("hungry"))))
    assert client.call(queue, "fail").said == b"hungry"
    assert client.call(queue, "fine").result == "fine"
    assert running.error is None
