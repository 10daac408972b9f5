"""The lock around what the threads of a client share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Guard:
    """A lock that finds out when its holder was broken off by Ctrl+C, which may happen at any bytecode: what it was
    about to change is half changed then. Whoever comes next has `mend` called first.

    It is held for a ``with`` block, and not again within.
    """

    def __init__(self, mend: Callable[[], None]) -> None:
        self._mend = mend
        self._changed = threading.Condition()
        #: Whether somebody is in the middle of a change.
        self._changing = False

    def __enter__(self) -> None:
        self._changed.acquire()
        if self._changing:
            self._mend()
        self._changing = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self._changing = False
        self._changed.release()

    def pause(self, seconds: float) -> None:
        """Let others have the lock, until one of them calls :meth:`notify` or for up to `seconds`."""
        self._changing = False
        self._changed.wait(seconds)
        self._changing = True

    def notify(self) -> None:
        """End all pauses."""
        self._changed.notify_all()
