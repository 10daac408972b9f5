"""What ``gearmancmd top`` knows: the queues over all servers, with a short past of each. No terminal here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..admin import QueueStatus

#: Looks that a sparkline shows.
PAST = 30

BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass
class QueueRow:
    """One queue, its figures summed over the servers."""

    queue: str
    waiting: int = 0
    running: int = 0
    workers: int = 0
    #: Jobs a second by which waiting and running together grew since the look before; None at the first look.
    change: float | None = None
    #: The jobs that waited at the last looks, oldest first.
    past: deque[int] = field(default_factory=lambda: deque(maxlen=PAST))


class Board:
    """Takes looks at the servers and makes rows of them.

    gearmand counts no finished jobs, so there is no figure for jobs done a second. What two looks do tell is by how
    much a queue grew or shrank: jobs that came in less jobs that were finished. Only servers that answered both times
    count.
    """

    def __init__(self) -> None:
        self._rows: dict[str, QueueRow] = {}
        self._totals: dict[tuple[str, str], int] = {}
        self._seen_at = 0.0

    def add(self, statuses: Iterable[QueueStatus], now: float) -> list[QueueRow]:
        """The rows after another look at `now` (seconds of any clock), the longest queue first."""
        statuses = list(statuses)
        past = {queue: row.past for queue, row in self._rows.items()}
        self._rows = {status.queue: QueueRow(status.queue) for status in statuses}
        for status in statuses:
            self._add(status, now - self._seen_at)
        for row in self._rows.values():
            row.past = past.get(row.queue, row.past)
            row.past.append(row.waiting)
        self._totals = {(status.server, status.queue): status.total for status in statuses}
        self._seen_at = now
        return sorted(self._rows.values(), key=lambda row: (-row.waiting, row.queue))

    def _add(self, status: QueueStatus, elapsed: float) -> None:
        row = self._rows[status.queue]
        row.waiting += status.waiting
        row.running += status.running
        row.workers += status.workers
        before = self._totals.get((status.server, status.queue))
        if before is not None and elapsed > 0:
            row.change = (row.change or 0.0) + (status.total - before) / elapsed


def sparkline(figures: Iterable[int], blocks: str = BLOCKS) -> str:
    """The figures as blocks, the largest as the highest one; 0 is always the lowest, and nothing else is."""
    figures = list(figures)
    highest = max(figures, default=0)
    top = len(blocks) - 1
    return "".join(blocks[-(-figure * top // highest) if highest else 0] for figure in figures)
