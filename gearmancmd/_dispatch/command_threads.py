"""The threads of ``GearmanCMD(threads=N)``, in which commands run."""

from __future__ import annotations

import queue
from collections.abc import Callable

from .._wire import threads
from .._worker.pipe import Assignment

#: Takes one job; in one of the threads.
Work = Callable[[Assignment], object]


class CommandThreads:
    """Daemons that take jobs from one queue. A command that never ends keeps its thread, and nothing else."""

    def __init__(self, count: int, work: Work, idle: Callable[[], object], failed: Callable[[Exception], None]) -> None:
        self._count = count
        self._work = work
        #: Called when a thread finds no job.
        self._idle = idle
        self._failed = failed
        self._jobs: queue.SimpleQueue[Assignment | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Start them."""
        for number in range(1, self._count + 1):
            threads.start(f"gearmancmd-command-{number}", self._run, self._failed)

    def put(self, assignment: Assignment) -> None:
        """Have the next thread that is free work on a job."""
        self._jobs.put(assignment)

    @property
    def waiting(self) -> bool:
        """Whether a job waits for a thread."""
        return not self._jobs.empty()

    def end(self) -> None:
        """Each thread ends after the job that it has in hand."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _run(self) -> None:
        while True:
            if self._jobs.empty():
                self._idle()
            assignment = self._jobs.get()
            if assignment is None:
                return
            self._work(assignment)
