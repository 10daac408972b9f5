"""Wakes the thread that owns the sockets, and tells it what to do."""

from __future__ import annotations

import os
import queue
import select
import socket
import weakref
from collections.abc import Callable

from . import fork

Action = Callable[[], object]


class Waker:
    """Any thread, and any signal handler, may :meth:`post`; the owner polls :meth:`fileno` and calls :meth:`run`.

    There is no lock of ours: SimpleQueue is made to be used from signal handlers. The owner closes its end; the end
    that wakes is closed with the last reference, so that a late post cannot write to a descriptor that has become
    another's.

    RuntimeError where there is no select.poll, which the owners of sockets need.
    """

    def __init__(self) -> None:
        if not hasattr(select, "poll"):
            raise RuntimeError(
                "select.poll is missing, which gearmancmd needs: it is on Linux and macOS, unless something such as "
                "eventlet's monkey-patching has removed it"
            )
        self._actions: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        for end in self._receiver, self._sender:
            fork.close_in_child(end)
        weakref.finalize(self, self._sender.close)
        weakref.finalize(self, self._receiver.close).atexit = False  # its owner may poll it to the very end

    def fileno(self) -> int:
        """What a poll watches: readable when there is something to do."""
        return self._receiver.fileno()

    def post(self, action: Action) -> None:
        """Have the owner call `action`, soon and in the order of posts. Once it is closed, nobody does."""
        self._actions.put(action)
        self.wake()

    def wake(self) -> None:
        """End the owner's poll. Again, before it has ended, has no further effect."""
        try:
            self._sender.send(b"!")
        except OSError:
            pass  # thousands of wake-ups wait already, or the owner has ended

    def run(self) -> None:
        """The owner is awake: call what was posted."""
        try:
            os.read(self._receiver.fileno(), 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                action = self._actions.get_nowait()
            except queue.Empty:
                return
            action()

    def close(self, for_good: bool = False) -> None:
        """The owner polls no more; `for_good` when nobody will post any more either."""
        self._receiver.close()
        if for_good:
            self._sender.close()
