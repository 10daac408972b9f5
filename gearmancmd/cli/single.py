"""``gearmancmd run`` without -p: a worker in this process, and what signals do to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from .._pool.limits import Limits
from .._pool.watch import Watch
from ..cmd import GearmanCMD
from ..logs import exit_call, logger, reason
from .again import Again
from .failure import Failure
from .health import WorkerHealth
from .output import complain
from .place import place, user_place

#: Seconds for what is interrupted to come to its end: what stays is given up.
INTERRUPTED_SECONDS = 2.0


class SingleWorker(Watch):
    """Runs a GearmanCMD, which it stops gracefully at SIGTERM, SIGINT and SIGHUP, and at a limit."""

    def __init__(self, gcmd: GearmanCMD, limits: Limits, grace: float, again: Again, health: WorkerHealth) -> None:
        super().__init__(limits)
        self.attach(gcmd)
        self._worker = gcmd
        self._grace = grace
        self._again = again
        self._health = health
        self._starts_again = False
        #: The first signal that is to end it.
        self._stopped_by: int | None = None
        self._interrupted = False
        self._deadline: float | None = None

    def run(self) -> int:
        """Work; the exit status."""
        self.start()
        try:
            self._work()
        except KeyboardInterrupt:
            if not self._interrupted:
                raise
        finally:
            self.end()
        if self._stopped_by is None and self._starts_again:
            self._again.want()
        return exit_status(self._stopped_by, graceful=not self._interrupted)

    def _work(self) -> None:
        """Work until a signal, a limit, sys.exit() in a command, or an exception."""
        try:
            self._worker.run(self._health)
        except SystemExit as error:
            complain(f"a command called {exit_call(error)}, and its job goes back to the queue{place(error)}")
            raise
        except Exception as error:
            told = f"the worker ended: {reason(error)}"
            if not self.last_failure.is_logged(error):
                raise Failure(f"{told}{place(error)}") from error
            where = user_place(error)
            raise Failure(f"{told} ({where})" if where else told) from None

    def leave(self, why: str) -> None:
        """Take no more jobs."""
        self._health.stop(again=self._starts_again)
        super().leave(why)

    # The thread that reads the signals.

    def on_signal(self, number: int) -> None:
        """Stop gracefully at the first, at once at the second."""
        if number == signal.SIGHUP:
            self._start_again("SIGHUP has come; the worker starts again with the code as it is now")
        elif number == signal.SIGUSR1:
            super().on_signal(number)
        elif self._stopped_by is None:
            self._stopped_by = number
            self._deadline = time.monotonic() + self._grace
            logger.info("%s stops the worker, which has %g s for the jobs in hand", _name(number), self._grace)
            self.leave(f"{_name(number)} has come")
        elif not self._interrupted:
            self._interrupt(f"{_name(number)} has come again")

    def at_limit(self, why: str) -> None:
        """Start again."""
        self._start_again(f"{why}; the worker starts again")

    def _start_again(self, why: str) -> None:
        self._starts_again = True
        self.leave(why)

    def turn(self, ready: Sequence[Any]) -> None:
        """See whether the time is over."""
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        if self._interrupted:
            os._exit(exit_status(self._stopped_by, graceful=False))
        self._interrupt(f"the jobs in hand are not done within {self._grace:g} s")

    def _interrupt(self, why: str) -> None:
        """Ctrl+C, as programs have it."""
        self._interrupted = True
        self._deadline = time.monotonic() + INTERRUPTED_SECONDS
        jobs = "".join(f"; {job} goes back to its queue" for job in self.jobs.in_hand())
        logger.error("%s: the worker ends at once%s", why, jobs)
        self.signals.raise_in_main_thread(KeyboardInterrupt())


def exit_status(number: int | None, graceful: bool) -> int:
    """What shells expect: 0 after a graceful stop by SIGTERM, which is how services are stopped; else 128 and the
    signal, 130 for Ctrl+C.
    """
    if number is None or (number == signal.SIGTERM and graceful):
        return 0
    return 128 + number


def _name(number: int) -> str:
    return signal.Signals(number).name
