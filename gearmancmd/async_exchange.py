"""The connections of an asyncio client: what exchange.py is to threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gearman.errors import ProtocolError

from .address import Address
from .connection import CONNECT_TIMEOUT, tune
from .errors import ServerUnavailable
from .inflight import EXCEPTIONS, Inflight, Pending, StatusQuery
from .protocol import PacketReader
from .rota import Rota


class Waiting:
    """Lets coroutines wait for what an :class:`Inflight` moves on; mixed into a Pending or a StatusQuery."""

    _waiters: tuple[asyncio.Future[None], ...] = ()

    def changed(self) -> None:
        """Wake whoever waits."""
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, ready: Callable[[], object]) -> None:
        """Return when `ready()` is true."""
        while not ready():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters = (*self._waiters, waiter)
            await waiter


class AsyncPending(Waiting, Pending):
    """A job on its way."""


class AsyncStatusQuery(Waiting, StatusQuery):
    """A GET_STATUS on its way."""


class AsyncConnection(asyncio.Protocol):
    """One connection to a server and what is in flight on it. It is not opened again."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._reader = PacketReader()
        self._inflight = Inflight(server)
        self._writable = asyncio.Event()
        self._writable.set()
        self._why: object = "the server closed the connection"
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        tune(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Something arrived."""
        try:
            self._inflight.receive(self._reader.feed(data))
        except ProtocolError as error:
            self.lose(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """It was closed, here or by the server."""
        self.lose(exc or self._why)

    def pause_writing(self) -> None:
        """The server does not read fast enough."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._writable.set()

    @property
    def connected(self) -> bool:
        """Whether anything can be sent."""
        return self.transport is not None and not self.transport.is_closing()

    def send(self, request: Callable[[Inflight], bytes]) -> None:
        """Send what `request` returns, which puts it down as in flight."""
        data = request(self._inflight)
        if self.connected:
            assert self.transport is not None
            self.transport.write(data)
        else:
            self._inflight.lost(f"{self._server}: {self._why}")

    async def drained(self) -> None:
        """Return when little waits to be sent."""
        await self._writable.wait()

    def lose(self, why: object) -> None:
        """Close it, and say why to all that is in flight."""
        self._why = why
        if self.transport is not None:
            self.transport.abort()
        self._writable.set()
        self._inflight.lost(f"{self._server}: {why}")


class AsyncLine:
    """One server as a client sees it."""

    def __init__(self, address: Address, exceptions: bool) -> None:
        self._address = address
        self._exceptions = exceptions
        self._opening = asyncio.Lock()
        self._connection: AsyncConnection | None = None

    def __str__(self) -> str:
        return str(self._address)

    async def open(self) -> AsyncConnection:
        """The connection, opened when there is none. ServerUnavailable when the server cannot be reached."""
        async with self._opening:
            if self._connection is None or not self._connection.connected:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> AsyncConnection:
        loop = asyncio.get_running_loop()
        context = self._address.ssl_context() if self._address.tls else None
        opening = loop.create_connection(
            lambda: AsyncConnection(str(self)), self._address.host, self._address.port, ssl=context
        )
        try:
            _, connection = await asyncio.wait_for(opening, CONNECT_TIMEOUT)
        except asyncio.TimeoutError as error:
            raise ServerUnavailable(f"no connection to {self} within {CONNECT_TIMEOUT:g} s") from error
        except OSError as error:
            raise ServerUnavailable(f"no connection to {self}: {error}") from error
        if self._exceptions:
            connection.send(lambda inflight: EXCEPTIONS)
        return connection

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.lose("the client was closed")


class AsyncExchange:
    """Lines to all servers."""

    def __init__(self, addresses: Sequence[Address], exceptions: bool) -> None:
        self.lines = [AsyncLine(address, exceptions) for address in addresses]
        self._rota = Rota(self.lines)
        self._closed = False

    async def line(self, unique: str | None = None) -> tuple[AsyncLine, AsyncConnection]:
        """A server that can be reached, and its connection. ServerUnavailable when there is none."""
        self.check_open()
        failures = []
        for line in self._rota.order(time.monotonic(), unique):
            try:
                connection = await line.open()
            except ServerUnavailable as error:
                self._rota.failed(line, time.monotonic())
                failures.append(str(error))
            else:
                self._rota.reached(line)
                self.check_open()
                return line, connection
        raise ServerUnavailable("; ".join(failures))

    def check_open(self) -> None:
        """ServerUnavailable once the client is closed."""
        if self._closed:
            self.close()
            raise ServerUnavailable("the client was closed")

    def close(self) -> None:
        """Close all connections; whoever waits gets ServerUnavailable."""
        self._closed = True
        for line in self.lines:
            line.close()
