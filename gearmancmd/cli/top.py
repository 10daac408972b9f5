"""``gearmancmd top``: a live table of the queues."""

from __future__ import annotations

import sys
import time

from rich.console import Group
from rich.text import Text

from ..admin import Admin
from .board import BLOCKS, PAST, Board, QueueRow, sparkline
from .failure import Misuse
from .looking import SHORT_TIMEOUT, look
from .options import command, interval_option, servers_option
from .terminal import keys, live, shown, table

_FIGURES = ("waiting", "running", "workers", "net jobs/s")


@command("gearmancmd top", "gearmancmd top -s one:4730 -s two:4730 --interval 5")
@servers_option
@interval_option
def top(servers: list[str], interval: float) -> None:
    """Watch the queues of all servers, live.

    The longest comes first; q or Ctrl+C leaves.

    net jobs/s is by how many jobs a second a queue grew, or with a minus shrank: jobs sent less jobs finished. gearmand
    counts no finished jobs, so while clients send nothing it is the speed of the workers. history shows how many jobs
    waited at the last 30 looks, scaled to the most of them.
    """
    if not sys.stdout.isatty():
        raise Misuse("top needs a terminal; into a file or a pipe goes: gearmancmd status --watch")
    board = Board()
    try:
        with keys() as keyboard, live(screen=True) as picture:
            while True:
                seen = look(servers, Admin.status, SHORT_TIMEOUT)
                rows = board.add(seen.rows, time.monotonic())
                picture.update(_picture(rows, servers, list(map(str, seen.errors))), refresh=True)
                if keyboard.pressed("qQ", interval):
                    return
    except KeyboardInterrupt:  # the other way to leave
        return


def _picture(rows: list[QueueRow], servers: list[str], errors: list[str]) -> Group:
    result = table("queue", *_FIGURES, "history", figures=_FIGURES)
    blocks = BLOCKS if sys.stdout.encoding.lower().startswith("utf") else "_.-=#"
    for row in rows:
        change = "" if row.change is None else f"{row.change:+,.1f}"
        figures = (row.waiting, row.running, row.workers)
        result.add_row(
            shown(row.queue), *(f"{figure:,}" for figure in figures), change, sparkline(row.past, blocks).rjust(PAST)
        )
    title = Text(f"gearmancmd top: {', '.join(servers)}; q leaves", "bold")
    return Group(title, *(Text(error, "red") for error in errors), result if rows else Text("no queues"))
