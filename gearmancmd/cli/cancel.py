"""``gearmancmd cancel``: take jobs out of their queues."""

from __future__ import annotations

from collections.abc import Sequence

import click

from .._wire.address import Address
from ..admin import Admin
from .options import command, servers_option
from .output import say


@command("gearmancmd cancel H:host:42")
@click.argument("handles", nargs=-1, required=True, metavar="HANDLE...")
@servers_option
def cancel(handles: Sequence[str], servers: list[Address]) -> None:
    """Cancel waiting background jobs by their handles. A job that runs already goes on.

    A cancelled job counts as waiting until its turn comes, and is passed over then.
    """
    admin = Admin(servers)
    for handle in handles:
        say(f"cancelled {handle} on {admin.cancel(handle)}")
