"""``gearmancmd submit``: many tasks at once, for the background."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

import click

from ..client import JSONGearmanClient
from ..encoder import JSONDataEncoder
from ..errors import ServerUnavailable
from .failure import Misuse, NoServer
from .options import command, priority_option, servers_option
from .progress import SubmitMeter


@command("gearmancmd submit queue < tasks.jsonl", "gearmancmd submit queue tasks.jsonl --priority low")
@click.argument("queue")
@click.argument("file", type=click.File("rb"), default="-")
@servers_option
@priority_option
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds that a server has to accept a task."
)
def submit(queue: str, file: BinaryIO, servers: list[str], priority: str | None, timeout: float | None) -> None:
    """Submit many background jobs from a file.

    Each line of FILE, by default stdin, is the JSON of a task; empty lines are skipped. A line that is not JSON ends it
    with exit status 2, and the tasks before it are submitted. The file is never in memory as a whole.
    """
    tasks = TaskLines(file)
    with SubmitMeter(_size(file)) as meter:
        try:
            with JSONGearmanClient(servers, timeout=timeout) as client:
                for _ in client.submit_many(queue, tasks, priority=priority):
                    meter.add(tasks.position)
        except ServerUnavailable as error:
            raise NoServer(f"{error}; {_tasks(meter.tasks)} accepted before") from error
        except KeyboardInterrupt:
            click.echo(f"{_tasks(meter.tasks)} accepted before Ctrl+C", err=True)
            raise
    if tasks.error is not None:
        raise Misuse(f"{tasks.error}; {_tasks(meter.tasks)} before it submitted")
    click.echo(f"{_tasks(meter.tasks)} submitted, {meter.rate:,.0f}/s")


class TaskLines:
    """The tasks of a file, read as they are asked for. A bad line ends them, and is told in `error`: so all before it
    are still submitted, and counted, in the ordinary way.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        #: Bytes read so far.
        self.position = 0
        #: What is wrong with which line.
        self.error: str | None = None

    def __iter__(self) -> Iterator[Any]:
        for number, line in enumerate(self._file, 1):
            self.position += len(line)
            if not line.strip():
                continue
            try:
                task = JSONDataEncoder.decode(line)
            except ValueError as error:
                self.error = f"line {number} is not JSON: {error}"
                return
            yield task


def _size(file: BinaryIO) -> int | None:
    """The bytes that there are to read, where that is known."""
    details = os.fstat(file.fileno())
    return details.st_size if stat.S_ISREG(details.st_mode) else None


def _tasks(number: int) -> str:
    return f"{number:,} task{'' if number == 1 else 's'}"
