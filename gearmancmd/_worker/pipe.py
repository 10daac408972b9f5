"""The Pipe between the worker's loop and the dispatcher: jobs down, answers and reports up.

Both ends are threads of one process, so only what is small travels. A message down is a batch of jobs, each by number,
queue, handle and unique; the payloads stay behind in a dict that both threads share, and a job is begun by taking its
payload out (the claim check pattern). So a job that was not begun can be taken back. A message up says that answers
or reports stand ready, from the number that it names on. It is sent when nothing stood there before: answers that
follow each other quickly share a message, and none waits for the next command.

Neither end can block on the Pipe: there are two batches in it at most (see Loop), and one message up for each time that
the loop has emptied what stood ready.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from .._wire import fork
from .receipt import Receipt

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .._wire.connection import ServerConnection
    from .._wire.waker import Waker

#: Says that nothing will follow. Nothing else that crosses the Pipe holds this byte.
_END = b"\xff"

#: Bytes that one read takes. Above 128 KiB glibc would fetch the buffer from the system each time.
_READ_SIZE = 64 * 1024

_LENGTH = struct.Struct("!I")
_HEADER_SIZE = _LENGTH.size


class Assignment(NamedTuple):
    """A job as it travels: its number in this run, and what its server calls it. `queue` is gearman's function."""

    number: int
    queue: bytes
    handle: bytes
    unique: bytes


class Update(NamedTuple):
    """What is to be sent for a job: packets, in pieces; whether they end it; who waits for them to leave."""

    number: int
    packets: tuple[bytes, ...]
    ends: bool
    receipt: Receipt | None = None


#: The payloads of jobs that nobody has begun, each with the connection that it came by.
Payloads = dict[int, tuple["ServerConnection", bytes]]


def open_pipe(waker: Waker, origin: fork.Origin) -> tuple[LoopEnd, DispatcherEnd]:
    """The two ends of a new Pipe. The calling thread is the dispatcher."""
    from multiprocessing import Pipe  # noqa: PLC0415 - 3 ms that an import of the library need not wait for

    upper, lower = Pipe(duplex=True)
    fork.close_in_child(upper)
    fork.close_in_child(lower)
    payloads: Payloads = {}
    updates: deque[Update] = deque()
    return LoopEnd(upper, payloads, updates, origin), DispatcherEnd(lower, payloads, updates, waker, origin)


class LoopEnd:
    """The end of the loop's thread."""

    def __init__(self, connection: Connection, payloads: Payloads, updates: deque[Update], origin: fork.Origin) -> None:
        self._connection = connection
        self._fd = connection.fileno()
        self.payloads = payloads
        self.updates = updates
        self.origin = origin

    def fileno(self) -> int:
        """What a poll watches."""
        return self._fd

    def send_jobs(self, jobs: Iterable[Assignment]) -> None:
        """Hand a batch of jobs down; their payloads are in `payloads` already."""
        self._send(b"\0".join([b"%d\0%b\0%b\0%b" % job for job in jobs]))

    def send_end(self) -> None:
        """No job will follow."""
        self._send(b"")

    def receive(self) -> bool:
        """Take what has come, which says that updates stand ready; False when the dispatcher has ended."""
        try:
            messages = os.read(self._fd, 4096)
        except OSError:
            return False
        return bool(messages) and _END not in messages

    def close(self) -> None:
        """The loop has ended."""
        fork.keep_in_child(self._connection)
        self._connection.close()

    def _send(self, message: bytes) -> None:
        try:
            os.write(self._fd, _LENGTH.pack(len(message)) + message)
        except OSError:
            pass  # the dispatcher has ended, which the next poll shows


class DispatcherEnd:
    """The end of the thread that called run(). Other threads reach the loop by its waker."""

    def __init__(
        self,
        connection: Connection,
        payloads: Payloads,
        updates: deque[Update],
        waker: Waker,
        origin: fork.Origin,
    ) -> None:
        self.origin = origin
        #: Whether it is closed.
        self.over = False
        self._connection = connection
        self._fd = connection.fileno()
        self._payloads = payloads
        self._updates = updates
        self._waker = waker
        self._dispatcher = threading.get_ident()
        #: The beginning of a message that has not arrived whole.
        self._rest = b""
        #: Whether no job will follow.
        self._no_more = False
        #: Whether an update is being announced, or that was broken off.
        self._announcing = False
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def receive(self, seconds: float) -> list[Assignment] | None:
        """The jobs that have come, after waiting for up to `seconds`; None when no job will follow."""
        if self._no_more:
            return None
        if not self._poll.poll(seconds * 1000):
            return []
        try:
            data = os.read(self._fd, _READ_SIZE)
        except OSError:
            data = b""
        if not data:
            self._no_more = True
            return None
        data = self._rest + data
        jobs: list[Assignment] = []
        start, size = _HEADER_SIZE, len(data)
        while size >= start and size - start >= (length := _LENGTH.unpack_from(data, start - _HEADER_SIZE)[0]):
            if not length:
                self._no_more = True
                break
            fields = data[start : start + length].split(b"\0")
            jobs += map(Assignment, map(int, fields[::4]), fields[1::4], fields[2::4], fields[3::4])
            start += length + _HEADER_SIZE
        self._rest = data[start - _HEADER_SIZE :]  # a read may end within a message
        return jobs if jobs or not self._no_more else None

    def begin(self, number: int) -> tuple[ServerConnection, bytes] | None:
        """Begin a job: its connection and payload; None when the loop has taken it back."""
        return self._payloads.pop(number, None)

    def put(self, update: Update) -> None:
        """Have something sent for a job, from whatever thread. Nothing waits here, and nothing blocks. RuntimeError in
        a forked child.
        """
        if self.origin.forked:
            raise self.origin.error()
        updates = self._updates
        if threading.get_ident() != self._dispatcher:
            updates.append(update)
            self._waker.wake()
            return
        unsure, self._announcing = self._announcing, True
        updates.append(update)
        if unsure or len(updates) <= 1:
            os.write(self._fd, b"%d\n" % update[0])
        self._announcing = False

    def ask_for_more(self) -> None:
        """All that came was begun, and may go on for long: if there is more, the loop should look whether to send it.
        From any thread.
        """
        if self._payloads:
            self._waker.wake()

    def close(self) -> None:
        """The dispatcher has ended. Whoever inherited the Pipe does not hold it open: it is shut down."""
        self.over = True
        try:
            os.write(self._connection.fileno(), _END)
            with socket.socket(fileno=os.dup(self._connection.fileno())) as end:
                end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already, as it is in a forked child
        fork.keep_in_child(self._connection)
        self._connection.close()
