"""The jobs that a process works on, and how many it has done: kept by hooks."""

from __future__ import annotations

import threading
import time
from typing import Any

from .._worker.job import WorkerJob
from ..hooks import Hooks
from .messages import JobInHand


class JobsInHand(Hooks):
    """Hooks that run in the threads of the jobs, and cost each job as little as they can: there are no locks."""

    def __init__(self) -> None:
        #: With the time at which it began, by the job's id.
        self._jobs: dict[int, tuple[WorkerJob, float]] = {}
        #: How many jobs each thread has begun and ended: one counter for all of them would lose some.
        self._begun: dict[int, int] = {}
        self._ended: dict[int, int] = {}

    def on_job(self, job: WorkerJob, task: Any) -> None:
        """One begins."""
        self._jobs[id(job)] = job, time.monotonic()
        _count(self._begun)

    def on_done(self, job: WorkerJob, result: Any, seconds: float) -> None:
        """One was answered."""
        self._end(job)

    def on_failure(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """One failed; perhaps it never began, for its payload could not be decoded."""
        self._end(job)

    def _end(self, job: WorkerJob) -> None:
        self._jobs.pop(id(job), None)
        _count(self._ended)

    @property
    def begun(self) -> int:
        """How many have begun."""
        return sum(list(self._begun.values()))

    @property
    def done(self) -> int:
        """How many have ended, in whatever way."""
        return sum(list(self._ended.values()))

    def in_hand(self) -> tuple[JobInHand, ...]:
        """Those that are worked on, the eldest first."""
        return tuple(
            JobInHand(job.queue, job.command, job.handle, str(job.connection), since)
            for job, since in list(self._jobs.values())
        )


def _count(counts: dict[int, int]) -> None:
    thread = threading.get_ident()
    counts[thread] = counts.get(thread, 0) + 1
