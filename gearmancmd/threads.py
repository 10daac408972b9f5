"""Threads where Ctrl+C may come at any moment.

Only the main thread is interrupted, but at any bytecode: also inside Python's own threading module, whose locks then
stay locked for ever, and the other threads before them.
"""

from __future__ import annotations

import _thread
import threading


def start(thread: threading.Thread) -> None:
    """Start a thread, perhaps a moment after this returns.

    Broken off by Ctrl+C, Thread.start() raises "RuntimeError: release unlocked lock" (CPython 3.10 to 3.13), or leaves
    the new thread waiting for ever. So another thread calls it.
    """
    _thread.start_new_thread(thread.start, ())


def let_go(lock: threading.RLock) -> None:
    """Release a lock that the calling thread may hold: a ``with`` that was broken off may have left it locked."""
    try:
        while True:
            lock.release()
    except RuntimeError:
        pass  # now it holds it no more


class Signal:
    """Wakes one :meth:`wait`: the one that is under way, or else the next. Unlike a threading.Event it is one lock of
    the interpreter's, which cannot be broken off half-way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake it. Again has no further effect."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was set already

    def wait(self, timeout: float) -> bool:
        """Whether it was set, after waiting for up to `timeout` seconds."""
        return self._lock.acquire(timeout=timeout)
