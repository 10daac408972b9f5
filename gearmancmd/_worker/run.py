"""One run of a GearmanCMD: its background thread, whether it is to stop, and why it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from .._wire import fork
from .._wire.threads import Latch
from .thread import AttachedWorker, WorkerThread


class StopTrigger(Protocol):
    """Anything that can be asked whether it is set, such as threading.Event or multiprocessing.Event."""

    def is_set(self) -> bool:
        """Whether the worker is to stop."""


class Run:
    """One run(): whether it is to stop, and why it ends."""

    def __init__(self, trigger: StopTrigger | None, poll_timeout: float) -> None:
        self.trigger = trigger
        #: Seconds.
        self.poll_timeout = poll_timeout
        self.origin = fork.Origin()
        #: Whether stop() was called, and whether all of those calls were graceful.
        self.stopping = False
        self._graceful = True
        self._thread: WorkerThread | None = None
        self._before_end: Callable[[], object] = _nothing
        self._at_end: Callable[[], object] = _nothing
        #: Set when stop() was called.
        self._stopped = Latch()
        self._dispatcher = threading.get_ident()
        #: Set when all of it is over.
        self.ended = Latch()

    @property
    def thread(self) -> WorkerThread:
        """The background thread, once it is started."""
        assert self._thread is not None
        return self._thread

    def in_this_thread(self) -> bool:
        """Whether the calling thread is the one in run()."""
        return threading.get_ident() == self._dispatcher

    def at_end(self, before: Callable[[], object], after: Callable[[], object]) -> None:
        """Have something called before the background thread ends, and after that; again where it was broken off."""
        self._before_end = before
        self._at_end = after

    def start(self, worker: AttachedWorker) -> None:
        """Start the background thread."""
        self._thread = WorkerThread(worker, self.poll_timeout, self.origin)
        self._thread.start()
        if self.stopping:  # meanwhile, when there was no thread to be told
            self._thread.stop(self._graceful)

    def stop(self, graceful: bool) -> None:
        """Have it end; safe in a signal handler."""
        if not graceful:
            self._graceful = False
        self.stopping = True
        self._stopped.set()
        thread = self._thread
        if thread is not None:
            thread.stop(graceful)

    def stop_now(self) -> None:
        """Have it end, with no further job."""
        self.stop(graceful=False)

    def pause(self, seconds: float) -> bool:
        """Wait before another attempt at a command, or less if it is to stop. Whether that attempt is to be made: after
        a graceful stop it is.
        """
        while seconds > 0 and not self.over() and not self.stopping:
            self._stopped.wait(min(seconds, self.poll_timeout))
            seconds -= self.poll_timeout
        return not self.over()

    def no_pause(self) -> bool:
        """Whether it is to stop."""
        return self.stopping

    def over(self) -> bool:
        """Whether no further job is to begin. After a graceful stop the worker says so, when there are none.
        RuntimeError in a child that was forked meanwhile.
        """
        if self.trigger is not None and self.trigger.is_set():
            self.stop(graceful=False)
        if self.origin.forked:
            raise self.origin.error()
        return self.stopping and (not self._graceful or self._thread is None)

    def raise_failure(self) -> None:
        """What ended the background thread, if it was an exception."""
        if self._thread is not None:
            self._thread.raise_failure()

    def end(self) -> None:
        """Have what was answered sent, and wait until the thread is gone. May be called again."""
        self.stopping, self._graceful = True, False
        self._stopped.set()  # a thread that pauses makes no further attempt, however the run came to its end
        try:
            if not self.origin.forked:
                self._before_end()
        finally:
            try:
                if self._thread is not None:
                    self._thread.end()
            finally:
                self._at_end()


def _nothing() -> None:
    pass
