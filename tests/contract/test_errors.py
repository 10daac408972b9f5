"""The error table: what a client that is not ours sees, and what becomes of the worker."""

from __future__ import annotations

import argparse
import asyncio
import builtins
import logging
import shutil
import subprocess
import sys
from typing import Any

import gearman
import pytest

import gearmancmd
from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue
from tests.support.gear_client import Caller
from tests.support.gearmand import Gearmand
from tests.support.waiting import wait_for


class Queue(GearmanCMDQueue):
    attribute = 5

    class Nested:
        pass

    @property
    def prop(self) -> str:
        raise AssertionError("a property is no command")

    def reverse(self, gcmd: GearmanCMD, task: Any) -> Any:
        return task["message"][::-1]

    def unsendable(self, gcmd: GearmanCMD, task: Any) -> Any:
        return object()

    def nan(self, gcmd: GearmanCMD, task: Any) -> Any:
        return float("nan")

    def refuse(self, gcmd: GearmanCMD, task: Any) -> Any:
        raise CommandError("out of paper")

    def fail(self, gcmd: GearmanCMD, task: Any) -> Any:
        raise ValueError("broken\ncompletely")

    def _secret(self, gcmd: GearmanCMD, task: Any) -> Any:
        return "secret"


class Dispatching(Queue):
    def dispatch(self, task: Any) -> Any:
        return task["command"] if isinstance(task, dict) and "command" in task else "default"


BAD_PAYLOADS = {
    "not JSON": b"{",
    "not UTF-8": b'"\xff\xfe"',
    "empty": b"",
    "NULs": b"\0\0\0",
    "a list": b"[1]",
    "a number": b"5",
    "null": b"null",
    "a number for a command": b'{"command": 5}',
    "a list for a command": b'{"command": ["x"]}',
    "no command": b"{}",
    "an unknown command": b'{"command": "nothing"}',
    "a dunder": b'{"command": "__class__"}',
    "the constructor": b'{"command": "__init__"}',
    "dispatch": b'{"command": "dispatch"}',
    "default": b'{"command": "default"}',
    "a private method": b'{"command": "_secret"}',
    "an attribute": b'{"command": "attribute"}',
    "a nested class": b'{"command": "Nested"}',
    "a property": b'{"command": "prop"}',
    "100,000 brackets": b"[" * 100_000,
    "100,000 nested objects": b'{"a":' * 100_000,
    "a 10 MB command": b'{"command": "' + b"x" * 10_000_000 + b'"}',
    "a 10 MB string": b'"' + b"x" * 10_000_000 + b'"',
    "a huge number": b'{"command": 1e999999999}',
    "many digits": b"9" * 100_000,
    "lone surrogate": b'{"command": "\\ud800"}',
    "a result that JSON cannot hold": b'{"command": "unsendable"}',
    "a result that is no number": b'{"command": "nan"}',
}


@pytest.mark.parametrize("payload", BAD_PAYLOADS.values(), ids=BAD_PAYLOADS.keys())
@pytest.mark.parametrize("target", [Queue, Dispatching])
def test_no_payload_wedges_the_worker(gearmand, gearmand_client, queue, run, caplog, payload, target):
    running = run(GearmanCMD([gearmand.address]).register_task(queue, target()))
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        reason = gearmand_client.call(queue, payload).reason
        line = wait_for(lambda: next((r.getMessage() for r in caplog.records if queue in r.getMessage()), ""), "a line")
    assert reason and "\n" not in reason and len(reason) < 1200
    assert line.endswith(reason)
    assert gearmand_client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert running.error is None


@pytest.mark.parametrize("name", ["not JSON", "an unknown command", "a result that JSON cannot hold"])
def test_bad_payloads_fail_on_every_server(server, client, queue, run, name):
    run(GearmanCMD([server.address]).register_task(queue, Queue()))
    assert client.call(queue, BAD_PAYLOADS[name]).state == "failed"
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"


