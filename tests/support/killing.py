"""A server that is killed under numbered jobs: how often, how many, and what those who wait for the jobs may meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gearmancmd import GearmanCMDQueue, JobFailed, JobTimeout, ServerUnavailable
from tests.support.faults import TIMES
from tests.support.gearmand import Gearmand
from tests.support.waiting import wait_for

KILLS = min(2 * TIMES, 20)
JOBS = min(2000 * TIMES, 20_000)
#: Seconds until a client that was refused tries again.
PAUSE_SECONDS = 0.01

#: What a client may meet with when its server is lost.
LOST = (ServerUnavailable, JobTimeout)
#: All that a call may raise.
DOCUMENTED = (*LOST, JobFailed)


class Numbered(GearmanCMDQueue):
    """Keeps the numbers of its jobs in `done`, and answers each with the number's negative."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def note(self, gcmd: Any, task: Any) -> int:
        self.done.append(task["number"])
        return int(-task["number"])


def task(number: int) -> dict[str, Any]:
    """The task of a job of a Numbered queue."""
    return {"command": "note", "number": number}


def kill_under_way(server: Gearmand, done: Callable[[], int], jobs: int) -> None:
    """Kill and restart a server KILLS times while `jobs` jobs are done, the last time before they are all done."""
    for kill in range(1, KILLS + 1):
        wait_for(lambda: done() >= jobs * kill // (KILLS + 1), "more jobs to be done")
        server.stop()
        server.start()
