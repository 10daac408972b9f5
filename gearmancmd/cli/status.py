"""``gearmancmd status``: the queues, once or again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..admin import Admin, QueueStatus
from .looking import SHORT_TIMEOUT, Look, look
from .options import command, interval_option, servers_option
from .terminal import as_json, console, live, shown, table


@command("gearmancmd status", "gearmancmd status --watch", "gearmancmd status --json -s one:4730 -s two:4730")
@servers_option
@click.option("--json", "as_lines", is_flag=True, help="Print one JSON array of objects, and with --watch one a look.")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl+C.")
@interval_option
def status(servers: list[str], as_lines: bool, watch: bool, interval: float) -> int:
    """Show the queues: jobs and workers.

    The exit status is 4 when a server does not answer; the other ones are shown.
    """
    if watch:
        return _watch(servers, as_lines, interval)
    return _print(look(servers, Admin.status), as_lines, len(servers) > 1)


def _print(seen: Look[QueueStatus], as_lines: bool, several: bool) -> int:
    if as_lines:
        click.echo(as_json([_record(row) for row in seen.rows]))
    elif seen.rows:
        console(sys.stdout).print(_table(seen.rows, several))
    elif not seen.errors:
        click.echo("no queues", err=True)
    return seen.report()


def _watch(servers: list[str], as_lines: bool, interval: float) -> int:
    try:
        if as_lines or not sys.stdout.isatty():
            while True:
                _print(look(servers, Admin.status), as_lines, len(servers) > 1)
                time.sleep(interval)
        with live() as picture:
            while True:
                picture.update(_picture(look(servers, Admin.status, SHORT_TIMEOUT), len(servers) > 1), refresh=True)
                time.sleep(interval)
    except KeyboardInterrupt:  # the way to leave
        return 0


def _picture(seen: Look[QueueStatus], several: bool) -> Group:
    return Group(_table(seen.rows, several), *(Text(str(error), "red") for error in seen.errors))


def _table(rows: Sequence[QueueStatus], several: bool) -> Table:
    """The rows by queue; with several servers, each row says which one it is of."""
    figures = ("waiting", "running", "workers")
    result = table("queue", *(["server"] if several else []), *figures, figures=figures)
    for row in sorted(rows, key=lambda row: (row.queue, row.server)):
        names = [shown(row.queue), *([row.server] if several else [])]
        result.add_row(*names, str(row.waiting), str(row.running), str(row.workers))
    return result


def _record(row: QueueStatus) -> dict[str, object]:
    return {**asdict(row), "waiting": row.waiting}