def test_the_reason_tells_what_was_wrong(server, client, queue, run):
    run(GearmanCMD([server.address]).register_task(queue, Queue()))
    assert "cannot be decoded" in client.call(queue, b"{").reason
    assert "cannot be encoded" in client.call(queue, {"command": "unsendable"}).reason
    assert client.call(queue, {"command": "nothing"}).reason == f"queue {queue!r} has no command 'nothing'"
    private = client.call(queue, {"command": "_secret"}).reason
    assert private == f"queue {queue!r} has no command '_secret': a name with a leading underscore is private"
    assert client.call(queue, {}).reason == f"the task names no command of queue {queue!r}"


def test_a_command_error_fails_the_job_with_its_text(server, client, queue, run):
    running = run(GearmanCMD([server.address]).register_task(queue, Queue()))
    assert client.call(queue, {"command": "refuse"}).reason == "out of paper"
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert running.error is None


def test_any_other_exception_fails_the_job_and_leaves_run(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    running = run(gcmd)
    assert client.call(queue, {"command": "fail"}).reason == "ValueError: broken completely"
    assert repr(running.wait()) == "ValueError('broken\\ncompletely')"
    gcmd.stop()
    run(gcmd)
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"


def test_an_exception_that_cannot_say_what_it_is_fails_the_job_by_its_type(server, client, queue, run):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    class Failing(GearmanCMDQueue):
        def fail(self, gcmd, task):
            raise Mute

    running = run(GearmanCMD([server.address]).register_task(queue, Failing()))
    assert client.call(queue, {"command": "fail"}).reason == "Mute"
    assert isinstance(running.wait(), Mute)


def test_an_exception_handlers_value_is_the_result(server, client, queue, run):
    seen = []

    def handler(error):
        seen.append(repr(error))
        return {"error": str(error)}

    running = run(GearmanCMD([server.address], exception_handler=handler).register_task(queue, Queue()))
    assert client.call(queue, {"command": "fail"}).result == {"error": "broken\ncompletely"}
    assert client.call(queue, {"command": "refuse"}).reason == "out of paper"
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert seen == ["ValueError('broken\\ncompletely')"]
    assert running.error is None


class Unlucky(Queue):
    """Raises what is none of Exception's."""

    def cancelled(self, gcmd, task):
        raise asyncio.CancelledError("cancelled")

    def closed(self, gcmd, task):
        raise GeneratorExit("closed")

    def group(self, gcmd, task):
        raise builtins.ExceptionGroup("two", [ValueError("one"), builtins.ExceptionGroup("more", [OSError("two")])])

    def base_group(self, gcmd, task):
        raise builtins.BaseExceptionGroup("two", [ValueError("one"), GeneratorExit()])

    def interrupted(self, gcmd, task):
        raise builtins.BaseExceptionGroup("two", [ValueError("one"), KeyboardInterrupt()])

    def left(self, gcmd, task):
        raise builtins.BaseExceptionGroup("two", [builtins.BaseExceptionGroup("more", [SystemExit(3)])])


groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")


@pytest.mark.parametrize(
    "name, kind",
    [
        ("cancelled", "CancelledError"),
        ("closed", "GeneratorExit"),
        pytest.param("group", "ExceptionGroup", marks=groups),
        pytest.param("base_group", "BaseExceptionGroup", marks=groups),
    ],
)
def test_an_exception_handler_gets_exceptions_of_every_kind(server, client, queue, run, name, kind):
    gcmd = GearmanCMD([server.address], exception_handler=lambda error: type(error).__name__)
    running = run(gcmd.register_task(queue, Unlucky()))
    assert client.call(queue, {"command": name}).result == kind
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert running.error is None


@groups
@pytest.mark.parametrize("name", ["interrupted", "left"])
def test_a_group_that_holds_ctrl_c_or_an_exit_leaves_run_and_no_handler_is_asked(gearmand, queue, run, name):
    asked = []
    gcmd = GearmanCMD([gearmand.address], exception_handler=asked.append).register_task(queue, Unlucky())
    running = run(gcmd)
    with Caller(gearmand) as client:
        job = client.send(queue, {"command": name})
        assert type(running.wait()).__name__ == "BaseExceptionGroup"
        assert not asked and not job.complete


UNKNOWN = {
    "an unknown command": {"command": "nothing"},
    "no command": {},
    "a command that is no text": {"command": 5},
    "an empty command": {"command": ""},
    "no object": [1],
    "a private name": {"command": "_secret"},
}


@pytest.mark.parametrize("task", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_exception_handler_is_asked_for_unknown_commands(server, client, queue, run, task):
    seen = []

    def handler(error):
        seen.append(error)
        return "unknown"

    running = run(GearmanCMD([server.address], exception_handler=handler).register_task(queue, Queue()))
    assert client.call(queue, task).result == "unknown"
    assert isinstance(seen[0], NotImplementedError) and isinstance(seen[0], CommandError)
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert running.error is None


def test_an_exception_handler_is_asked_when_a_queue_falls_back_on_the_default_of_its_base(server, client, queue, run):
    class Falling(Queue):
        def default(self, gcmd, task):
            return super().default(gcmd, task)

    gcmd = GearmanCMD([server.address], exception_handler=lambda error: type(error).__name__)
    run(gcmd.register_task(queue, Falling()))
    assert client.call(queue, {"command": "nothing"}).result == "UnknownCommand"


def test_an_exception_handler_is_asked_for_what_dispatch_raises(server, client, queue, run):
    class Broken(Queue):
        def dispatch(self, task):
            return task["do"].lower()

    class Astray(GearmanCMD):
        def dispatch(self, name, task):
            return ("nowhere", "reverse") if name == f"{queue}-b" else super().dispatch(name, task)

    gcmd = Astray([server.address], exception_handler=lambda error: f"{type(error).__name__}: {error}")
    running = run(gcmd.register_task(queue, Broken()).register_task(f"{queue}-b", Queue()))
    assert client.call(queue, {}).result == "KeyError: 'do'"
    assert client.call(queue, {"do": 5}).result == "AttributeError: 'int' object has no attribute 'lower'"
    assert client.call(f"{queue}-b", {}).result == "UnknownCommand: no queue 'nowhere' is registered here"
    assert running.error is None


@pytest.mark.parametrize("name", ["not JSON", "not UTF-8", "a result that JSON cannot hold"])
def test_an_exception_handler_is_not_asked_for_what_the_wire_cannot_hold(server, client, queue, run, name):
    asked = []
    gcmd = GearmanCMD([server.address], exception_handler=asked.append).register_task(queue, Queue())
    run(gcmd)
    assert client.call(queue, BAD_PAYLOADS[name]).state == "failed"
    assert not asked


def test_an_exception_handler_may_refuse_the_job_too(server, client, queue, run):
    def handler(error):
        raise CommandError(f"refused: {error}")

    running = run(GearmanCMD([server.address], exception_handler=handler).register_task(queue, Queue()))
    assert client.call(queue, {"command": "fail"}).reason == "refused: broken\ncompletely"
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert running.error is None


def test_what_an_exception_handler_raises_leaves_run(server, client, queue, run):
    def handler(error):
        raise KeyError("handler")

    running = run(GearmanCMD([server.address], exception_handler=handler).register_task(queue, Queue()))
    assert client.call(queue, {"command": "fail"}).reason == "KeyError: 'handler'"
    assert repr(running.wait()) == "KeyError('handler')"


def test_a_handlers_value_that_json_cannot_hold_fails_the_job(server, client, queue, run):
    running = run(GearmanCMD([server.address], exception_handler=lambda error: error).register_task(queue, Queue()))
    assert "cannot be encoded" in client.call(queue, {"command": "fail"}).reason
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert running.error is None


def test_a_dispatch_to_a_queue_that_is_not_there_fails_the_job(server, client, queue, run):
    class Astray(GearmanCMD):
        def dispatch(self, queue, task):
            return (task["to"], "reverse")

    running = run(Astray([server.address]).register_task(queue, Queue()))
    assert client.call(queue, {"to": "nowhere"}).reason == "no queue 'nowhere' is registered here"
    assert client.call(queue, {"to": ["x"]}).state == "failed"
    assert client.call(queue, {"to": queue, "message": "abc"}).result == "cba"
    assert running.error is None


@pytest.mark.parametrize("queue_class", [Queue, Unlucky])
def test_a_private_name_cannot_be_dispatched_to_and_the_reason_says_so(server, client, queue, run, queue_class):
    class Inside(GearmanCMD):
        def dispatch(self, name, task):
            return "_secret"

    run(Inside([server.address]).register_task(queue, queue_class()))
    assert client.call(queue, {}).reason.endswith(
        "has no command '_secret': a name with a leading underscore is private"
    )


def test_a_job_whose_command_exits_ends_each_worker_until_gearmand_has_counted_its_attempts(gearmand, queue, run):
    class Parsing(GearmanCMDQueue):
        def parse(self, gcmd, task):
            argparse.ArgumentParser().parse_args(task["arguments"])

    with Gearmand("--job-retries", "2") as server, Caller(server) as client:
        gcmd = GearmanCMD([server.address]).register_task(queue, Parsing())
        job = client.send(queue, {"command": "parse", "arguments": ["--unknown"]})
        for _ in range(2):
            assert not job.complete
            assert isinstance(run(gcmd).wait(), SystemExit)
        assert client.outcome(job).state == "failed"


def test_an_encoder_that_cannot_hold_the_reason_sends_it_bare(server, client, queue, run):
    class Numbers(gearman.DataEncoder):
        @classmethod
        def encode(cls, obj):
            return str(obj + 0).encode()

        @classmethod
        def decode(cls, data):
            return {"command": data.decode()}

    class NumberWorker(gearman.GearmanWorker):
        data_encoder = Numbers

    class NumberCMD(GearmanCMD):
        worker = NumberWorker

    run(NumberCMD([server.address]).register_task(queue, Queue()))
    assert client.call(queue, b"refuse").said == b"out of paper"


def test_an_encoder_that_returns_no_bytes_fails_the_job(server, client, queue, run):
    class Odd(gearmancmd.JSONDataEncoder):
        @classmethod
        def encode(cls, obj):
            return 5

    class OddWorker(gearmancmd.JSONGearmanWorker):
        data_encoder = Odd

    class OddCMD(GearmanCMD):
        worker = OddWorker

    running = run(OddCMD([server.address]).register_task(queue, Queue()))
    outcome = client.call(queue, {"command": "reverse", "message": "abc"})
    assert outcome.said == b"the result cannot be encoded: the encoder returned int, not bytes"
    assert running.error is None


@pytest.fixture(scope="module")
def gearmand_client(gearmand):
    with Caller(gearmand) as caller:
        yield caller


needs_tool = pytest.mark.skipif(shutil.which("gearman") is None, reason="Debian's gearman-tools are not installed")


def gearman_tool(server: Gearmand, queue: str, payload: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["gearman", "-h", server.host, "-p", str(server.port), "-f", queue, *options, payload]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@needs_tool
def test_the_gearman_tool_reads_the_result(gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Queue()))
    done = gearman_tool(gearmand, queue, '{"command": "reverse", "message": "Hello"}')
    assert (done.returncode, done.stdout) == (0, '"olleH"')


@needs_tool
def test_a_worker_may_answer_failures_with_work_fail_for_clients_that_take_no_exceptions(gearmand, queue, run):
    class Plain(gearmancmd.JSONGearmanWorker):
        def on_job_exception(self, current_job, exc_info):
            self.send_job_failure(current_job)
            return False

    class PlainCMD(GearmanCMD):
        worker = Plain

    run(PlainCMD([gearmand.address]).register_task(queue, Queue()))
    failed = gearman_tool(gearmand, queue, '{"command": "refuse"}')
    assert failed.returncode == 1 and "fail" in (failed.stdout + failed.stderr).lower()
    assert gearman_tool(gearmand, queue, '{"command": "reverse", "message": "abc"}').stdout == '"cba"'
