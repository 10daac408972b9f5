"""Signals, handed to a thread that may do what a signal handler may not: take locks, log, and wait."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from .._wire.fork import close_in_child

#: What a worker, or a pool, hears.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

Handler = Callable[[int, FrameType | None], object]


def handle(numbers: Iterable[int], handler: Handler, in_child: Callable[[], object] = lambda: None) -> None:
    """Have signals call `handler` in this process, for which the main thread has to ask.

    A child that is forked here, by a command of a queue say, would inherit that: Process.terminate() and a Pool would
    wait for it in vain. It has Python's own handlers again, which end it at once, and calls `in_child`.
    """
    handled = tuple(numbers)
    blocked = threading.local()

    def block() -> None:
        # Python forgets a signal that comes before the child has begun. Blocked, it waits.
        blocked.before = signal.pthread_sigmask(signal.SIG_BLOCK, handled)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked.before)

    def restore() -> None:
        for number in handled:
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        in_child()
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore)
    for number in handled:
        signal.signal(number, handler)


class Signals:
    """The signals that have come, in their order: a thread polls :meth:`fileno`, and reads them.

    Python's wake-up descriptor tells of a signal at once, even while the main thread is in a call that takes long and
    runs no handler. A signal that this process was started to ignore, as SIGHUP is below nohup, stays ignored.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        self._receiver, self._sender = socket.socketpair()
        for end in self._receiver, self._sender:
            end.setblocking(False)
            close_in_child(end)
        #: What the next signal raises in the main thread, if it is to raise something.
        self._raised: BaseException | None = None
        handle(self._numbers, self._handle, _forget_descriptor)
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        # whoever started us by exec may have kept them waiting until now
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)

    def fileno(self) -> int:
        """Readable when a signal has come."""
        return self._receiver.fileno()

    def read(self) -> list[int]:
        """The signals that have come since."""
        try:
            return [number for number in self._receiver.recv(4096) if number in self._numbers]
        except BlockingIOError:
            return []

    def raise_in_main_thread(self, error: BaseException) -> None:
        """Have an exception interrupt the main thread, wherever it is, system calls that wait included."""
        main = threading.main_thread().ident
        assert main is not None
        self._raised = error
        signal.pthread_kill(main, self._numbers[0])

    def _handle(self, number: int, frame: Any) -> None:
        """What Python calls in the main thread: the descriptor has told of the signal already."""
        error, self._raised = self._raised, None
        if error is not None:
            raise error


def _forget_descriptor() -> None:
    """A forked child would tell its parent of its own signals."""
    signal.set_wakeup_fd(-1)
