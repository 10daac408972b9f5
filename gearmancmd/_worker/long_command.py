"""A warning for a command that keeps jobs waiting which are assigned to its own worker.

With prefetch above 1, jobs stand behind the one that runs, though another worker may be idle. A command that calls a
queue of its own worker may so wait for a job that stands behind itself, for ever.
"""

from __future__ import annotations

from .._wire.packet import to_text
from ..logs import logger
from .assigned import AssignedJobs
from .grabs import NEVER
from .pipe import Assignment

#: Seconds that a command may run while jobs wait behind it.
LONG_COMMAND_SECONDS = 30.0


class LongCommand:
    """Watches one run of a worker. Jobs are begun in the order in which they came, so the oldest is the one that runs.
    Times are seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        #: The oldest job, and when it came to be that.
        self._oldest = 0
        self._since = 0.0
        #: When to look whether jobs wait behind it.
        self._look_at = NEVER

    def due(self, jobs: int) -> float:
        """When there may be something to tell, with so many jobs assigned."""
        return self._look_at if jobs > 1 else NEVER

    def watch(self, now: float, jobs: AssignedJobs) -> None:
        """Log a warning, once for each job that has run for so long while others wait."""
        oldest = next(iter(jobs), 0)
        if oldest != self._oldest:
            self._oldest, self._since, self._look_at = oldest, now, now + LONG_COMMAND_SECONDS
        elif now >= self.due(len(jobs)):
            waiting = jobs.not_begun()
            job = jobs.find(oldest)[1]
            told = waiting > 0 and jobs.has_begun(oldest)
            self._look_at = NEVER if told else now + LONG_COMMAND_SECONDS
            if told and job is not None:
                self._tell(job, now - self._since, waiting)

    def _tell(self, job: Assignment, seconds: float, waiting: int) -> None:
        logger.warning(
            "job %s of %s has run for %d s; jobs that wait behind it, assigned to this worker (prefetch): %d; "
            "if it calls a queue of this worker, it may wait for one of them",
            to_text(job.handle),
            to_text(job.queue),
            int(seconds),
            waiting,
        )
