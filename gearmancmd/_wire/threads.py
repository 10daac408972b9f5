"""Threads where an exception of a signal handler, such as Ctrl+C's, may strike at any bytecode.

Only the main thread is struck, but also inside Python's own threading module, whose locks then stay locked for ever,
and the other threads before them.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

#: Seconds that a wait of the main thread should take at most where nothing else says how long: Python sees a signal
#: that arrives just before a system call, such as that of Ctrl+C, only when the call returns.
LONGEST_WAIT_SECONDS = 1.0


def start(name: str, target: Callable[[], None], failed: Callable[[Exception], None]) -> None:
    """Run `target` in a daemon thread; `failed` is called, from some thread, where none can be started.

    Broken off, Thread.start() raises "RuntimeError: release unlocked lock" (CPython 3.10 to 3.13), or leaves the new
    thread waiting for ever. So another thread calls it.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)

    def launch() -> None:
        try:
            thread.start()
        except Exception as error:
            failed(error)

    try:
        _thread.start_new_thread(launch, ())
    except (RuntimeError, MemoryError) as error:
        failed(error)


class Once:
    """Taken by whoever comes first, in whatever thread: in one step, which nothing breaks off half-way."""

    def __init__(self) -> None:
        self._token = [None]

    def take(self) -> bool:
        """Whether the caller is the first."""
        try:
            self._token.pop()
        except IndexError:
            return False
        return True


class Latch:
    """Once set it stays set, and any number of threads may wait for that.

    It is one lock of the interpreter's and no Condition: a wait that is broken off leaves nothing locked that another
    thread could not get past.
    """

    #: Seconds after which a wait looks again by itself: another one may have been broken off with the lock in its hand.
    SLICE = 0.5

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._is_set = False

    @property
    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """End all waits. Again has no further effect."""
        self._is_set = True
        self._pass_on()

    def wait(self, seconds: float) -> bool:
        """Whether it was set, after waiting for up to `seconds`."""
        while not self._is_set and seconds > 0:
            if self._lock.acquire(timeout=min(seconds, self.SLICE)):
                self._pass_on()
            seconds -= self.SLICE
        return self._is_set

    def _pass_on(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is free already
