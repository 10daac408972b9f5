"""What a worker takes when it does nothing, when it does very much, and when it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.figures import Figure, median
from benchmarks.gearmand import Admin, gearmand
from benchmarks.load import REVERSE, fill
from benchmarks.workers import ours

_PAGE = os.sysconf("SC_PAGE_SIZE")


def idle(rounds: int, quick: bool) -> Iterator[Figure]:
    """The share of a core that an idle worker takes, at the default poll_timeout."""
    del rounds
    span = 5 if quick else 20
    with gearmand() as server:
        process = subprocess.Popen(ours(1)(server))
        try:
            time.sleep(2)  # its start is not to count
            before = _cpu_seconds(process.pid)
            time.sleep(span)
            share = (_cpu_seconds(process.pid) - before) / span
        finally:
            process.kill()
            process.wait()
    yield Figure("idle worker", share * 100, "% of a core", wanted="at most 0.2 %")


def memory(rounds: int, quick: bool) -> Iterator[Figure]:
    """How much larger a worker is after many jobs than after the first tenth of them."""
    del rounds
    jobs, batch = (50_000, 10_000) if quick else (1_000_000, 50_000)
    with gearmand() as server, closing(Admin(server)) as admin:
        process = subprocess.Popen(ours(16)(server))
        try:
            sizes = []
            for _ in range(jobs // batch):
                fill(server, "reverse", REVERSE, batch)
                while admin.jobs("reverse"):
                    time.sleep(0.02)
                sizes.append(_resident(process.pid))
        finally:
            process.kill()
            process.wait()
    growth = (sizes[-1] - sizes[len(sizes) // 10]) / 2**20
    yield Figure(f"growth over {jobs:,} jobs", growth, "MiB", wanted="at most 2 MiB")


def many_queues(rounds: int, quick: bool) -> Iterator[Figure]:
    """The worker's processor time for each job with 100 and 1,000 further queues registered, and with none. Not the
    rate: gearmand itself looks through all functions of a worker for each grab.
    """
    jobs = 8_000 if quick else 30_000
    for queues in (100, 1_000):
        found: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for times, number in zip(found, (queues, 0), strict=True):
                times.append(_microseconds_a_job(number, jobs))
        yield Figure(f"{queues} further queues", median(found[0]), "us/job", median(found[1]), "about 1")


def _microseconds_a_job(queues: int, jobs: int) -> float:
    with gearmand() as server, closing(Admin(server)) as admin:
        process = subprocess.Popen(ours(16, queues)(server))
        try:
            while not admin.workers():
                time.sleep(0.01)
            before = _cpu_seconds(process.pid)
            fill(server, "reverse", REVERSE, jobs)
            while admin.jobs("reverse"):
                time.sleep(0.02)
            return (_cpu_seconds(process.pid) - before) / jobs * 1e6
        finally:
            process.kill()
            process.wait()


def imports(rounds: int, quick: bool) -> Iterator[Figure]:
    """What `import gearmancmd` takes against what it needs itself, all compiled."""
    del quick
    times: tuple[list[float], list[float]] = ([], [])
    _import_milliseconds("import gearmancmd")  # compiles what was not yet
    for _ in range(max(5, 3 * rounds)):
        for found, statement in zip(times, ("import gearmancmd", "import gearman, simplejson"), strict=True):
            found.append(_import_milliseconds(statement))
    yield Figure("import", median(times[0]), "ms", median(times[1]), "at most 1.5")


def _import_milliseconds(statement: str) -> float:
    source = f"import time; begin = time.perf_counter(); {statement}; print((time.perf_counter() - begin) * 1000)"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True, env=environment)
    return float(done.stdout)


def _cpu_seconds(pid: int) -> float:
    """By the scheduler's own clock, in nanoseconds; /proc/PID/stat counts in ticks of 10 ms."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
