"""``gearmancmd workers``: who is connected."""

from __future__ import annotations

from dataclasses import asdict

import click

from .._wire.address import Address
from ..admin import Admin, WorkerStatus
from .answers import ask
from .options import command, servers_option
from .output import note, say
from .table import Column, lay_out, stdout_width
from .terminal import as_json, shown

_COLUMNS = [Column(title) for title in ("server", "address", "name", "queues")]


@command("gearmancmd workers", "gearmancmd workers --json")
@servers_option
@click.option("--json", "as_lines", is_flag=True, help="Print one JSON array of objects.")
@click.option("--all", "everyone", is_flag=True, help="Show clients too: connections that work on no queue.")
def workers(servers: list[Address], as_lines: bool, everyone: bool) -> int:
    """Show the workers, and the queues that each works on.

    The exit status is 4 when a server does not answer; the other ones are shown.
    """
    answers = ask(servers, Admin.workers)
    rows = [row for row in answers.rows if row.queues or everyone]
    if as_lines:
        say(as_json([asdict(row) for row in rows]))
    elif rows:
        say("\n".join(lay_out(_COLUMNS, list(map(_cells, rows)), stdout_width())))
    elif not answers.errors:
        note("no workers")
    return answers.report()


def _cells(row: WorkerStatus) -> list[str]:
    return [row.server, row.address, shown(row.client_id or "-"), shown(" ".join(row.queues))]
