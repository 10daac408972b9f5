"""With `expose_errors=False` clients are told nothing of the inside, whatever goes wrong; the log has it all."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

import pytest

from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue, JSONDataEncoder, JSONGearmanWorker
from gearmancmd.errors import JobEnded, UnexpectedError

#: What no client is to be told.
INSIDE = "/srv/inside/app.py"


def given_too_much(function: Any) -> Any:
    """A decorator that takes (gcmd, task), and hands on something else."""

    @functools.wraps(function)
    def call(self: Any, gcmd: Any, task: Any) -> Any:
        return function(self, **{INSIDE: task})

    return call


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd: Any, task: Any) -> Any:
        return task["message"][::-1]

    def open(self, gcmd: Any, task: Any) -> Any:
        open(INSIDE).close()

    def cancel(self, gcmd: Any, task: Any) -> Any:
        raise asyncio.CancelledError(INSIDE)

    def chain(self, gcmd: Any, task: Any) -> Any:
        try:
            raise KeyError(INSIDE)
        except KeyError as error:
            raise type(INSIDE, (Exception,), {})(INSIDE) from error

    async def wait(self, gcmd: Any, task: Any) -> Any:
        await asyncio.sleep(0)
        raise RuntimeError(INSIDE)

    def parts(self, gcmd: Any, task: Any) -> Any:
        yield 1
        raise RuntimeError(INSIDE)

    def late(self, gcmd: Any, task: Any) -> Any:
        raise JobEnded(INSIDE)

    def rethrow(self, gcmd: Any, task: Any) -> Any:
        raise UnexpectedError(INSIDE)

    def refuse(self, gcmd: Any, task: Any) -> Any:
        raise CommandError("out of paper") from OSError(INSIDE)

    def mute(self, gcmd: Any, task: Any) -> Any:
        raise type(INSIDE, (CommandError,), {})

    def unsendable(self, gcmd: Any, task: Any) -> Any:
        return {INSIDE: type(INSIDE, (), {})()}

    @given_too_much
    def misfit(self, gcmd: Any, task: Any, password: Any) -> Any:
        return task


class Encoder(JSONDataEncoder):
    @classmethod
    def decode(cls, decodable_string: bytes | str) -> Any:
        if decodable_string == b"rubbish":
            raise ModuleNotFoundError(INSIDE)
        return super().decode(decodable_string)


class Worker(JSONGearmanWorker):
    data_encoder = Encoder


INTERNAL = "internal error"
TOLD = {
    "open": INTERNAL,
    "cancel": INTERNAL,
    "chain": INTERNAL,
    "wait": INTERNAL,
    "parts": INTERNAL,
    "late": INTERNAL,
    "rethrow": INTERNAL,
    "mute": INTERNAL,
    "refuse": "out of paper",
    "unsendable": "the result cannot be encoded",
    "misfit": "method 'misfit' does not take (gcmd, task)",
    b"rubbish": "the payload cannot be decoded",
    b"{": "the payload cannot be decoded",
}


@pytest.mark.parametrize("failures", ["warning", "exception"])
@pytest.mark.parametrize("command", TOLD)
def test_a_client_is_told_nothing_of_the_inside_and_the_log_all(server, client, queue, run, caplog, command, failures):
    gcmd = GearmanCMD([server.address], failures=failures, expose_errors=False)
    gcmd.worker = Worker
    with caplog.at_level(logging.INFO, "gearmancmd"):
        running = run(gcmd.register_task(queue, Queue()))
        outcome = client.call(queue, command if isinstance(command, bytes) else {"command": command})
        assert outcome.reason == TOLD[command]
        # either way the job's line is in the log then, which comes behind its answer
        if TOLD[command] == INTERNAL and command not in {"late", "rethrow", "mute"}:
            assert INSIDE in str(running.wait())
        else:
            assert client.call(queue, {"command": "reverse", "message": "Hello"}).result == "olleH"
    if command not in {b"{", "refuse"}:
        assert INSIDE in caplog.text


def test_what_a_client_can_mend_it_is_told(server, client, queue, run):
    run(GearmanCMD([server.address], max_payload=1000, expose_errors=False).register_task(queue, Queue()))
    assert client.call(queue, {"command": "missing"}).reason == f"queue '{queue}' has no command 'missing'"
    assert client.call(queue, []).reason == f"the task names no command of queue '{queue}'"
    assert "more than max_payload, which is 1000" in client.call(queue, "x" * 2000).reason


def test_a_worker_class_may_hide_errors_too(server, client, queue, run):
    class Hiding(JSONGearmanWorker):
        expose_errors = False

    gcmd = GearmanCMD([server.address], exception_handler=lambda error: {}[INSIDE])
    gcmd.worker = Hiding
    run(gcmd.register_task(queue, Queue()))
    assert client.call(queue, {"command": "open"}).reason == INTERNAL


def test_expose_errors_is_true_or_false():
    with pytest.raises(TypeError, match="expose_errors must be True or False, not 0"):
        GearmanCMD(["localhost"], expose_errors=0)
