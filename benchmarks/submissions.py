"""How fast background jobs are submitted: submit_many() beside libgearman's ways."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.figures import Figure, median
from benchmarks.gearmand import Server, gearmand
from benchmarks.workers import HERE, compiled

#: libgearman's ways, with the ratio that is wanted. run_tasks takes a time that grows with the square of its tasks.
_WAYS = {"background": "at least 7", "run_tasks 1000": "at least 0.6", "run_tasks 10000": ""}


def submissions(rounds: int, quick: bool) -> Iterator[Figure]:
    """submit_many() in turn with do_background and with run_tasks, each on a gearmand of its own."""
    count = 10_000 if quick else 30_000  # the same for all: gearmand gets slower as its queue gets longer
    found: dict[str, list[float]] = {"ours": [], **{way: [] for way in _WAYS}}
    for _ in range(rounds):
        found["ours"].append(_ours(count))
        for way in _WAYS:
            found[way].append(_theirs(way, count))
    for way, wanted in _WAYS.items():
        name = f"submit_many() against libgearman's {way}"
        yield Figure(name, median(found["ours"]), "submits/s", median(found[way]), wanted)


def _ours(count: int) -> float:
    script = str(HERE / "peers" / "gearmancmd_client.py")
    return _rate(lambda server: [sys.executable, script, server.address, "submit", str(count)])


def _theirs(way: str, count: int) -> float:
    mode, *size = way.split()
    return _rate(lambda server: [compiled("client"), server.host, str(server.port), mode, str(count), *size])


def _rate(command: Callable[[Server], list[str]]) -> float:
    with gearmand() as server:
        done = subprocess.run(command(server), capture_output=True, text=True, check=True, timeout=120)
    return float(done.stdout)
