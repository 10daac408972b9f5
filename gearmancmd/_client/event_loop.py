"""An event loop that owns a client's sockets, and how coroutines wait for what they bring."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable, Sequence
from functools import partial

from .._wire import fork
from .._wire.address import Address
from .._wire.waker import Action
from .awaited import Awaited, Waiter
from .connections import FORKED, Connections


class ClientLoop:
    """The connections of a client in one event loop, in whose thread all is called but :meth:`post`."""

    def __init__(self, addresses: Sequence[Address], exceptions: bool, max_payload: int) -> None:
        self.connections = Connections(addresses, exceptions, max_payload, self)
        self._loop = asyncio.get_running_loop()
        self._events: dict[int, int] = {}
        self._acting = False
        self._timer: asyncio.TimerHandle | None = None
        self._forked = False
        fork.call_in_child(self._leave_parent)

    @property
    def runs_here(self) -> bool:
        """Whether it is the caller's event loop, of this process."""
        return self._loop is asyncio.get_running_loop() and not self._forked

    @property
    def running(self) -> bool:
        """Whether its event loop may still be used, in this process."""
        return not self._forked and not self._loop.is_closed()

    def post(self, action: Action) -> bool:
        """Have the loop call `action`. From any thread. False when it is closed, and never will."""
        try:
            self._loop.call_soon_threadsafe(self._order, action)
        except RuntimeError:
            return False
        return True

    def watch(self, fd: int, events: int) -> None:
        """Wait for these events on a descriptor; for none at 0."""
        before = self._events.pop(fd, 0)
        if events:
            self._events[fd] = events
        if not self.running:
            return
        for event, add, remove in (
            (select.POLLIN, self._loop.add_reader, self._loop.remove_reader),
            (select.POLLOUT, self._loop.add_writer, self._loop.remove_writer),
        ):
            if events & event and not before & event:
                add(fd, self._attend, fd, event)
            elif before & event and not events & event:
                remove(fd)

    def change(self) -> None:
        """Send what there is to send with the next turn of the loop: what many callers send leaves in one write."""
        if not self._acting:
            self._acting = True
            self._loop.call_soon(self._act)

    async def wait(self, awaited: Awaited, ready: Callable[[], object], deadline: float) -> bool:
        """True as soon as `ready()` is; False when it is not by `deadline`."""
        while not ready():
            if time.monotonic() >= deadline:
                return False
            await self._change(awaited, ready, deadline)
        return True

    def leave(self, why: str) -> None:
        """Close all connections: at once in this loop, or when it is closed; else soon."""
        if self._forked:
            return
        if self.runs_here or not self.post(partial(self._close, why)):
            self._close(why)

    def _leave_parent(self) -> None:
        """In a forked child: the event loop is the parent's, and so is what it watches the sockets with."""
        self._forked = True
        self.connections.close(FORKED)

    async def _change(self, awaited: Awaited, ready: Callable[[], object], deadline: float) -> None:
        """Wait until it is ready, or until `deadline`."""
        changed: asyncio.Future[None] = self._loop.create_future()
        waiter = Waiter(ready, partial(_settle, changed))
        awaited.watch(waiter)
        left = deadline - time.monotonic()
        timer = None if left == float("inf") else self._loop.call_later(left, _settle, changed)
        try:
            await changed
        finally:
            awaited.unwatch(waiter)
            if timer is not None:
                timer.cancel()

    def _close(self, why: str) -> None:
        self.connections.close(why)
        if self._timer is not None:
            self._timer.cancel()

    def _order(self, action: Action) -> None:
        action()
        self._act()

    def _attend(self, fd: int, event: int) -> None:
        self.connections.attend(fd, event, time.monotonic())
        self.change()

    def _act(self) -> None:
        self._acting = False
        now = time.monotonic()
        due = self.connections.act(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due < float("inf"):
            self._timer = self._loop.call_later(max(0.0, due - now), self._act)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
