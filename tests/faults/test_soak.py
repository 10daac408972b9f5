"""A long time of everything at once: jobs of all sizes, failures, workers that come and go, a server that restarts.

A few seconds in CI; ``tox -e soak`` makes a quarter of an hour of it, and draws what the worker that stays has held.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from gearmancmd import JobFailed, JobTimeout, JSONGearmanClient, ServerUnavailable
from tests.support.faults import tell
from tests.support.gearmand import Gearmand
from tests.support.waiting import LIMIT
from tests.support.workers import WorkerProcess

#: How long jobs are sent, by how many clients; how often gearmand is killed, and one of two workers. Seconds.
SECONDS = float(os.environ.get("GEARMANCMD_SOAK_SECONDS", "6"))
CLIENTS = 3
SERVER_EVERY = 60.0 if SECONDS > 60 else 4.0
WORKER_EVERY = 20.0 if SECONDS > 60 else 3.0

#: Where a curve of the worker's memory is drawn; nowhere by default.
PICTURE = os.environ.get("GEARMANCMD_SOAK_PICTURE")

#: What the worker's resident set may grow by, from a fifth of the time on, in MiB.
GROWTH_MIB = 16 if SECONDS > 60 else 64

WORKER = """
import sys
import gearmancmd

class Queue(gearmancmd.GearmanCMDQueue):
    def echo(self, gcmd, task):
        return task["message"]

    async def aecho(self, gcmd, task):
        return task["message"]

    def fail(self, gcmd, task):
        raise gearmancmd.CommandError("on purpose")

print("begins", flush=True)
gearmancmd.GearmanCMD([sys.argv[1]], prefetch=4).register_task(sys.argv[2], Queue()).run()
"""


_PRIVATE = "queue '{}' has no command '_fail': a name with a leading underscore is private"


class Clients:
    """Threads that send jobs until the time is over, each of them until it has its answer."""

    def __init__(self, address: str, queue: str, end: float) -> None:
        self._address = address
        self._queue = queue
        self._end = end
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        chance = random.Random(number)
        with JSONGearmanClient([self._address], timeout=LIMIT) as client:
            while time.monotonic() < self._end:
                task, wanted = a_task(chance, self._queue)
                answer = self._answer(client, task)
                if answer != wanted:
                    self.wrong.append(f"{str(task)[:80]}: {str(answer)[:80]}")
                self.seen["jobs"] += 1

    def _answer(self, client: JSONGearmanClient, task: dict[str, str]) -> Any:
        while True:
            try:
                return client.call(self._queue, task)
            except JobFailed as error:
                return error.reason
            except (ServerUnavailable, JobTimeout) as error:
                self.seen[type(error).__name__] += 1
                time.sleep(0.05)


def a_task(chance: random.Random, queue: str) -> tuple[dict[str, str], str]:
    """A task, and its result or the reason why it fails."""
    kind = chance.random()
    if kind < 0.01:
        return {"command": "fail"}, "on purpose"
    if kind < 0.02:
        return {"command": "_fail", "message": "\0\ud800"}, _PRIVATE.format(queue)
    message = "x" * int(10 ** chance.uniform(1, 6 if kind < 0.05 else 3))
    return {"command": chance.choice(["echo", "aecho"]), "message": message}, message


def test_a_soak(own_gearmand: Gearmand, queue: str, worker_process: Any) -> None:
    stays = worker_process(WORKER, own_gearmand.address, queue)
    other = worker_process(WORKER, own_gearmand.address, queue)
    begin = time.monotonic()
    samples: list[tuple[float, float, int]] = []
    with Clients(own_gearmand.address, queue, begin + SECONDS) as clients:
        ends = restarts = 0
        while (passed := time.monotonic() - begin) < SECONDS:
            samples.append((passed, *held(stays)))
            if passed > WORKER_EVERY * (ends + 1):
                other.process.send_signal([signal.SIGKILL, signal.SIGTERM][ends % 2])
                other = worker_process(WORKER, own_gearmand.address, queue)
                ends += 1
            if passed > SERVER_EVERY * (restarts + 1):
                own_gearmand.stop()
                own_gearmand.start()
                restarts += 1
            time.sleep(0.25)
    assert not clients.wrong
    assert clients.seen["jobs"] > 0 and stays.process.poll() is None
    steady = [sample for sample in samples if sample[0] > SECONDS / 5]
    growth = max(held_mib for _, held_mib, _ in steady[-10:]) - steady[0][1]
    descriptors = max(count for _, _, count in steady)
    assert growth < GROWTH_MIB
    assert descriptors < 20
    expected = ("no connection to gearmand", "done in vain", "has no command '_fail'")
    unexpected = [line for line in stays.lines if not any(text in line for text in expected)]
    assert unexpected == ["begins"]
    tell(
        f"{SECONDS:g} s of everything",
        **clients.seen,
        servers_killed=restarts,
        workers_ended=ends,
        growth_MiB=round(growth, 1),
        descriptors=descriptors,
    )
    if PICTURE:
        Path(PICTURE).write_text(drawn([(at, held_mib) for at, held_mib, _ in samples]), "utf-8")


def held(worker: WorkerProcess) -> tuple[float, int]:
    """The resident set of a process in MiB, and how many descriptors it has."""
    process = Path(f"/proc/{worker.process.pid}")
    pages = int((process / "statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list((process / "fd").iterdir()))


def drawn(points: list[tuple[float, float]]) -> str:
    """A curve as SVG: seconds and MiB."""
    width, height, high = 640, 200, max(held_mib for _, held_mib in points) * 1.2
    path = " ".join(f"{at / SECONDS * width:.1f},{height - held_mib / high * height:.1f}" for at, held_mib in points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 20}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height + 20}" fill="white"/>'
        f'<polyline points="{path}" fill="none" stroke="#2a6f97" stroke-width="1.5"/>'
        f'<text x="4" y="14">resident set, up to {high:.0f} MiB</text>'
        f'<text x="{width - 60}" y="{height + 15}">{SECONDS:.0f} s</text></svg>\n'
    )
