"""Tasks of any kind through a real gearmand: each is answered, the worker lives, and only commands are reached."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue, JobFailed, JSONDataEncoder
from tests.support.fuzzing import TIMES, corpus, tell
from tests.support.plain import PlainClient

#: Tasks for each of the two queues.
COUNT = 1000 * TIMES

#: Whatever was called though it is not a command.
reached: list[str] = []


def trap(name: str) -> Any:
    def spring(*arguments: Any, **options: Any) -> str:
        reached.append(name)
        return f"{name} was reached"

    return spring


class Traps(dict, GearmanCMDQueue):  # type: ignore[type-arg]
    """Two commands, `echo` and one with an accent, among all that a queue may have beside them."""

    _private, __mangled, __call__, __missing__ = map(trap, ["_private", "__mangled", "()", "[]"])

    def __init__(self) -> None:
        super().__init__()
        self.on_the_instance = trap("on_the_instance")

    def __getattr__(self, name: str) -> Any:
        return trap(f"__getattr__({name!r})")

    def echo(self, gcmd: Any, task: Any) -> Any:
        return task

    def écho(self, gcmd: Any, task: Any) -> Any:
        raise CommandError("an echo with an accent")

    def alone(self) -> None:
        reached.append("alone")

    def three(self, gcmd: Any, task: Any, more: Any) -> None:
        reached.append("three")

    @property
    def secret(self) -> Any:
        reached.append("secret")
        return trap("what secret returns")

    class Nested:
        def __init__(self, gcmd: Any, task: Any) -> None:
            reached.append("Nested")


class Choosing(Traps):
    """Its dispatch returns the task as it is: what JSON can hold beside names."""

    def dispatch(self, task: Any) -> Any:
        return task


# What names may look like.

NAMES = sorted({*dir(Traps()), *dir(Choosing), *dir(GearmanCMD), "_Traps__mangled", "default", "dispatch"})

#: Letters of other scripts, and such that are the same letter to NFKC, by which Python reads the names in a program.
CYRILLIC = str.maketrans("aceiopsxy", "\u0430\u0441\u0435\u0456\u043e\u0440\u0455\u0445\u0443")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
MATHEMATICAL = {ord("a") + number: 0x1D41A + number for number in range(26)}

LOOK_ALIKES: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.title,
    lambda name: name.translate(CYRILLIC),
    lambda name: name.translate(FULL_WIDTH),
    lambda name: name.translate(MATHEMATICAL),
    lambda name: unicodedata.normalize("NFD", name),
    lambda name: name + "\0",
    lambda name: "\0" + name,
    lambda name: f"{name}\0echo",
    lambda name: f"echo\0{name}",
    lambda name: f" {name}",
    lambda name: f"{name}\n",
    lambda name: f"{name}\u200b",
    lambda name: f"_{name}",
    lambda name: f"__{name}__",
    lambda name: f"_Traps__{name}",
    lambda name: f"echo.{name}",
    lambda name: f"{name}.__globals__",
    lambda name: f"{name}()",
    lambda name: f"{{0.{name}}}",
    lambda name: name[:-1],
    lambda name: name * 1000,
]


def a_name(chance: random.Random) -> str:
    name = chance.choice(["echo", "\u00e9cho", chance.choice(NAMES)])
    return name if chance.random() < 0.3 else chance.choice(LOOK_ALIKES)(name)


def a_letter(chance: random.Random) -> str:
    return chr(chance.choice([chance.randrange(128), chance.randrange(0x110000)]))


def a_value(chance: random.Random, depth: int = 0) -> Any:
    """Whatever JSON can hold."""
    kind = chance.randrange(9 if depth < 4 else 6)
    if kind < 2:
        return a_name(chance)
    if kind == 2:
        return "".join(a_letter(chance) for _ in range(chance.randrange(8)))
    if kind == 3:
        return chance.choice([0, 1, -1, True, False, None, 2**63, -(2**200), 1e308, 0.1, 5e-324])
    if kind < 6:
        return chance.choice([[], {}, "", "command", "__proto__", "%s%n", "$(id)", "../../etc/passwd", "{0.__class__}"])
    if kind < 8:
        keys = [chance.choice(["command", "message", a_name(chance)]) for _ in range(chance.randrange(4))]
        return {key: a_value(chance, depth + 1) for key in keys}
    return [a_value(chance, depth + 1) for _ in range(chance.randrange(4))]


def damaged(payload: bytes, chance: random.Random) -> bytes:
    """A payload with some bytes changed, gone, or there twice."""
    data = bytearray(payload)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.randrange(4))
        data[at:end] = chance.choice([b"", bytes([chance.randrange(256)]), data[at:end] * 2, b"\0", b'"', b"{", b"\\u"])
    return bytes(data)


def a_payload(chance: random.Random) -> bytes:
    task = chance.choice([{"command": a_name(chance)}, {"command": a_value(chance)}, a_value(chance), a_name(chance)])
    payload = json.dumps(task, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    kind = chance.randrange(100)
    if kind == 0:
        return b"[" * 100_000 + b"]" * 100_000  # deeper than Python can follow
    return damaged(payload, chance) if kind < 40 else payload


def every_name() -> Iterator[bytes]:
    """Each name as a command, bare and as it may be taken for."""
    for name in NAMES:
        for alike in LOOK_ALIKES[:14]:
            yield json.dumps({"command": alike(name)}).encode()
        yield json.dumps(name).encode()


# What is to become of them.


def expected(payload: bytes, chooses: bool) -> Any:
    """The result, or what the reason of the failure begins with."""
    try:
        task = JSONDataEncoder.decode(payload)
    except (ValueError, RecursionError):
        return JobFailed, "the payload cannot be decoded"
    if chooses and task is None:
        return "result", None
    name = task if chooses else task.get("command") if isinstance(task, dict) else None
    if name == "\u00e9cho":
        return JobFailed, "an echo with an accent"
    if name != "echo":
        return JobFailed, ("the task names no command", "queue ")
    try:
        return "result", JSONDataEncoder.decode(JSONDataEncoder.encode(task))
    except ValueError:
        return JobFailed, "the result cannot be encoded"


def assert_as_expected(answer: Any, expected: tuple[Any, Any], payload: bytes) -> None:
    kind, value = expected
    if kind == "result":
        assert answer == value, payload
    else:
        assert isinstance(answer, JobFailed) and answer.reason.startswith(value), (payload, answer)
    tell("tasks", "a result" if kind == "result" else value if isinstance(value, str) else "no command")


@pytest.mark.parametrize("queue_class", [Traps, Choosing])
def test_each_task_is_answered_and_only_commands_are_reached(gearmand, queue, run, queue_class):
    seed = 0 if TIMES == 1 else random.randrange(2**32)
    chance = random.Random(seed)
    payloads = [kept.encode("latin-1") for kept in corpus("tasks.jsonl")]
    payloads += [*every_name(), *(a_payload(chance) for _ in range(COUNT))]
    running = run(GearmanCMD([gearmand.address], prefetch=16).register_task(queue, queue_class()))
    reached.clear()  # by register_task(), which looks at what there is
    with PlainClient([gearmand.address], timeout=120) as client:
        for payload, answer in zip(payloads, client.map(queue, payloads, return_exceptions=True), strict=True):
            assert_as_expected(answer, expected(payload, queue_class is Choosing), payload)
        assert client.call(queue, b'"echo"' if queue_class is Choosing else b'{"command":"echo"}')
    assert running.error is None and reached == [], seed
