"""What each thread of a process is at, for the log."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterable

from ..logs import logger, one_line
from .messages import JobInHand


def log_stacks(jobs: Iterable[JobInHand]) -> None:
    """Log the stack of each thread but this one, and the jobs in hand, whatever the logger's level is: somebody has
    asked for it.
    """
    now = time.monotonic()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if ident == threading.get_ident():
            continue
        lines = "".join(traceback.format_stack(frame)).splitlines()
        stack = "\n".join(["Stack (most recent call last):", *map(one_line, lines)])
        _log("thread %s", names.get(ident, ident), stack=stack)
    for job in jobs:
        _log("in hand for %.1f s: %s", now - job.since, job)


def _log(message: str, *arguments: object, stack: str | None = None) -> None:
    record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, message, arguments, None, sinfo=stack)
    logger.handle(record)
