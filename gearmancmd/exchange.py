"""The connections of a client, which any number of threads use at once.

One lock guards all that is written here and in the jobs. Of the threads that wait for an answer one at a time reads,
without the lock while it sleeps in poll(), and moves the jobs of all of them on; the others wait for it to say that
something changed. When its own job is done, another takes its place. A Bell wakes the reader when a connection was
opened, or has more to send than the kernel took.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Sequence

from gearman.errors import ConnectionError as GearmanConnectionError
from gearman.errors import ProtocolError

from .address import Address
from .connection import CONNECT_TIMEOUT, ServerConnection, open_socket
from .errors import JobTimeout, ServerUnavailable
from .guard import Guard
from .inflight import EXCEPTIONS, Inflight
from .mailbox import Bell
from .poll import LONGEST_WAIT
from .rota import Rota


class Line:
    """One server as a client sees it: a connection, while there is one, and what is in flight on it."""

    def __init__(self, address: Address) -> None:
        self.connection = ServerConnection(*address)
        self.inflight = Inflight(str(address))
        #: Held by the thread that opens the connection.
        self.opening = threading.RLock()  # Ctrl+C may leave it with its holder, who must not wait for itself
        self.fd = -1
        #: What poll() waits for on it.
        self.events = 0

    @property
    def connected(self) -> bool:
        """Whether it was, when something last happened on it."""
        return self.connection.connected

    def __str__(self) -> str:
        return str(self.connection)


class Exchange:
    """Lines to all servers, and the waiting for what comes over them."""

    def __init__(self, addresses: Sequence[Address], exceptions: bool) -> None:
        self.lines = [Line(address) for address in addresses]
        self._rota = Rota(self.lines)
        self._exceptions = exceptions
        self._guard = Guard(self._start_over)
        # The thread that reads. Ctrl+C may keep it from saying that it does no more: then it is itself again next time.
        self._reader: int | None = None
        self._closed = False
        self._bell = Bell()
        self._poller = self._new_poller()
        self._watched: dict[int, Line] = {}

    def line(self, deadline: float, unique: str | None = None) -> Line:
        """A line to a server that can be reached. ServerUnavailable when there is none."""
        with self._guard:
            order = self._rota.order(time.monotonic(), unique)
        failures = []
        for line in order:
            try:
                self.open(line, deadline)
            except ServerUnavailable as error:
                failures.append(str(error))
            else:
                return line
        raise ServerUnavailable("; ".join(failures))

    def open(self, line: Line, deadline: float) -> None:
        """Connect, unless it is. ServerUnavailable when the server cannot be reached by then."""
        with line.opening:
            with self._guard:
                self._check_open()
                if line.connected:
                    self._receive(line)  # the server may have gone away since
                if line.connected:
                    return
            self._connect(line, deadline)

    def _connect(self, line: Line, deadline: float) -> None:
        try:
            timeout = min(CONNECT_TIMEOUT, max(deadline - time.monotonic(), 0.001))
            opened = open_socket(line.connection.address, timeout)
        except OSError as error:
            with self._guard:
                self._rota.failed(line, time.monotonic())
            raise ServerUnavailable(f"no connection to {line}: {error}") from error
        with self._guard:
            if self._closed:
                opened.close()
            self._check_open()
            self._rota.reached(line)
            line.connection.adopt(opened)
            line.fd = opened.fileno()
            self._watched[line.fd] = line
            self._watch(line)
            if self._exceptions:
                self._write(line, EXCEPTIONS)

    def send(self, line: Line, request: Callable[[Inflight], bytes], deadline: float) -> None:
        """Send what `request` returns, which puts it down as in flight, and wait until the kernel has it.

        Whatever is on a line that is lost is told so: nothing is sent twice. JobTimeout when the server does not read.
        """
        with self._guard:
            self._check_open()
            data = request(line.inflight)
            if line.connected:
                self._write(line, data)
            else:
                line.inflight.lost("the connection was lost")
        if line.connection.writable() and not self.wait(lambda: not line.connection.writable(), deadline):
            raise JobTimeout(f"{line} did not take the data in time")

    def wait(self, ready: Callable[[], object], deadline: float) -> bool:
        """True as soon as `ready()` is, which is called with the lock held; False when it is not by `deadline`."""
        while True:
            with self._guard:
                if ready():
                    return True
                self._check_open()
                left = min(deadline - time.monotonic(), LONGEST_WAIT)
                if left <= 0:
                    return False
                if self._reader not in {None, threading.get_ident()}:
                    self._guard.pause(left)
                    continue
                self._reader = threading.get_ident()
            self._read(left)

    def _read(self, left: float) -> None:
        """Be the reader once."""
        events = []
        try:
            events = self._poller.poll(left * 1000 + 1)
        finally:
            with self._guard:
                if self._reader == threading.get_ident():  # else all was begun anew meanwhile
                    self._reader = None
                for fd, _ in events:
                    self._attend(fd)
                self._guard.notify()

    def look(self) -> None:
        """Take in what has arrived, without waiting for anything."""
        with self._guard:
            for line in self.lines:
                if line.connected:
                    self._receive(line)

    def close(self) -> None:
        """Close all connections; whoever waits gets ServerUnavailable."""
        with self._guard:
            self._closed = True
            for line in self.lines:
                self._lose(line, "the client was closed")

    # What follows is called with the lock held.

    def _new_poller(self) -> select.poll:
        poller = select.poll()
        poller.register(self._bell.fileno(), select.POLLIN)
        return poller

    def _start_over(self) -> None:
        """A thread was broken off in the middle of a change: nothing on any line can be relied on."""
        self._reader = None
        self._poller = self._new_poller()
        self._watched.clear()
        for line in self.lines:
            self._drop(line, "Ctrl+C broke off what was done with it")
        self._bell.insist()
        self._guard.notify()

    def _check_open(self) -> None:
        if self._closed:
            raise ServerUnavailable("the client was closed")

    def _attend(self, fd: int) -> None:
        line = self._watched.get(fd)
        if line is not None:
            self._flush(line)
            self._receive(line)
        elif fd == self._bell.fileno():
            self._bell.answer()

    def _receive(self, line: Line) -> None:
        if not line.connected:
            return
        try:
            received = line.connection.receive()
        except (GearmanConnectionError, ProtocolError) as error:
            self._lose(line, error)
            return
        line.inflight.receive(received)
        if received and self._reader is not None:  # not by the reader, then: what it waits for may be among this
            self._wake()

    def _write(self, line: Line, data: bytes) -> None:
        line.connection.write(data)
        self._flush(line)

    def _flush(self, line: Line) -> None:
        if not line.connection.writable():
            return
        try:
            line.connection.flush()
        except GearmanConnectionError as error:
            self._lose(line, error)
        else:
            self._watch(line)

    def _watch(self, line: Line) -> None:
        events = select.POLLIN | (select.POLLOUT if line.connection.writable() else 0)
        if events != line.events:
            line.events = events
            self._poller.register(line.fd, events)
            if self._reader is not None:
                self._wake()

    def _lose(self, line: Line, why: object) -> None:
        if self._watched.pop(line.fd, None) is not None:
            self._poller.unregister(line.fd)
        self._drop(line, why)
        self._wake()

    def _drop(self, line: Line, why: object) -> None:
        line.fd, line.events = -1, 0
        line.connection.close()
        line.inflight.lost(why)

    def _wake(self) -> None:
        self._bell.ring()
        self._guard.notify()
