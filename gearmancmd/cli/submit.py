"""``gearmancmd submit``: many tasks at once, for the background."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

import click

from .._wire.address import Address
from ..client import JSONGearmanClient
from .failure import Failure, Misuse, failure
from .options import command, priority_option, servers_option
from .output import note, say
from .progress import SubmitMeter
from .sigterm import Terminated
from .tasks import TooDeep, read_task


@command("gearmancmd submit queue < tasks.jsonl", "gearmancmd submit queue tasks.jsonl --priority low")
@click.argument("queue")
@click.argument("file", type=click.File("rb"), default="-")
@servers_option
@priority_option
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds that a server has to accept a task."
)
def submit(queue: str, file: BinaryIO, servers: list[Address], priority: str | None, timeout: float | None) -> None:
    """Submit many background jobs from a file.

    Each line of FILE, by default stdin, is the JSON of a task; empty lines are skipped. A line that is not JSON ends it
    with exit status 2, and the tasks before it are submitted. The file is never in memory as a whole. However it ends,
    it says how many tasks a server has accepted.
    """
    tasks = TaskLines(file)
    meter = SubmitMeter(_size(file))
    try:
        with meter:
            _submit(JSONGearmanClient(servers, timeout=timeout), queue, tasks, priority, meter)
    except KeyboardInterrupt:
        note(f"{_tasks(meter.tasks)} accepted before Ctrl+C")
        raise
    except Terminated:
        note(f"{_tasks(meter.tasks)} accepted before SIGTERM")
        raise
    except Exception as error:
        raise _failure(error, f"{_tasks(meter.tasks)} accepted before") from error
    if tasks.error is not None:
        raise Misuse(f"{tasks.error}; {_tasks(meter.tasks)} before it submitted")
    submitted = f"{_tasks(meter.tasks)} submitted"
    try:
        say(f"{submitted}, {meter.rate:,.0f}/s")
    except Failure as error:
        raise _failure(error, submitted) from error


def _submit(client: JSONGearmanClient, queue: str, tasks: TaskLines, priority: str | None, meter: SubmitMeter) -> None:
    with client:
        for _ in client.submit_many(queue, tasks, priority=priority):
            meter.add(tasks.position)


def _failure(error: Exception, accepted: str) -> Failure:
    """The failure that an exception is, with the number of tasks that were accepted."""
    ended = error if isinstance(error, Failure) else failure(error)
    return type(ended)(f"{ended.message}; {accepted}")


class TaskLines:
    """The tasks of a file, read as they are asked for. A bad line ends them, and is told in `error`: so all before it
    are still submitted, and counted, in the ordinary way.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        #: Bytes read so far.
        self.position = 0
        #: The lines read so far.
        self.number = 0
        #: What is wrong with which line.
        self.error: str | None = None

    def __iter__(self) -> Iterator[Any]:
        for line in self._file:
            self.number += 1
            self.position += len(line)
            if not line.strip():
                continue
            try:
                task = read_task(line)
            except TooDeep as error:
                self.error = f"line {self.number} cannot be sent: {error}"
                return
            except ValueError as error:
                self.error = f"line {self.number} is not JSON: {error}"
                return
            yield task


def _size(file: BinaryIO) -> int | None:
    """The bytes that there are to read, where that is known."""
    details = os.fstat(file.fileno())
    return details.st_size if stat.S_ISREG(details.st_mode) else None


def _tasks(number: int) -> str:
    return f"{number:,} task{'' if number == 1 else 's'}"
