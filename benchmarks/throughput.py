"""Jobs per second: ours and the peers, each against the bare loop, round by round in turn."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure, median
from benchmarks.gearmand import gearmand
from benchmarks.load import REVERSE, drain, echo_task
from benchmarks.workers import Command, bare, ours, peers

#: By prefetch.
WANTED = {1: "at least 0.65", 2: "at least 0.72", 16: "at least 0.68", 64: "at least 0.70"}


def small_jobs(rounds: int, quick: bool) -> Iterator[Figure]:
    """Jobs of 40 bytes, at each prefetch."""
    for prefetch, wanted in WANTED.items():
        count = (8_000 if quick else 20_000) * (1 if prefetch < 16 else 3)
        mine, theirs = _in_turn(ours(prefetch), bare(prefetch), "reverse", REVERSE, count, rounds)
        yield Figure(f"40-byte jobs, prefetch {prefetch}", mine, "jobs/s", theirs, wanted)


def large_jobs(rounds: int, quick: bool) -> Iterator[Figure]:
    """1 MiB there and back."""
    count = 20 if quick else 40
    mine, theirs = _in_turn(ours(1), bare(1), "echo", echo_task(1 << 20), count, rounds)
    yield Figure("1 MiB echoed, prefetch 1", mine, "jobs/s", theirs, "at least 0.6")


def other_workers(rounds: int, quick: bool) -> Iterator[Figure]:
    """The C worker and whatever else is installed, against the bare loop at prefetch 1: how far C is ahead."""
    count = 4_000 if quick else 10_000
    for name, command in peers().items():
        if name == "gear":  # 44 ms a job, and the bare loop would be done with so few jobs between two looks
            with gearmand() as server:
                yield Figure(name, drain(server, "reverse", REVERSE, 200, command(server)), "jobs/s")
            continue
        rate, theirs = _in_turn(command, bare(1), "reverse", REVERSE, count, rounds)
        yield Figure(name, rate, "jobs/s", theirs)


def _in_turn(
    one: Command, other: Command, function: str, payload: bytes, count: int, rounds: int
) -> tuple[float, float]:
    """The median rates of two workers that take turns."""
    rates: tuple[list[float], list[float]] = ([], [])
    with gearmand() as server:
        for _ in range(rounds):
            for found, command in zip(rates, (one, other), strict=True):
                found.append(drain(server, function, payload, count, command(server)))
    return median(rates[0]), median(rates[1])
