"""``gearmancmd status``: the queues, once or again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.console import Group

from .._wire.address import Address
from ..admin import Admin, QueueStatus
from .answers import SHORT_TIMEOUT_SECONDS, Answers, ask
from .options import command, interval_option, servers_option
from .output import note, say
from .page import Size, page
from .table import Column, lay_out, stdout_width
from .terminal import as_json, live, shown

_FIGURES = (
    Column("waiting", figures=True, brief="wait"),
    Column("running", figures=True, brief="run"),
    Column("workers", figures=True, brief="work"),
)


@command("gearmancmd status", "gearmancmd status --watch", "gearmancmd status --json -s one:4730 -s two:4730")
@servers_option
@click.option("--json", "as_lines", is_flag=True, help="Print one JSON array of objects, and with --watch one a look.")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl+C.")
@interval_option
def status(servers: list[Address], as_lines: bool, watch: bool, interval: float) -> int:
    """Show the queues: jobs and workers.

    On a terminal, names that are too long for it are shortened in their middle; in a file, a pipe or JSON they are not.
    The exit status is 4 when a server does not answer; the other ones are shown.
    """
    if watch:
        return _watch(servers, as_lines, interval)
    return _print(ask(servers, Admin.status), as_lines, len(servers) > 1)


def _print(answers: Answers[QueueStatus], as_lines: bool, several: bool) -> int:
    if as_lines:
        say(as_json([_record(row) for row in answers.rows]))
    elif answers.rows:
        say("\n".join(_table(_sorted(answers), several, stdout_width())))
    elif not answers.errors:
        note("no queues")
    return answers.report()


def _watch(servers: list[Address], as_lines: bool, interval: float) -> int:
    several = len(servers) > 1
    try:
        if as_lines or not sys.stdout.isatty():
            while True:
                _print(ask(servers, Admin.status), as_lines, several)
                time.sleep(interval)
        with live() as picture:
            while True:
                answers = ask(servers, Admin.status, SHORT_TIMEOUT_SECONDS)
                picture.update(_picture(answers, several, *picture.console.size), refresh=True)
                time.sleep(interval)
    except KeyboardInterrupt:  # the way to leave
        return 0


def _picture(answers: Answers[QueueStatus], several: bool, width: int, height: int) -> Group:
    def table(rows: Sequence[QueueStatus]) -> list[str]:
        return _table(rows, several, width)

    size = Size(width, height - 1)  # the cursor stands in the last line
    return page(_sorted(answers), table, size, errors=list(map(str, answers.errors)))


def _sorted(answers: Answers[QueueStatus]) -> list[QueueStatus]:
    return sorted(answers.rows, key=lambda row: (row.queue, row.server))


def _table(rows: Sequence[QueueStatus], several: bool, width: int | None) -> list[str]:
    """The rows by queue; with several servers, each row says which one it is of."""
    columns = [Column("queue"), *([Column("server")] if several else []), *_FIGURES]
    return lay_out(columns, [_cells(row, several) for row in rows], width)


def _cells(row: QueueStatus, several: bool) -> list[str]:
    names = [shown(row.queue), *([row.server] if several else [])]
    return [*names, str(row.waiting), str(row.running), str(row.workers)]


def _record(row: QueueStatus) -> dict[str, object]:
    return {**asdict(row), "waiting": row.waiting}
