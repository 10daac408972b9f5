"""The command line: see the package's docstring."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import clients, concurrency, footprint, latency, processes, submissions, throughput
from benchmarks.figures import Figure, table, write

SUITES: dict[str, tuple[Callable[[int, bool], Iterator[Figure]], ...]] = {
    "throughput": (throughput.small_jobs, throughput.large_jobs),
    "latency": (latency.calls, latency.results),
    "footprint": (footprint.idle, footprint.memory, footprint.imports, footprint.many_queues),
    "concurrency": (concurrency.coroutines,),
    "clients": (clients.calls, clients.concurrent),
    "submissions": (submissions.submissions,),
    "processes": (processes.computing,),
    "peers": (throughput.other_workers,),
}


def main() -> None:
    """Run the suites, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure gearmancmd's worker and client.")
    parser.add_argument("--quick", action="store_true", help="one round of short runs: under a minute")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (default: 5)")
    parser.add_argument("--only", choices=SUITES, action="append", help="this suite only; may be given again")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    figures = []
    for suite in options.only or SUITES:
        for figure in _measure(suite, 1 if options.quick else options.rounds, options.quick):
            figures.append(figure)
    print(table(figures))
    if options.json:
        write(figures, options.json)


def _measure(suite: str, rounds: int, quick: bool) -> Iterator[Figure]:
    for benchmark in SUITES[suite]:
        print(f"{suite}: {benchmark.__name__} ...", file=sys.stderr)
        yield from benchmark(rounds, quick)


if __name__ == "__main__":
    main()
