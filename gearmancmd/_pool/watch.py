"""A thread beside a GearmanCMD's run(), which ends that gracefully: at a signal, or at a limit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any

from .._wire.threads import Once
from .._wire.waker import Waker
from .._worker.job import WorkerJob
from ..cmd import GearmanCMD
from ..hooks import Hooks
from ..job_log import LastFailure
from ..logs import logger
from .jobs import JobsInHand
from .limits import Limits
from .signals import SIGNALS, Signals
from .stacks import log_stacks

#: Seconds between two looks at what nobody tells the thread of.
TURN_SECONDS = 0.1

#: Seconds between two looks at the limits.
LIMITS_SECONDS = 1.0

#: Seconds for the thread's last words.
LAST_WORDS_SECONDS = 2.0


class Watch(Hooks):
    """Made in the main thread; :meth:`attach` it to a GearmanCMD before its run(). It may be told to leave before."""

    def __init__(self, limits: Limits) -> None:
        self.jobs = JobsInHand()
        self.last_failure = LastFailure()
        self.signals = Signals(SIGNALS)
        #: Of the thread: what is posted runs there.
        self.waker = Waker()
        self._limits = limits.splayed()
        self._gcmd: GearmanCMD | None = None
        self._began = self._looked = time.monotonic()
        self._first = Once()
        self._leaving = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gearmancmd-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def attach(self, gcmd: GearmanCMD) -> None:
        """Watch its jobs, and stop its run() where that is due."""
        gcmd.hooks = [*gcmd.hooks, self.jobs, self.last_failure, self]
        self._gcmd = gcmd

    def end(self) -> None:
        """Watch no more, and wait for the thread a little: it may have something to tell."""
        self.waker.post(self._ended.set)
        self._thread.join(LAST_WORDS_SECONDS)

    @property
    def leaving(self) -> bool:
        """Whether it takes no more jobs."""
        return self._leaving

    def leave(self, why: str) -> None:
        """Have run() end gracefully. `why` is for the log. From any thread; again has no further effect."""
        if not self._first.take():
            return
        logger.info("worker takes no more jobs: %s", why)  # before its end is logged
        self._leaving = True
        if self._gcmd is not None:
            self._gcmd.stop(graceful=True)

    # Hooks.

    def on_start(self) -> None:
        """Leave at once where that was said before there was a run() to stop."""
        if self._leaving and self._gcmd is not None:
            self._gcmd.stop(graceful=True)

    def on_job(self, job: WorkerJob, task: Any) -> None:
        """Leave with the last job: before it is answered, for the next one is asked for together with the answer."""
        why = self._limits.jobs_reached(self.jobs.begun)
        if why is not None:
            self.at_limit(why)

    # For subclasses: in the thread, but for at_limit().

    def at_limit(self, why: str) -> None:
        """A limit is reached; any thread may call this, and more than once."""
        self.leave(why)

    def on_signal(self, number: int) -> None:
        """A signal has come."""
        if number == signal.SIGUSR1:
            log_stacks(self.jobs.in_hand())
        elif number in (signal.SIGTERM, signal.SIGINT):
            self.leave(f"{signal.Signals(number).name} has come")

    def sources(self) -> list[Any]:
        """What ends the thread's wait, beside signals."""
        return []

    def turn(self, ready: Sequence[Any]) -> None:
        """Called after each wait, which takes a tenth of a second at most, with the sources that ended it."""

    # The thread.

    def _run(self) -> None:
        while not self._ended.is_set():
            sources: list[Any] = [self.signals, self.waker, *self.sources()]
            ready: list[Any] = wait(sources, TURN_SECONDS)
            if self.waker in ready:
                self.waker.run()
            for number in self.signals.read():
                self.on_signal(number)
            self.turn(ready)
            self._look_at_limits()

    def _look_at_limits(self) -> None:
        now = time.monotonic()
        if self._leaving or not self._limits.any or now - self._looked < LIMITS_SECONDS:
            return
        self._looked = now
        why = self._limits.reached(now - self._began, self.jobs.begun)
        if why is not None:
            self.at_limit(why)
