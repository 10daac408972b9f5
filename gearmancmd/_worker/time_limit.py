"""The limit of a command's time: an exception in the thread that runs it.

In the main thread a signal of the timer (SIGALRM) brings it, which also ends a sleep or a wait for a socket. In other
threads CPython raises it at the next line of Python, so a call into C must return first.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from .._wire import fork
from ..errors import CommandTimeout, leaves_worker
from ..logs import logger

T = TypeVar("T")

#: Seconds by which the kernel's timer may be off; if it is more, somebody else has set it.
TOLERANCE_SECONDS = 0.1

#: Seconds after which an alarm that came due during a command is delivered: a timer of 0 would be none.
_AT_ONCE_SECONDS = 1e-6


def timed_out(seconds: float) -> CommandTimeout:
    """What a command gets, and its client hears, after so many seconds."""
    return CommandTimeout(f"the command took longer than {seconds:g} s")


class TimeLimit:
    """One attempt's. It strikes once, and not while the thread is within ``with limit:``, which is for what must not be
    broken off half-way: then it strikes at the end of that.
    """

    def __init__(self, seconds: float, what: str, origin: fork.Origin) -> None:
        self.seconds = seconds
        self._what = what
        self._thread = threading.get_ident()
        self._origin = origin
        self._active = False
        self._held = 0
        self._due = False

    def __enter__(self) -> None:
        if threading.get_ident() == self._thread:
            self._hold()

    def __exit__(self, *raised: object) -> None:
        if threading.get_ident() == self._thread and self._release():
            raise self.error()

    def error(self) -> CommandTimeout:
        """What the command gets."""
        return timed_out(self.seconds)

    def start(self) -> None:
        """The command begins."""
        raise NotImplementedError

    def end(self) -> None:
        """The command has ended. May be called again, where that was broken off."""
        raise NotImplementedError

    def _hold(self) -> None:
        self._held += 1

    def _release(self) -> bool:
        """Whether it has come due meanwhile, and is to strike now."""
        self._held -= 1
        strikes = self._due and self._active and not self._held
        if strikes:
            self._active = False
        return strikes


class TimerLimit(TimeLimit):
    """In the main thread. It puts back what handler and timer there were."""

    def __init__(self, seconds: float, what: str, origin: fork.Origin) -> None:
        super().__init__(seconds, what, origin)
        self._before: Any = None
        self._timer_before = (0.0, 0.0)
        #: Between which moments its own timer was set.
        self._since = self._since_at_last = 0.0
        self._replaced = False
        self._set = False

    def start(self) -> None:
        """Set the timer."""
        self._before = signal.getsignal(signal.SIGALRM)
        self._since = self._since_at_last = time.monotonic()
        self._timer_before = signal.getitimer(signal.ITIMER_REAL)
        self._set = self._active = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._strike)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        self._since_at_last = time.monotonic()

    def end(self) -> None:
        """Put back what there was."""
        self._active = False
        if not self._set:
            return
        if not self._origin.forked:  # a child inherits the handler, and no timer
            self._look_at_timer()
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        if self._replaced:
            logger.warning("%s has set a timer of its own (SIGALRM), in place of that of its time limit", self._what)
        remaining, interval = self._timer_before
        left = max(remaining - (time.monotonic() - self._since), _AT_ONCE_SECONDS)
        self._set = False  # before that: what is due at once may raise something
        if remaining and not self._origin.forked:
            signal.setitimer(signal.ITIMER_REAL, left, interval)

    def _look_at_timer(self) -> None:
        """Whether the command has set it, or the handler."""
        least = time.monotonic() - self._since_at_last
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        most = time.monotonic() - self._since
        shortest, longest = self.seconds - most, max(0.0, self.seconds - least)
        ours = shortest - TOLERANCE_SECONDS <= left <= longest + TOLERANCE_SECONDS
        if not ours or signal.getsignal(signal.SIGALRM) != self._strike:
            self._replaced = True

    def _strike(self, signum: int, frame: FrameType | None) -> None:
        if not self._active or time.monotonic() - self._since < self.seconds - TOLERANCE_SECONDS:
            return  # then it is not our timer
        if self._held:
            self._due = True
        else:
            self._active = False
            raise self.error()


class ThreadLimit(TimeLimit):
    """In any other thread, by a thread that waits."""

    def __init__(self, seconds: float, what: str, origin: fork.Origin) -> None:
        super().__init__(seconds, what, origin)
        self._lock = threading.Lock()
        self._raised = False
        self._timer = threading.Timer(seconds, self._strike)
        self._timer.daemon = True

    def start(self) -> None:
        """Begin to wait."""
        self._active = True
        self._timer.start()

    def end(self) -> None:
        """Wait no more, and take back what has not been raised yet."""
        if self._origin.forked:
            return  # that thread is the parent's, and the lock may be
        self._timer.cancel()
        with self._lock:
            self._active = False
            if self._raised:
                _raise_in(self._thread, None)

    def _hold(self) -> None:
        if self._origin.forked:
            return
        with self._lock:
            super()._hold()  # as it begins, CPython raises what it has not raised yet: so not in the block

    def _release(self) -> bool:
        if self._origin.forked:
            return False
        with self._lock:
            return super()._release()

    def _strike(self) -> None:
        with self._lock:
            if not self._active:
                return
            if self._held:
                self._due = True
            else:
                self._active = False
                self._raised = True
                _raise_in(self._thread, CommandTimeout)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Have an exception raised in a thread; None takes back one that is not raised yet."""
    import ctypes  # noqa: PLC0415 - 5 ms that an import of the library need not wait for

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)


def time_limit(seconds: float, what: str, origin: fork.Origin) -> TimeLimit:
    """A limit for what this thread begins to do; `what` names it in a log line, `origin` tells of a fork."""
    main = threading.current_thread() is threading.main_thread()
    # a handler that Python has not set, it cannot put back
    if main and hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) is not None:
        return TimerLimit(seconds, what, origin)
    return ThreadLimit(seconds, what, origin)


def limited(limit: TimeLimit, call: Callable[[], T]) -> T:
    """What `call` returns. CommandTimeout, raised in it, when that takes too long."""
    try:
        try:
            limit.start()
            return call()
        finally:
            limit.end()
    except CommandTimeout as error:
        limit.end()  # it may have struck in the first one
        ending = error.__context__
        if ending is not None and leaves_worker(ending):
            raise ending from None  # it struck while Ctrl+C, or sys.exit(), was on its way out
        if error.args:
            raise
        raise limit.error() from error  # CPython has made it, of the class alone
    except BaseException:
        limit.end()
        raise
