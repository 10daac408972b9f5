"""``gearmancmd top``: a live table of the queues."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.cells import cell_len
from rich.live import Live

from .._wire.address import Address
from ..admin import Admin
from .answers import SHORT_TIMEOUT_SECONDS, ask
from .failure import Misuse
from .history import BLOCKS, PAST, History, QueueRow, sparkline
from .keyboard import Keyboard, keyboard
from .options import command, interval_option, servers_option
from .page import Size, last_first, page
from .table import Column, lay_out
from .terminal import has_unicode, live, shown

_COLUMNS = (
    Column("queue"),
    Column("waiting", figures=True, brief="wait"),
    Column("running", figures=True, brief="run"),
    Column("workers", figures=True, brief="work"),
    Column("net jobs/s", figures=True, brief="net/s"),
)
_HISTORY = "history"

#: How soon a terminal of another size is noticed.
_RESIZE_SECONDS = 0.25


@command("gearmancmd top", "gearmancmd top -s one:4730 -s two:4730 --interval 5")
@servers_option
@interval_option
def top(servers: list[Address], interval: float) -> None:
    """Watch the queues of all servers, live.

    The longest comes first. Arrow keys, j and k, and the page keys scroll; q or Ctrl+C leaves.

    net jobs/s is by how many jobs a second a queue grew, or with a minus shrank: jobs sent less jobs finished. gearmand
    counts no finished jobs, so while clients send nothing it is the speed of the workers. history shows how many jobs
    waited at the last 30 looks that showed the queue, scaled to the most of them. Where the terminal is narrow, history
    goes first, and then names are shortened in their middle.
    """
    if not sys.stdout.isatty():
        raise Misuse("top needs a terminal; into a file or a pipe goes: gearmancmd status --watch")
    try:
        with keyboard() as keys, live(screen=True) as picture:
            Top(servers, keys, picture).watch(interval)
    except KeyboardInterrupt:  # the other way to leave
        return


class Top:
    """The live table: what is known, and which part of it is seen."""

    def __init__(self, servers: Sequence[Address], keys: Keyboard, picture: Live) -> None:
        self._servers = servers
        self._keys = keys
        self._picture = picture
        self._history = History()
        self._rows: list[QueueRow] = []
        self._errors: list[str] = []
        self._first = 0

    def watch(self, interval: float) -> None:
        """Look every `interval` seconds, until a key says that it is enough."""
        going_on = True
        while going_on:
            answers = ask(self._servers, Admin.status, SHORT_TIMEOUT_SECONDS)
            now = time.monotonic()
            self._rows = self._history.add(answers.rows, now)
            self._errors = list(map(str, answers.errors))
            self._draw()
            going_on = self._follow_keys(now + interval)

    def _follow_keys(self, until: float) -> bool:
        """Scroll, and draw again where the terminal has changed its size; False when it is time to leave."""
        size = self._size()
        while (left := until - time.monotonic()) > 0:
            for key in self._keys.pressed(min(left, _RESIZE_SECONDS)):
                if key == "quit":
                    return False
                self._scroll(key)
            if size != self._size():
                size = self._size()
                self._draw()
        return True

    def _scroll(self, key: str) -> None:
        screenful = max(1, self._size().height - 4)
        self._first += {"up": -1, "down": 1, "page up": -screenful, "page down": screenful}[key]
        self._draw()

    def _draw(self) -> None:
        size = self._size()
        self._first = max(0, min(self._first, last_first(len(self._rows), size.height, len(self._errors))))
        content = page(
            self._rows,
            lambda rows: queue_table(rows, size.width) if rows else self._nothing(),
            size,
            first=self._first,
            title=self._title(),
            errors=self._errors,
            more="; j and k scroll",
        )
        self._picture.update(content, refresh=True)

    def _title(self) -> str:
        return f"gearmancmd top: q leaves; {', '.join(map(str, self._servers))}"

    def _nothing(self) -> list[str]:
        return [] if self._errors else ["no queues"]

    def _size(self) -> Size:
        width, height = self._picture.console.size
        return Size(width, height)


def queue_table(rows: Sequence[QueueRow], width: int) -> list[str]:
    """The lines of the table, with as much of the history as there is room for."""
    lines = lay_out(_COLUMNS, [_cells(row) for row in rows], width)
    used = cell_len(lines[0])
    room = min(PAST, width - 1 - used)
    if room < len(_HISTORY):
        return lines
    blocks = BLOCKS if has_unicode(sys.stdout) else "_.-=#"
    pasts = [sparkline(row.past[-room:], blocks).rjust(room) for row in rows]
    return [
        f"{line}{' ' * (used - cell_len(line))} {past}" for line, past in zip(lines, [_HISTORY, *pasts], strict=True)
    ]


def _cells(row: QueueRow) -> list[str]:
    change = "" if row.change is None else f"{row.change:+,.1f}"
    return [shown(row.queue), *(f"{figure:,}" for figure in (row.waiting, row.running, row.workers)), change]
