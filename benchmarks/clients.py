"""How fast a client gets results: one call after the other beside a blocking socket, and a thousand at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.figures import Figure, median
from benchmarks.gearmand import Server, gearmand
from benchmarks.workers import HERE, bare, working


def calls(rounds: int, quick: bool) -> Iterator[Figure]:
    """client.call() in turn with a blocking socket in Python, on the same worker."""
    count = 500 if quick else 3_000
    found: dict[str, list[float]] = {"call": [], "socket": []}
    for _ in range(rounds):
        with gearmand() as server, working(bare(1)(server), server):
            found["call"].append(_run("gearmancmd_client.py", server, "call", count))
            found["socket"].append(_run("socket_client.py", server, "call", count))
    yield Figure("client.call(), p50", median(found["call"]), "us", median(found["socket"]), "at most 1.65")


def concurrent(rounds: int, quick: bool) -> Iterator[Figure]:
    """A thousand calls of the asyncio client at a time."""
    count = 3 if quick else 10
    rates = []
    for _ in range(rounds):
        with gearmand() as server, working(bare(16)(server), server):
            rates.append(_run("gearmancmd_client.py", server, "concurrent", count))
    yield Figure("1,000 asyncio calls at a time", median(rates), "calls/s")


def _run(script: str, server: Server, mode: str, count: int) -> float:
    command = [sys.executable, str(HERE / "peers" / script), server.address, mode, str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
