"""The log of a worker's life: one line a job, and some at its start and its end. It is made of hooks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ._worker.job import WorkerJob
from .errors import CommandError, JobRejected, UnexpectedError
from .hooks import Hooks
from .logs import logger, one_line, reason


class FailureLog(Hooks):
    """One line for each failed job: at INFO for a CommandError, which is an answer; a WARNING for what cannot be
    decoded, encoded or dispatched; else an ERROR with the traceback.
    """

    def on_failure(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """Log it."""
        level = level_of(error)
        if not logger.isEnabledFor(level):
            return
        why = reason(error)
        cause = error.__cause__ if isinstance(error, UnexpectedError) else error
        logger.log(
            level,
            "job %s of %s (%s) failed in %.6f s: %s",
            job.handle,
            job.queue,
            job.command or "-",
            seconds,
            why,
            exc_info=cause if level == logging.ERROR else None,
            extra=fields(job, seconds, "failed", why),
        )


class JobLog(FailureLog):
    """One line for each job, at INFO where it did not fail, and what the worker is about at its start and end.

    `servers` are their addresses, `commands` the names of the commands of each queue.
    """

    def __init__(self, servers: Iterable[str], commands: Mapping[str, Iterable[str]]) -> None:
        self._servers = servers
        self._commands = commands

    def on_start(self) -> None:
        """Log the servers, the queues and their commands."""
        servers = ", ".join(self._servers)
        logger.info("worker starts; servers: %s", servers, extra={"gearman_servers": one_line(servers)})
        for queue, names in self._commands.items():
            commands = ", ".join(names)
            extra = {"gearman_queue": one_line(queue), "gearman_commands": one_line(commands)}
            logger.info("worker takes jobs of %s; commands: %s", queue, commands, extra=extra)

    def on_done(self, job: WorkerJob, result: Any, seconds: float) -> None:
        """Log it."""
        logger.info(
            "job %s of %s (%s) done in %.6f s",
            job.handle,
            job.queue,
            job.command or "-",
            seconds,
            extra=fields(job, seconds, "done"),
        )

    def on_stop(self) -> None:
        """Log the end."""
        logger.info("worker has ended")


class LastFailure(Hooks):
    """A hook that knows whether the log has the traceback of an error already."""

    def __init__(self) -> None:
        self._error: BaseException | None = None

    def on_failure(self, job: object, error: BaseException, seconds: float) -> None:
        """Keep the error, if it is one that ends the worker."""
        if not isinstance(error, CommandError) and logger.isEnabledFor(logging.ERROR):
            self._error = error

    def is_logged(self, error: BaseException) -> bool:
        """Whether it was this one."""
        return error is self._error


def level_of(error: BaseException) -> int:
    """The level at which a failure is logged."""
    if not isinstance(error, CommandError) or isinstance(error, UnexpectedError):
        return logging.ERROR
    return logging.WARNING if isinstance(error, JobRejected) else logging.INFO


def fields(job: WorkerJob, seconds: float, outcome: str, why: str | None = None) -> dict[str, object]:
    """What a job's line says, as attributes of its record; each text is one harmless line."""
    return {
        "gearman_queue": one_line(job.queue),
        "gearman_command": one_line(job.command) if job.command is not None else None,
        "gearman_handle": one_line(job.handle),
        "gearman_seconds": seconds,
        "gearman_outcome": outcome,
        "gearman_reason": why,
    }
