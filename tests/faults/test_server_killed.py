"""gearmand is killed and restarted again and again under numbered jobs: none that it has acknowledged is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gearmancmd import GearmanCMD, JSONGearmanClient
from tests.support.faults import TIMES, tell
from tests.support.gearmand import Gearmand, counts
from tests.support.killing import JOBS, KILLS, LOST, PAUSE_SECONDS, Numbered, kill_under_way, task
from tests.support.waiting import LIMIT, wait_for

CLIENTS = 4
#: Jobs of a queue on a disk, where gearmand waits for the disk twice a job.
STORED_JOBS = 200 if TIMES == 1 else JOBS


@pytest.fixture
def storing_gearmand(gearmand, tmp_path):
    """A gearmand that keeps its background jobs in a file."""
    with Gearmand("--queue-type", "libsqlite3", "--libsqlite3-db", str(tmp_path / "queue.db")) as server:
        yield server


class Insisting:
    """Calls a method of a client until the server is there to answer, and counts the attempts that were in vain."""

    def __init__(self) -> None:
        self.lost: Counter[str] = Counter()

    def __call__(self, verb: Any, *arguments: Any, **options: Any) -> Any:
        while True:
            try:
                return verb(*arguments, timeout=LIMIT, **options)
            except LOST as error:
                self.lost[type(error).__name__] += 1
                time.sleep(PAUSE_SECONDS)


@pytest.mark.parametrize("prefetch", [1, 16])
def test_a_queue_on_a_disk_loses_no_job_that_was_acknowledged(storing_gearmand, queue, run, prefetch):
    insist, target = Insisting(), Numbered()
    running = run(GearmanCMD([storing_gearmand.address], prefetch=prefetch).register_task(queue, target))
    killing = threading.Thread(target=kill_under_way, args=(storing_gearmand, lambda: len(target.done), STORED_JOBS))
    killing.start()
    with JSONGearmanClient([storing_gearmand.address]) as client:
        for number in range(STORED_JOBS):
            insist(client.submit, queue, task(number), background=True, unique=f"job-{number}")
    killing.join()
    numbers = set(range(STORED_JOBS))
    wait_for(lambda: numbers <= set(target.done), "all jobs to be done", limit=4 * LIMIT)
    wait_for(lambda: counts(storing_gearmand, queue)[0] == 0, "the queue to be empty")
    assert running.error is None
    tell(
        f"server killed, queue on a disk, prefetch {prefetch}",
        kills=KILLS,
        jobs=STORED_JOBS,
        lost=0,
        done_twice=len(target.done) - STORED_JOBS,
        submissions_tried_again=insist.lost.total(),
    )


def test_clients_that_try_again_get_every_answer_from_a_queue_in_memory(own_gearmand, queue, run):
    insist, target = Insisting(), Numbered()
    running = run(GearmanCMD([own_gearmand.address], prefetch=16).register_task(queue, target))

    def call(numbers: range) -> list[int]:
        with JSONGearmanClient([own_gearmand.address]) as client:
            return [insist(client.call, queue, task(number)) for number in numbers]

    with ThreadPoolExecutor(CLIENTS) as clients:
        shares = [range(first, JOBS, CLIENTS) for first in range(CLIENTS)]
        answers = [clients.submit(call, share) for share in shares]
        kill_under_way(own_gearmand, lambda: len(target.done), JOBS)
        assert [each.result() for each in answers] == [[-number for number in share] for share in shares]
    assert running.error is None
    tell(
        "server killed, clients that try again",
        kills=KILLS,
        jobs=JOBS,
        lost=0,
        done_twice=len(target.done) - JOBS,
        calls_tried_again=insist.lost.total(),
    )
