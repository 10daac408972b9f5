"""One job server's connection: opening the socket, TLS, and the buffers on both sides.

It is a ``gearman.connection.GearmanConnection``, the extension point by which gearman's classes take another transport.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from gearman.connection import GearmanConnection
from gearman.constants import DEFAULT_GEARMAN_PORT
from gearman.errors import ConnectionError as GearmanConnectionError

from .address import Address
from .protocol import Packet, PacketReader

#: Seconds that opening a connection may take, for each address of a host name.
CONNECT_TIMEOUT = 5.0

#: Bytes asked of the kernel at a time, more than a TLS record holds, so that none stays behind decrypted; and when a
#: packet under way is known to be larger, up to the second figure.
RECEIVE_SIZE = 64 * 1024
LARGEST_RECEIVE = 4 * 1024 * 1024

# Seconds until an idle or mute peer is taken for dead: a first probe after 30, then three at 10 s. The same limit
# holds for data that nobody acknowledges: without it Linux would wait a quarter of an hour.
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000))


def open_socket(
    address: Address, timeout: float = CONNECT_TIMEOUT, on_attempt: Callable[[socket.socket], None] | None = None
) -> socket.socket:
    """A connected socket, TLS handshake done, that still blocks for up to `timeout` seconds. OSError when none answers.

    Every address that the host name has is tried, IPv6 and IPv4. `on_attempt` is given each socket before it
    connects, so that another thread can shut it down.
    """
    error: OSError | None = None
    for family, kind, proto, _, target in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
        attempt = _unconnected(address, family, kind, proto)
        try:
            if on_attempt is not None:
                on_attempt(attempt)
            attempt.settimeout(timeout)
            tune(attempt)
            attempt.connect(target)
            return attempt
        except OSError as failure:
            error = failure
            attempt.close()
        except BaseException:
            attempt.close()
            raise
    raise error or OSError(f"{address.host} has no address")


def _unconnected(address: Address, family: int, kind: int, proto: int) -> socket.socket:
    """A socket whose connect() shakes hands too, where TLS is wanted: so one shutdown() ends it at any point."""
    plain = socket.socket(family, kind, proto)
    if not address.tls:
        return plain
    try:
        return address.ssl_context().wrap_socket(plain, server_hostname=address.host)
    finally:
        plain.close()  # the TLS socket has taken the file descriptor over, unless it failed


def tune(opened: socket.socket) -> None:
    """Send small packets at once, and find out about a peer that is gone."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # Linux has them all, macOS some
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class ServerConnection(GearmanConnection):
    """A connection that never blocks once it is open, and can be opened again after it was lost.

    Incoming bytes go through a :class:`PacketReader`. Outgoing ones wait as the list of their pieces; a flush joins
    them once and then moves a window over the result, so a 64 MiB payload costs one copy however the kernel takes it.
    """

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_GEARMAN_PORT,
        keyfile: str | None = None,
        certfile: str | None = None,
        ca_certs: str | None = None,
    ) -> None:
        self.address = Address(host, port, keyfile, certfile, ca_certs)
        super().__init__(host, port, keyfile, certfile, ca_certs)  # type: ignore[no-untyped-call]
        self.use_ssl = self.address.tls

    def __str__(self) -> str:
        return str(self.address)

    def _reset_connection(self) -> None:
        self.connected = False
        self.gearman_socket: socket.socket | None = None
        self._reader = PacketReader()
        self._pieces: list[bytes] = []
        self._sending: bytes | memoryview = b""
        #: Whether a flush is under way, or was broken off by Ctrl+C: nobody knows then how much of it has left.
        self._torn = False

    def connect(self) -> None:
        """Open the connection, blocking for up to CONNECT_TIMEOUT seconds an address. gearman's ConnectionError."""
        if self.connected:
            self.throw_exception(message="connection already established")
        try:
            self.adopt(open_socket(self.address))
        except OSError as error:
            self.throw_exception(exception=error)

    def adopt(self, opened: socket.socket) -> None:
        """Take over a socket that :func:`open_socket` made."""
        self._reset_connection()
        opened.setblocking(False)
        self.gearman_socket = opened
        self.connected = True

    def receive(self) -> list[Packet]:
        """The packets that have arrived; none when the rest of one is still on its way. gearman's ConnectionError
        when the server is gone, its ProtocolError when it is no job server.
        """
        assert self.gearman_socket is not None
        size = max(RECEIVE_SIZE, min(self._reader.missing, LARGEST_RECEIVE))
        try:
            data = self.gearman_socket.recv(size)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return []
        except OSError as error:
            self.throw_exception(exception=error)
        if not data:
            self.throw_exception(message="the server closed the connection")
        return self._reader.feed(data)

    def write(self, data: bytes) -> None:
        """Add to what the next flush sends."""
        self._pieces.append(data)

    def writable(self) -> bool:
        """Whether anything waits to be sent."""
        return self.connected and bool(self._pieces or self._sending)

    def flush(self) -> bool:
        """Send what the kernel takes; True when nothing is left. gearman's ConnectionError when the server is gone."""
        assert self.gearman_socket is not None
        if self._torn:
            self.throw_exception(message="a write was broken off, and what follows would not be understood")
        self._torn = True
        while self._pieces or self._sending:
            if not self._sending:
                self._sending = b"".join(self._pieces)
                self._pieces.clear()
            try:
                sent = self.gearman_socket.send(self._sending)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                self.throw_exception(exception=error)
            self._sending = memoryview(self._sending)[sent:] if sent < len(self._sending) else b""
        self._torn = False
        return not self._sending

    def throw_exception(self, message: str | None = None, exception: Exception | None = None) -> None:
        """Mark the connection as lost and raise gearman's ConnectionError."""
        self.connected = False
        raise GearmanConnectionError(f"{self}: {exception or message}")
