"""How long jobs take that wait beside each other."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import Figure, median
from benchmarks.gearmand import gearmand
from benchmarks.workers import ours, working
from gearmancmd import JSONGearmanClient

#: Commands that each sleep for a second.
COROUTINES = 200


def coroutines(rounds: int, quick: bool) -> Iterator[Figure]:
    """Commands of ``asyncio.sleep(1)``, all of them assigned at once: from the first task to the last result."""
    seconds = []
    with gearmand() as server, working(ours(COROUTINES)(server), server), JSONGearmanClient([server.address]) as client:
        for _ in range(min(rounds, 3)):
            begin = time.perf_counter()
            for _ in client.map("wait", [{"command": "nap"}] * COROUTINES, window=COROUTINES):
                pass
            seconds.append(time.perf_counter() - begin)
    yield Figure(f"{COROUTINES} commands of asyncio.sleep(1)", median(seconds), "s", None, "at most 3")
