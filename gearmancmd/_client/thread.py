"""The thread that owns a client's sockets, and how other threads wait for what it brings.

Callers post orders to its waker and wait on a SimpleQueue of their own, so an exception that strikes a caller at any
line leaves nothing locked, and nobody else waits for that caller to do anything.
"""

from __future__ import annotations

import queue
import select
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from .._wire import fork, threads
from .._wire.address import Address
from .._wire.waker import Action, Waker
from ..errors import ServerUnavailable
from ..logs import logger
from .awaited import Awaited, Waiter
from .connections import FORKED, Connections

#: Seconds that close() waits for the thread.
CLOSE_SECONDS = 2.0

_CLOSED = "the client was closed"


class ClientThread:
    """Started with the first order, a daemon that does not keep its client alive."""

    def __init__(self, addresses: Sequence[Address], exceptions: bool, max_payload: int) -> None:
        self._make = partial(_Run, addresses, exceptions, max_payload)
        #: The run under way, under one key: a dict's setdefault() is one step, whoever comes first.
        self._runs: dict[str, _Run] = {}
        self._closed = False

    @property
    def running(self) -> bool:
        """Whether the thread has been started, in this process, and has not ended."""
        run = self._runs.get("")
        return run is not None and not run.ended.is_set

    def send(self, awaited: Awaited, packets: bytes, deadline: float, key: bytes | None = None) -> None:
        """Send packets to one of the servers: see :meth:`Connections.send`."""
        run = self._run()
        run.order(partial(run.connections.send, awaited, packets, deadline, key))

    def send_to(self, address: Address, awaited: Awaited, packets: bytes, deadline: float) -> None:
        """Send packets to this server and no other."""
        run = self._run()
        run.order(partial(run.connections.send_to, address, awaited, packets, deadline))

    def drop(self, awaited: Awaited) -> None:
        """Its caller gives it up."""
        awaited.drop()
        run = self._runs.get("")
        if run is not None and not awaited.ended:
            run.post(partial(run.connections.drop, awaited))

    def wait(self, awaited: Awaited, ready: Callable[[], object], deadline: float) -> bool:
        """True as soon as `ready()` is; False when it is not by `deadline`."""
        if ready():
            return True
        signal: queue.SimpleQueue[None] = queue.SimpleQueue()
        waiter = Waiter(ready, partial(signal.put, None))
        awaited.watch(waiter)
        try:
            while not ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                try:
                    signal.get(timeout=min(left, threads.LONGEST_WAIT_SECONDS))
                except queue.Empty:
                    self._check_running(awaited)
            return True
        finally:
            awaited.unwatch(waiter)

    def stop(self) -> None:
        """Close all connections, soon. Whoever waits, or comes later, gets ServerUnavailable."""
        self._closed = True
        run = self._runs.get("")
        if run is not None:
            run.post(run.stop)

    def close(self) -> None:
        """The same, and wait until it is done."""
        self.stop()
        run = self._runs.get("")
        if run is not None and run.running:
            run.ended.wait(CLOSE_SECONDS)

    def _run(self) -> _Run:
        if self._closed:
            raise ServerUnavailable(_CLOSED)
        run = self._runs.get("")
        if run is None or run.ended.is_set:
            if sys.is_finalizing():
                raise ServerUnavailable("the interpreter is shutting down")
            if run is not None:  # its thread failed
                self._runs.pop("", None)
            run = self._runs.setdefault("", self._make())
        if not run.running:
            threads.start("gearmancmd-client", run.main, run.failed)
        return run

    def _check_running(self, awaited: Awaited) -> None:
        """Nobody sees an order that came when the thread had just ended."""
        run = self._runs.get("")
        if (run is None or run.ended.is_set) and not awaited.ended:
            raise ServerUnavailable(_CLOSED if run is None else run.why)


class _Run:
    """The thread from its start to its end."""

    def __init__(self, addresses: Sequence[Address], exceptions: bool, max_payload: int) -> None:
        self.connections = Connections(addresses, exceptions, max_payload, self)
        self.running = False
        #: Why it ends, once it does.
        self.why = _CLOSED
        self.ended = threads.Latch()
        self._waker = Waker()
        self._poll = select.poll()
        self._stopping = False
        self._due = float("inf")
        #: Whoever takes it is the thread: two first callers may have started one each.
        self._token = threads.Once()
        fork.call_in_child(self._leave_parent)

    # From any thread.

    def post(self, action: Action) -> bool:
        """Have the thread call `action`; False when it has ended."""
        if self.ended.is_set:
            return False
        self._waker.post(action)
        return True

    def order(self, action: Action) -> None:
        """The same; ServerUnavailable when it has ended."""
        if not self.post(action):
            raise ServerUnavailable(self.why)

    def failed(self, error: Exception) -> None:
        """No thread can be started."""
        if self._token.take():
            self.why = f"no thread can be started for the client: {error}"
            self._end()

    # In the thread.

    def main(self) -> None:
        """Own the sockets until :meth:`stop`."""
        if not self._token.take():
            return
        self.running = True
        try:
            self._poll.register(self._waker, select.POLLIN)
            while not self._stopping:
                self._turn()
        except BaseException as error:
            self.why = f"the client's thread failed: {error!r}"
            logger.exception("the thread of a client failed; its next call starts another")
        finally:
            self._end()

    def stop(self) -> None:
        """Close all connections, and end."""
        self._stopping = True

    def watch(self, fd: int, events: int) -> None:
        """Wait for these events on a descriptor; for none at 0."""
        if events:
            self._poll.register(fd, events)
        else:
            self._poll.unregister(fd)

    def change(self) -> None:
        """Nothing is to be done: each turn ends with what there is to do."""

    def _turn(self) -> None:
        connections = self.connections
        due = self._due
        events = self._poll.poll(None if due == float("inf") else max(0.0, due - time.monotonic()) * 1000 + 1)
        now = time.monotonic()
        orders = False
        for fd, event in events:
            if fd == self._waker.fileno():
                orders = True
            else:
                connections.attend(fd, event, now)
        if orders:  # last: nothing is sent on a connection that is known to be gone
            self._waker.run()
        self._due = connections.act(now)

    def _leave_parent(self) -> None:
        """In a forked child: there is no thread, and the sockets are closed. The next call starts another run."""
        self.why = FORKED
        self.connections.close(FORKED)
        self.ended.set()

    def _end(self) -> None:
        self.connections.close(self.why)
        self.ended.set()
        self._waker.run()  # orders that came meanwhile fail at once
        self._waker.close()
