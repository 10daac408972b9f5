"""The Python blocks of the README and the docs, and the workers among them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.gear_client import Caller, Outcome
from tests.support.workers import ExampleProcess


class Call(NamedTuple):
    """A task for a block's queue, and what the client is to see."""

    queue: str
    task: Any
    state: str
    data: bytes


def blocks_of(page: Path) -> list[str]:
    """Its Python blocks, in order."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def answer_of(worker: str, server: Any, call: Call, directory: Path) -> tuple[Outcome, list[str]]:
    """What a worker, run as a script, answers to a task, and what it has printed."""
    script = directory / "worker.py"
    script.write_text(worker, "utf-8")
    process = ExampleProcess(str(script))
    try:
        with Caller(server) as client:
            outcome = client.call(call.queue, call.task)
    finally:
        process.interrupt()
        process.end()
    return outcome, process.lines
