"""How much more work several processes do than one, where commands compute."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing

from benchmarks.figures import Figure, median
from benchmarks.gearmand import Admin, Server, gearmand
from benchmarks.load import drain
from benchmarks.workers import HERE

#: What a command computes, in seconds of a core of its own.
_COMMAND_SECONDS = 0.001


def computing(rounds: int, quick: bool) -> Iterator[Figure]:
    """Jobs that compute for 1 ms, in two processes and in one, in turn. A machine with two idle cores is needed."""
    count = 2_000 if quick else 5_000
    task = json.dumps({"command": "digest", "rounds": _rounds_of_hashing()}).encode()
    rates: tuple[list[float], list[float]] = ([], [])
    with gearmand() as server:
        for _ in range(rounds):
            for found, processes in zip(rates, (2, 1), strict=True):
                found.append(_rate(server, task, count * processes, processes))
    yield Figure("jobs that compute 1 ms, 2 processes", median(rates[0]), "jobs/s", median(rates[1]), "at least 1.8")


def _rate(server: Server, task: bytes, count: int, processes: int) -> float:
    command = [sys.executable, str(HERE / "peers" / "pool_worker.py"), server.address, str(processes)]
    rate = drain(server, "compute", task, count, command, processes)
    with closing(Admin(server)) as admin:
        while admin.workers():  # the processes end by themselves
            time.sleep(0.01)
    return rate


def _rounds_of_hashing() -> int:
    """How many rounds of a hash a command is to compute."""
    digest, rounds = b"", 0
    end = time.thread_time() + 100 * _COMMAND_SECONDS
    while time.thread_time() < end:
        for _ in range(100):
            digest = hashlib.sha256(digest).digest()
        rounds += 1
    return rounds
