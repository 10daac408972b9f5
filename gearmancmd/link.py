"""One job server through all its outages: dialling it, being connected, waiting to dial again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable

from gearman.protocol import GEARMAN_COMMAND_CAN_DO, GEARMAN_COMMAND_SET_CLIENT_ID

from . import threads
from .address import Address
from .backoff import Outage
from .connection import ServerConnection, open_socket
from .grabs import NEVER, Lane
from .job import WorkerJob
from .protocol import pack, to_wire

#: Seconds that an attempt to connect has to end when the worker ends.
LAST_MOMENTS = 0.5


class Dial(threading.Thread):
    """One attempt to connect, in a thread of its own: a name that does not resolve, or a host that drops packets,
    must not keep the jobs of the other servers waiting.
    """

    def __init__(self, address: Address, done: Callable[[Dial], None]) -> None:
        super().__init__(name=f"gearmancmd-dial-{address}", daemon=True)
        self.socket: socket.socket | None = None
        self.error: Exception | None = None
        self._address = address
        self._done = done
        self._attempt: socket.socket | None = None
        self._abandoned = False

    def run(self) -> None:
        """Connect, and report to `done`."""
        try:
            opened = open_socket(self._address, on_attempt=self._attempting)
            if self._abandoned:
                opened.close()
                return
            self.socket = opened
        except Exception as error:  # whatever it is, the engine must hear of it: it waits for nothing else
            self.error = error
        self._done(self)

    def _attempting(self, attempt: socket.socket) -> None:
        self._attempt = attempt
        if self._abandoned:
            raise ConnectionAbortedError("the worker was stopped")

    def abandon(self) -> None:
        """Nobody waits for the connection any more. Looking up a name cannot be cut short: that thread is a daemon,
        and ends when the resolver does.
        """
        self._abandoned = True
        deadline = time.monotonic() + LAST_MOMENTS
        while self.is_alive() and time.monotonic() < deadline:  # it may not have been started yet
            self._cut_short()
            self.join(timeout=0.01)
        if self.socket is not None:
            self.socket.close()

    def _cut_short(self) -> None:
        """End a connect() or a handshake; one that has yet to begin takes no notice, so once is not enough."""
        if self._attempt is not None:
            try:
                self._attempt.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # not yet connecting, or done


class Link:
    """A server as the engine sees it. `lane` is its place among the grabs while it is connected, else None."""

    def __init__(self, connection: object) -> None:
        if not isinstance(connection, ServerConnection):
            raise TypeError(
                f"connection_class must be a gearmancmd ServerConnection, not {type(connection).__name__}"
            )
        self.connection = connection
        self.lane: Lane | None = None
        #: Jobs that this connection holds and that are not answered.
        self.jobs: set[WorkerJob] = set()
        #: Those that wait until everything written so far has left.
        self.fences: list[threads.Signal] = []
        self.dial: Dial | None = None
        self.dial_at = 0.0
        self.events = 0
        #: Whether nothing was heard from it since it was connected.
        self.silent = True
        self._outage = Outage(str(connection))

    def due(self) -> float:
        """When it is to be dialled."""
        return NEVER if self.lane is not None or self.dial is not None else self.dial_at

    def start_dialling(self, done: Callable[[Dial], None]) -> None:
        """Try to connect, and have `done` called from another thread."""
        self.dial = Dial(self.connection.address, done)
        threads.start(self.dial)

    def connected(self, opened: socket.socket, lane: Lane) -> None:
        """The server accepted the connection."""
        self.dial = None
        self.lane = lane
        self.silent = True
        self.connection.adopt(opened)

    def greet(self, client_id: str | None, tasks: Iterable[str]) -> None:
        """What a new connection is told first: SET_CLIENT_ID, and a CAN_DO for each function, once: gearmand counts a
        second one as a second worker.
        """
        if client_id is not None:
            self.connection.write(pack(GEARMAN_COMMAND_SET_CLIENT_ID, to_wire(client_id)))
        for task in tasks:
            self.connection.write(pack(GEARMAN_COMMAND_CAN_DO, to_wire(task)))

    def heard(self) -> None:
        """The first packet arrived."""
        self.silent = False
        self._outage.heard()

    def failed(self, why: object, now: float) -> None:
        """It could not be dialled, or the connection broke. The server requeues what it held."""
        self.dial = None
        self.lane = None
        self.dial_at = now + self._outage.failed(why)
        self.abandon_jobs()
        self.release_fences()
        self.connection.close()

    def abandon_jobs(self) -> None:
        """The jobs go back to their queue with the connection."""
        for job in self.jobs:
            job.abandoned = True
        self.jobs.clear()

    def fence(self) -> threads.Signal:
        """What is set once everything written so far has left, or never will."""
        fence = threads.Signal()
        self.fences.append(fence)
        if self.lane is None:
            self.release_fences()
        return fence

    def release_fences(self) -> None:
        """Everything has left, or never will."""
        for fence in self.fences:
            fence.set()
        self.fences.clear()
