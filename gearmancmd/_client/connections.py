"""The connections of a client to its job servers, and what waits for them.

They have one owner, the client's thread or its event loop, which makes every call here. The owner watches the sockets
and the clock; other threads reach it by :meth:`Owner.post` alone. No call blocks.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from gearman.errors import GearmanError

from .._wire.address import Address
from .._wire.connection import ServerConnection
from .._wire.opening import CONNECT_TIMEOUT
from .._wire.reconnect import Attempt
from .._wire.waker import Action
from ..errors import ServerUnavailable
from .awaited import Awaited
from .inflight import ACKNOWLEDGEMENT_SECONDS, EXCEPTIONS, Inflight
from .servers import ServerChoice

#: Seconds after which a server that owes an acknowledgement, and has said nothing at all since, counts as lost.
MUTE_SECONDS = 60.0

#: Why a call ends in a child that was forked in the middle of it.
FORKED = "this process was forked from one in which the call was made"

_NEVER = float("inf")


class Owner(Protocol):
    """What the connections need of whoever owns them."""

    def post(self, action: Action) -> bool:
        """Have the owner call `action`. From any thread. False when it ended, and never will."""

    def watch(self, fd: int, events: int) -> None:
        """Call :meth:`Connections.attend` when one of these poll() events happens to `fd`; none at 0."""

    def change(self) -> None:
        """Call :meth:`Connections.act` behind what is under way."""


class Request:
    """What is to be sent, to the first of some servers that can be reached."""

    __slots__ = ("awaited", "deadline", "failures", "packets", "servers", "until")

    def __init__(self, awaited: Awaited, packets: bytes, servers: Iterable[Server], deadline: float) -> None:
        self.awaited = awaited
        self.packets = packets
        #: Those that are left to be tried.
        self.servers = deque(servers)
        self.deadline = deadline
        #: When the next server is tried.
        self.until = _NEVER
        self.failures: list[str] = []

    def wait(self, now: float) -> None:
        """Wait for a connection to the first of the servers: each may take its share of the time that is left. Where
        that is much, the attempt ends first and says why.
        """
        self.until = now + min(CONNECT_TIMEOUT + 1.0, (self.deadline - now) / len(self.servers))

    def pass_over(self, why: str) -> None:
        """The first of the servers cannot be reached."""
        self.servers.popleft()
        self.failures.append(why)


class Server:
    """One job server as a client sees it: a connection, while there is one, and what is in flight on it."""

    def __init__(self, address: Address, max_payload: int) -> None:
        self.address = address
        self.connection = ServerConnection(*address)
        self.connection.limit(max_payload)
        self.inflight = Inflight(str(address))
        #: The attempt to connect that is under way, and the requests that wait for it.
        self.attempt: Attempt | None = None
        self.waiting: list[Request] = []
        self._mute_at = _NEVER
        self._fd = -1
        self._events = 0

    @property
    def connected(self) -> bool:
        """Whether it was, when something last happened."""
        return self.connection.connected

    def connect(self, owner: Owner, done: Callable[[Attempt], object]) -> None:
        """Try to connect, unless that is under way: at most one look-up of a name waits for its answer."""
        if self.attempt is None:
            self.attempt = Attempt(self.address, lambda attempt: self._hand_over(owner, done, attempt))
            self.attempt.start()

    def _hand_over(self, owner: Owner, done: Callable[[Attempt], object], attempt: Attempt) -> None:
        """In the thread of the attempt."""
        if not owner.post(partial(done, attempt)) and attempt.socket is not None:
            attempt.socket.close()

    def open(self, opened: socket.socket) -> int:
        """Take over a connected socket; its descriptor."""
        self.connection.adopt(opened)
        self._fd = opened.fileno()
        return self._fd

    def close(self, owner: Owner, why: object) -> int:
        """The connection is at its end: what is in flight is told why. The descriptor that it had, or -1."""
        fd = self._fd
        if fd >= 0:
            self.watch(owner, 0)
            self._fd = -1
            self.connection.close()
        self.inflight.lost(why)
        return fd

    def take_waiting(self) -> list[Request]:
        """The requests that waited; the attempt has ended."""
        waiting, self.waiting = self.waiting, []
        self.attempt = None
        return waiting

    def take_late(self, now: float) -> list[Request]:
        """The requests that wait no longer for this server."""
        late = [request for request in self.waiting if request.until <= now]
        if late:
            self.waiting = [request for request in self.waiting if request.until > now]
        return late

    def abandon(self) -> list[Request]:
        """Give the attempt up; the requests that waited for it."""
        if self.attempt is not None:
            self.attempt.abandon()
        return self.take_waiting()

    def due(self) -> float:
        """When something is to be done by itself."""
        due = self.inflight.due()
        if self.waiting:
            due = min(due, *(request.until for request in self.waiting))
        return min(due, self._mute_at) if self.inflight.owing else due

    def watch(self, owner: Owner, events: int) -> None:
        """Have the owner wait for these events on the connection."""
        if events != self._events:
            self._events = events
            owner.watch(self._fd, events)

    def heard(self, now: float) -> None:
        """Something arrived, or the first of what it owes is sent."""
        self._mute_at = now + MUTE_SECONDS

    def mute(self, now: float) -> bool:
        """Whether it owes an acknowledgement, and has said nothing for too long."""
        return self.inflight.owing and now >= self._mute_at


class Connections:
    """All servers of a client."""

    def __init__(self, addresses: Sequence[Address], exceptions: bool, max_payload: int, owner: Owner) -> None:
        self._servers = [Server(address, max_payload) for address in addresses]
        self._choice = ServerChoice(self._servers)
        self._exceptions = exceptions
        self._owner = owner
        self._by_fd: dict[int, Server] = {}
        self._unsent: set[Server] = set()
        #: Why nothing is sent any more.
        self._closed = ""

    def send(self, awaited: Awaited, packets: bytes, deadline: float, key: bytes | None = None) -> None:
        """Send packets that `awaited` stands for to a server of the choice's; a failure is told to `awaited`."""
        self._place(Request(awaited, packets, self._choice.order(time.monotonic(), key), deadline))

    def send_to(self, address: Address, awaited: Awaited, packets: bytes, deadline: float) -> None:
        """The same to this server and no other."""
        servers = [server for server in self._servers if server.address == address]
        self._place(Request(awaited, packets, servers, deadline))

    def drop(self, awaited: Awaited) -> None:
        """Its caller gave it up."""
        for server in self._servers:
            server.inflight.drop(awaited)

    def close(self, why: str) -> None:
        """Close all connections: whoever waits, or comes later, gets ServerUnavailable."""
        self._closed = why
        for server in self._servers:
            self._lose(server, why)
            for request in server.abandon():
                request.awaited.fail(ServerUnavailable(why))

    # By the owner, when something happens.

    def attend(self, fd: int, events: int, now: float) -> None:
        """Something happened to a socket."""
        server = self._by_fd.get(fd)
        if server is None:
            return
        if events & ~select.POLLOUT:
            self._receive(server, now)
        if events & select.POLLOUT and server.connected:
            self._unsent.add(server)

    def look(self) -> None:
        """Take in what has arrived at connections that owe nothing, for a server may have gone away since it spoke."""
        now = time.monotonic()
        for server in self._servers:
            if server.connected and not server.inflight.owing:
                self._receive(server, now)

    def act(self, now: float) -> float:
        """Send what there is to send, and do what is due; when it has something to do again by itself."""
        for server in self._servers:
            if server.due() <= now:
                self._act_on(server, now)
        while self._unsent:  # a request that waited for one server in vain may just have been written to another
            self._flush(self._unsent.pop())
        return min([server.due() for server in self._servers])

    def _act_on(self, server: Server, now: float) -> None:
        server.inflight.act(now)
        for request in server.take_late(now):
            self._choice.failed(server, now)
            self._pass_over(server, request, "it did not answer in time")
        if server.mute(now):
            self._lose(server, f"{server.address} has not answered for {MUTE_SECONDS:g} s")

    # Requests.

    def _place(self, request: Request) -> None:
        """Write it, or let it wait for a connection to the first of its servers."""
        if request.awaited.dropped:
            return
        if self._closed or not request.servers:
            request.awaited.fail(ServerUnavailable(self._closed or "; ".join(request.failures)))
            return
        server = request.servers[0]
        if server.connected:
            self._write(server, request)
            return
        request.wait(time.monotonic())
        server.waiting.append(request)
        server.connect(self._owner, partial(self._connected, server))
        self._owner.change()

    def _write(self, server: Server, request: Request) -> None:
        now = time.monotonic()
        if not server.inflight.owing:
            server.heard(now)
        request.awaited.sent(server.address)
        server.inflight.add(request.awaited, now + ACKNOWLEDGEMENT_SECONDS if request.deadline == _NEVER else _NEVER)
        server.connection.write(request.packets)
        self._unsent.add(server)
        self._owner.change()

    def _pass_over(self, server: Server, request: Request, why: object) -> None:
        request.pass_over(f"no connection to {server.address}: {why}")
        self._place(request)

    # Servers.

    def _connected(self, server: Server, attempt: Attempt) -> None:
        """An attempt has ended."""
        if server.attempt is not attempt:
            if attempt.socket is not None:
                attempt.socket.close()
            return
        waiting = server.take_waiting()
        if attempt.socket is None:
            self._choice.failed(server, time.monotonic())
            for request in waiting:
                self._pass_over(server, request, attempt.error)
            return
        self._choice.reached(server)
        self._by_fd[server.open(attempt.socket)] = server
        server.watch(self._owner, select.POLLIN)
        if self._exceptions:
            server.connection.write(EXCEPTIONS)
        for request in waiting:
            self._place(request)

    def _receive(self, server: Server, now: float) -> None:
        try:
            received = server.connection.receive()
        except GearmanError as error:
            self._lose(server, error)
            return
        if received:
            server.heard(now)
            server.inflight.receive(received, now)

    def _flush(self, server: Server) -> None:
        if not server.connected:
            return
        try:
            sent = server.connection.flush()
        except GearmanError as error:
            self._lose(server, error)
        else:
            server.watch(self._owner, select.POLLIN if sent else select.POLLIN | select.POLLOUT)

    def _lose(self, server: Server, why: object) -> None:
        self._by_fd.pop(server.close(self._owner, why), None)
