"""``gearmancmd workers``: who is connected."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from ..admin import Admin
from .looking import look
from .options import command, servers_option
from .terminal import as_json, console, shown, table


@command("gearmancmd workers", "gearmancmd workers --json")
@servers_option
@click.option("--json", "as_lines", is_flag=True, help="Print one JSON array of objects.")
@click.option("--all", "everyone", is_flag=True, help="Show clients too: connections that work on no queue.")
def workers(servers: list[str], as_lines: bool, everyone: bool) -> int:
    """Show the workers, and the queues that each works on.

    The exit status is 4 when a server does not answer; the other ones are shown.
    """
    seen = look(servers, Admin.workers)
    rows = [row for row in seen.rows if row.queues or everyone]
    if as_lines:
        click.echo(as_json([asdict(row) for row in rows]))
    elif rows:
        result = table("server", "address", "name", "queues")
        for row in rows:
            result.add_row(row.server, row.address, shown(row.client_id or "-"), shown(" ".join(row.queues)))
        console(sys.stdout).print(result)
    elif not seen.errors:
        click.echo("no workers", err=True)
    return seen.report()
