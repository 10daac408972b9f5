"""Calling a command as its options have it: within its time, and again where that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .._worker.job import NO_ANSWER, WorkerJob
from .._worker.time_limit import limited, time_limit
from ..command_options import CommandOptions
from ..logs import logger, reason
from .stream import begins_in_event_loop, is_stream, sent


class Pauses(Protocol):
    """What a pause between two attempts asks the run."""

    poll_timeout: float

    def pause(self, seconds: float) -> bool:
        """Wait, or less where the worker is to stop; False when no further attempt is to be made."""

    def no_pause(self) -> bool:
        """Whether the worker is to stop, so that no pause is made."""

    def over(self) -> bool:
        """Whether no further attempt is to be made."""

    def stop_now(self) -> None:
        """Have the run end, with no further job."""


class NoPauses:
    """For a job without a run: the next attempt follows at once, and there is nothing to stop."""

    poll_timeout = 0.0

    def pause(self, seconds: float) -> bool:
        """Make the attempt."""
        return True

    def no_pause(self) -> bool:
        """It is never waited."""
        return True

    def over(self) -> bool:
        """All attempts are made."""
        return False

    def stop_now(self) -> None:
        """There is no further job anyhow."""


class Attempts:
    """The attempts of one job at its command, until one succeeds or there are no more. `routine` takes the task."""

    def __init__(self, job: WorkerJob, routine: Callable[[Any], Any], options: CommandOptions, pauses: Pauses) -> None:
        self._job = job
        self._routine = routine
        self.time_limit = options.time_limit
        self.dead_letter = options.dead_letter
        self.pauses = pauses
        self._options = options

    def call(self) -> Any:
        """What the command returns; of an asynchronous one its coroutine, with which the event loop goes on. NO_ANSWER
        where the worker is to stop before the next attempt.
        """
        while True:
            try:
                return self._call_once()
            except BaseException as error:
                seconds = self.pause_after(error)
                if seconds is None:
                    raise
            if not self.pauses.pause(seconds):
                return NO_ANSWER
            self._job.next_attempt()

    def _call_once(self) -> Any:
        if self.time_limit is None or begins_in_event_loop(self._routine):
            return self.begin()
        job = self._job
        limit = time_limit(self.time_limit, f"command {job.command} of {job.queue}", job.origin)
        job.limit_to(limit)
        try:
            return limited(limit, self.begin)
        finally:
            job.limit_to(None)

    def begin(self) -> Any:
        """Call the command for the attempt under way."""
        result = self._routine(self._job.data)
        return sent(self._job, result) if is_stream(result) else result

    def pause_after(self, error: BaseException) -> float | None:
        """Seconds until the next attempt; None when there is none."""
        job = self._job
        if job.origin.forked or not self._options.retries_after(error, job.attempt):
            return None
        seconds = self._options.pause(job.attempt)
        logger.info(
            "job %s of %s (%s): attempt %d failed, the next one is in %.1f s: %s",
            job.handle,
            job.queue,
            job.command,
            job.attempt,
            seconds,
            reason(error),
        )
        return seconds
