"""Progress reports at a pace that the network does not notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two reports.
INTERVAL = 0.25


def tracked(items: Iterable[T], total: int | None, report: Callable[[int, int], None]) -> Iterator[T]:
    """The items, one by one; `report(done, total)` is called at the start, at the end and every INTERVAL seconds."""
    if total is None:
        total = len(items) if isinstance(items, Sized) else 0
    report(0, total)
    done = reported = 0
    next_report = time.monotonic() + INTERVAL
    for item in items:
        yield item
        done += 1
        if time.monotonic() >= next_report:
            report(done, total)
            reported = done
            next_report = time.monotonic() + INTERVAL
    if done != reported:
        report(done, total)
