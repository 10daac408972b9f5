"""``gearmancmd run -p N``: a pool of processes, and what signals do to it."""

from __future__ import annotations

import signal
import threading
from multiprocessing.connection import wait
from typing import Any

import click

from .._pool.signals import SIGNALS, Signals
from .._pool.stacks import log_stacks
from ..errors import BootError
from ..logs import logger
from ..pool import WorkerPool, cores
from .failure import Failure, Misuse
from .single import exit_status


def number_of_processes(context: click.Context, option: click.Parameter, value: Any) -> int | None:
    """What -p asks for; None where it was not given."""
    if value == "auto":
        return cores()
    number: int | None = None if value is None else click.IntRange(min=1).convert(value, option, context)
    return number


class PoolSignals:
    """A thread that reads the signals, and tells the pool."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._signals = Signals(SIGNALS)
        #: The first signal that is to end it.
        self.stopped_by: int | None = None
        threading.Thread(target=self._run, name="gearmancmd-signals", daemon=True).start()

    def _run(self) -> None:
        sources: list[Any] = [self._signals]
        while True:
            wait(sources)
            for number in self._signals.read():
                self._take(number)

    def _take(self, number: int) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            logger.info("SIGHUP has come: the processes are replaced one by one, with the code as it is now")
            self._pool.restart()
        elif number == signal.SIGUSR1:
            log_stacks([])
            self._pool.log_stacks()
        elif self.stopped_by is None:
            self.stopped_by = number
            logger.info("%s stops the pool, which has %g s for the jobs in hand", name, self._pool.grace_seconds)
            self._pool.stop()
        else:
            logger.error("%s has come again: the pool ends at once, and the jobs in hand go back to their queues", name)
            self._pool.stop(graceful=False)


def run_pool(pool: WorkerPool) -> int:
    """Work; the exit status. Failure when no process can begin to work."""
    signals = PoolSignals(pool)
    try:
        graceful = pool.run()
    except BootError as error:
        kind = Failure if error.__cause__ is None else Misuse  # of what cannot be loaded there is a traceback
        raise kind(str(error)) from error.__cause__
    return exit_status(signals.stopped_by, graceful)
