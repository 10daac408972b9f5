"""A long time of everything at once: jobs of all sizes, failures, poison, workers that come and go, a server that
restarts.

A few seconds in CI; ``tox -e soak`` makes a quarter of an hour of it, and draws what the workers that stay have held.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

from tests.support.faults import tell
from tests.support.gearmand import Gearmand, counts
from tests.support.held import drawn
from tests.support.soak import DEADLY, Client, deadly, jobs_of_all_kinds
from tests.support.soak_workers import PROCESSES, Workers
from tests.support.waiting import wait_for

#: How long jobs are sent, and how many at most; by how many clients.
SECONDS = float(os.environ.get("GEARMANCMD_SOAK_SECONDS", "3"))
JOBS = 2_000_000
CLIENTS = 3

#: How often gearmand is killed, a worker ended, and a job sent that kills its worker. Seconds.
LONG = SECONDS > 60
SERVER_EVERY = 60.0 if LONG else 2.0
WORKER_EVERY = 20.0 if LONG else 1.0
DEADLY_EVERY = 30.0 if LONG else 10.0

#: Seconds between two looks at the workers.
TURN_SECONDS = 0.25 if LONG else 0.05

#: How many workers gearmand gives a job to.
ATTEMPTS = 2

#: Where the curves of memory are drawn; nowhere by default.
PICTURE = os.environ.get("GEARMANCMD_SOAK_PICTURE")

#: What a resident set may grow by, in MiB: in the long form less than 100 bytes of each job would make.
GROWTH_MIB = 8 if LONG else 64


def test_a_soak(gearmand: Gearmand, queue: str) -> None:
    with Gearmand("--job-retries", str(ATTEMPTS)) as server, Workers(server.address, queue, WORKER_EVERY) as workers:
        clients, restarts = soak(server, queue, workers)
        wait_for(lambda: counts(server, queue)[0] == 0, "gearmand to have no job left")
        workers.stop()
    sent, answered, lost = (Counter[str]() for _ in range(3))
    for client in clients:
        assert client.wrong == []
        sent, answered, lost = sent + client.sent, answered + client.answered, lost + client.lost
    tell(
        f"{SECONDS:g} s of everything",
        **{"jobs": answered.total(), **answered, **lost, "servers_killed": restarts, "workers_ended": workers.ended},
        workers_killed_by_jobs=workers.statuses[-signal.SIGKILL] - workers.ended // 2,
        **{
            f"{held.name}:": f"{held.growth:+.1f} MiB {held.more_descriptors:+.0f} descriptors" for held in workers.held
        },
    )
    assert sent == answered and set(answered) == {"echo", "failing", "private", "rubbish", "deadly"}
    assert set(workers.statuses) <= {0, -signal.SIGKILL}
    assert workers.statuses[-signal.SIGKILL] >= ATTEMPTS * answered["deadly"]
    check_log(workers, answered, lost.total(), restarts)
    check_held(workers)
    if PICTURE:
        Path(PICTURE).write_text(drawn(workers.held), "utf-8")


def soak(server: Gearmand, queue: str, workers: Workers) -> tuple[list[Client], int]:
    """Send jobs, while gearmand and workers end and start; the clients, and how often gearmand was killed."""
    begin = time.monotonic()
    end = begin + SECONDS
    clients = [
        Client(server.address, queue, jobs_of_all_kinds(queue, seed), count=JOBS // CLIENTS, end=end)
        for seed in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    killing = restarts = 0
    while any(client.is_alive() for client in clients):
        passed = time.monotonic() - begin
        workers.turn(passed)
        if DEADLY_EVERY * killing < passed < SECONDS:
            killing += 1
            clients.append(Client(server.address, deadly(queue), iter([[DEADLY]]), count=1, end=end))
            clients[-1].start()
        if SERVER_EVERY * (restarts + 1) < passed < SECONDS:
            restarts += 1
            server.stop()
            server.start()
        time.sleep(TURN_SECONDS)
    return clients, restarts


def check_log(workers: Workers, answered: Counter[str], lost: int, restarts: int) -> None:
    """Nothing is logged but what is to be, and that as often as it is to be."""
    told, ends = workers.told, workers.statuses.total()
    assert workers.unexpected == []
    assert told["child_starts"] == told["child_ends"] == PROCESSES
    assert told["loses_gearmand"] <= restarts * (2 + PROCESSES)
    for kind in ("echo", "failing", "private", "rubbish"):
        # more where a job was done and its answer lost, fewer where a worker had answered and was killed
        assert -ends <= told[kind] - answered[kind] <= lost + ends, kind


def check_held(workers: Workers) -> None:
    """The workers that stayed hold no more than they did when they had warmed up."""
    for held in workers.held:
        assert held.growth < GROWTH_MIB, held.name
        assert held.more_descriptors == 0, held.name
