"""What ``gearmancmd top`` knows: the queues over all servers, with a short past of each. No terminal here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..admin import QueueStatus

#: Looks that a sparkline shows.
PAST = 30

#: A queue that no server has named for so long is forgotten. Servers that restart name a queue only once it has jobs or
#: workers again, and workers take a while to come back.
FORGET_SECONDS = 600.0

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
    past: tuple[int, ...] = ()

    def count(self, status: QueueStatus, change: float | None) -> None:
        """Add what one server says."""
        self.waiting += status.waiting
        self.running += status.running
        self.workers += status.workers
        if change is not None:
            self.change = (self.change or 0.0) + change

    def remember(self, past: Iterable[int]) -> None:
        """Take a copy of the past."""
        self.past = tuple(past)


@dataclass
class _Past:
    """The jobs that waited in one queue, and when it was seen last."""

    waiting: deque[int] = field(default_factory=lambda: deque(maxlen=PAST))
    seen_at: float = 0.0

    def see(self, waiting: int, now: float) -> None:
        """Add what a look has shown."""
        self.waiting.append(waiting)
        self.seen_at = now


class History:
    """Takes looks at the servers and makes rows of them.

    gearmand counts no finished jobs, so there is no figure for jobs done a second. What two looks do tell is by how
    much a queue grew or shrank: jobs that came in less jobs that were finished. Only servers that answered both times
    count. The past of a queue outlives a look that does not show it, for its servers may be away for a while.
    """

    def __init__(self) -> None:
        self._pasts: dict[str, _Past] = {}
        self._totals: dict[tuple[str, str], int] = {}
        self._seen_at = 0.0

    def add(self, statuses: Iterable[QueueStatus], now: float) -> list[QueueRow]:
        """The rows after another look at `now` (seconds of any clock), the longest queue first."""
        rows: dict[str, QueueRow] = {}
        totals: dict[tuple[str, str], int] = {}
        for status in statuses:
            row = rows.setdefault(status.queue, QueueRow(status.queue))
            row.count(status, self._change(status, now))
            totals[status.server, status.queue] = status.total
        self._totals, self._seen_at = totals, now
        for row in rows.values():
            past = self._pasts.setdefault(row.queue, _Past())
            past.see(row.waiting, now)
            row.remember(past.waiting)
        self._pasts = {queue: past for queue, past in self._pasts.items() if now - past.seen_at <= FORGET_SECONDS}
        return sorted(rows.values(), key=lambda row: (-row.waiting, row.queue))

    def _change(self, status: QueueStatus, now: float) -> float | None:
        before = self._totals.get((status.server, status.queue))
        elapsed = now - self._seen_at
        return None if before is None or elapsed <= 0 else (status.total - before) / elapsed


def sparkline(figures: Iterable[int], blocks: str = BLOCKS) -> str:
    """The figures as blocks, the largest as the highest one; 0 is always the lowest, and nothing else is."""
    figures = list(figures)
    highest = max(figures, default=0)
    top = len(blocks) - 1
    return "".join(blocks[-(-figure * top // highest) if highest else 0] for figure in figures)
