"""One job server through all its outages, as the loop sees it."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

from gearman import protocol as kinds
from gearman.errors import GearmanError

from .. import arguments
from .._wire.connection import ServerConnection
from .._wire.packet import pack, to_wire
from .._wire.reconnect import Attempt, Outage
from .grabs import NEVER, ServerGrabs
from .receipt import Acknowledgement, Receipt

#: What a poll tells of the end of a connection; only Linux has POLLRDHUP, which tells of it before all is read.
_HUNG_UP = getattr(select, "POLLRDHUP", 0)
GONE = select.POLLHUP | select.POLLERR | _HUNG_UP

#: What a poll is to tell of a connection at all times.
READABLE = select.POLLIN | _HUNG_UP

#: Errors that are about a WORK packet or an option, and never about a submission.
_NOT_OF_SUBMISSIONS = {"JOB_NOT_FOUND", "UNKNOWN_OPTION"}

#: Seconds for the last answers to leave and for the servers to take them.
HANG_UP_SECONDS = 2.0


class Server:
    """Connecting to it, being connected, waiting to connect again. `grabs` is its place among the grabs while it is
    connected, else None.
    """

    def __init__(self, connection: object, max_payload: int) -> None:
        if not isinstance(connection, ServerConnection):
            raise TypeError(f"connection_class must be a gearmancmd ServerConnection, not {type(connection).__name__}")
        connection.limit(arguments.count(max_payload, "max_payload"))
        self.connection = connection
        self.grabs: ServerGrabs | None = None
        self._receipts: list[Receipt] = []
        #: Of jobs that were submitted here, in the order in which the server acknowledges them.
        self._submissions: deque[Acknowledgement] = deque()
        self._attempt: Attempt | None = None
        self._attempt_at = 0.0
        self._events = 0
        #: Whether nothing was heard from it since it was connected.
        self.silent = True
        self._outage = Outage(str(connection))

    def __str__(self) -> str:
        return str(self.connection)

    # Connecting.

    def due(self) -> float:
        """When the next attempt to connect is to begin."""
        return NEVER if self.grabs is not None or self._attempt is not None else self._attempt_at

    def connect(self, done: Callable[[Attempt], None]) -> None:
        """Try to connect, and have `done` called from another thread."""
        self._attempt = Attempt(self.connection.address, done)
        self._attempt.start()

    def connected(self, opened: socket.socket, grabs: ServerGrabs) -> None:
        """The attempt has brought a socket."""
        self._attempt = None
        self.grabs = grabs
        self.silent = True
        self.connection.adopt(opened)

    def greet(self, client_id: str | None, tasks: Iterable[str]) -> None:
        """What a new connection is told first: SET_CLIENT_ID, and a CAN_DO for each function, once: gearmand counts a
        second one as a second worker.
        """
        if client_id is not None:
            self.connection.write(pack(kinds.GEARMAN_COMMAND_SET_CLIENT_ID, to_wire(client_id)))
        for task in tasks:
            self.connection.write(pack(kinds.GEARMAN_COMMAND_CAN_DO, to_wire(task)))

    def heard(self) -> None:
        """The first packets arrived."""
        self.silent = False
        self._outage.heard()

    def failed(self, why: object, now: float) -> None:
        """It could not be reached, or the connection broke: the next attempt is due after a pause."""
        self._attempt = None
        self.grabs = None
        self._events = 0
        self._attempt_at = now + self._outage.failed(why)
        self.connection.close()
        self.give_up("its server was lost")

    def abandon_attempt(self) -> Attempt | None:
        """The worker ends: the attempt under way, which ends by itself within moments."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.abandon()
        return attempt

    # Sending.

    def flush(self, poll: select.poll) -> None:
        """Send what the kernel takes, and watch for what is left to do. gearman's ConnectionError."""
        sent = self.connection.flush()
        if sent and self._receipts:
            self.settle_receipts()
        self.watch(poll, READABLE if sent else READABLE | select.POLLOUT)

    def watch(self, poll: select.poll, events: int) -> None:
        """Have the poll wait for these events on the connection."""
        if events != self._events:
            poll.register(self.connection, events)
            self._events = events

    def pending(self) -> bool:
        """Whether a flush has something to do."""
        return self.connection.writable() or bool(self._receipts)

    def promise(self, receipt: Receipt) -> None:
        """Settle the receipt once all that was written so far has left; of a submission, once it is acknowledged."""
        if isinstance(receipt, Acknowledgement):
            self._submissions.append(receipt)
        else:
            self._receipts.append(receipt)

    def acknowledge(self, handle: bytes) -> None:
        """The server has the job that was submitted first of those that wait."""
        if self._submissions:
            self._submissions.popleft().accept(handle)

    def refuse(self, code: str, text: str) -> bool:
        """The server sent ERROR; whether that was the answer to a submission."""
        if not self._submissions or code in _NOT_OF_SUBMISSIONS:
            return False
        self._submissions.popleft().refuse(f"{code}: {text}" if text else code)
        return True

    def settle_receipts(self, error: str = "") -> None:
        """All has left; or with an error, it never will."""
        receipts, self._receipts = self._receipts, []
        for receipt in receipts:
            receipt.settle(error)

    def give_up(self, error: str) -> None:
        """Nothing more will leave, and nothing be acknowledged."""
        self.settle_receipts(error)
        submissions, self._submissions = self._submissions, deque()
        for submission in submissions:
            submission.settle(error)


def hang_up(servers: Iterable[Server]) -> None:
    """Send what still waits, say that it was the last, and close when the server has closed too.

    A plain close() while a job is on its way here would reset the connection, and an answer that the server has not
    read yet would be lost with it. A server that does not react within HANG_UP_SECONDS is left all the same.
    """
    deadline = time.monotonic() + HANG_UP_SECONDS
    remaining = {server.connection.fileno(): server.connection for server in servers}
    poll = select.poll()
    for fd in remaining:
        poll.register(fd, select.POLLOUT)
    while remaining and (left := deadline - time.monotonic()) > 0:
        for fd, event in poll.poll(left * 1000):
            if not _part(remaining[fd], event, poll):
                poll.unregister(fd)
                remaining.pop(fd).close()
    for connection in remaining.values():
        connection.close()


def _part(connection: ServerConnection, event: int, poll: select.poll) -> bool:
    """One step towards the close; False when there is none left to take."""
    try:
        if not event & select.POLLOUT:
            return connection.discard_input()
        if connection.flush():
            connection.finish_writing()
            poll.modify(connection.fileno(), select.POLLIN)
    except (GearmanError, OSError):
        return False
    return True
