"""One job server's connection: the buffers on both sides of a socket.

It is a ``gearman.connection.GearmanConnection``, the extension point by which gearman's classes take another transport.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque

from gearman.connection import GearmanConnection
from gearman.constants import DEFAULT_GEARMAN_PORT
from gearman.errors import ConnectionError as GearmanConnectionError

from . import fork
from .address import Address, tls_reason
from .packet import MAX_PAYLOAD, Packet, PacketReader
from .reconnect import open_within

#: Bytes asked of the kernel at a time, more than a TLS record holds, so that none stays behind decrypted. A larger rest
#: of a packet goes straight into the packet's own buffer.
RECEIVE_SIZE = 64 * 1024

#: What a socket that does not block raises when it would.
NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ServerConnection(GearmanConnection):
    """A connection that never blocks once it is open, and can be opened again after it was lost. One thread owns it.

    Incoming bytes go through a :class:`PacketReader`. Outgoing ones wait as a list of pieces: the small ones are
    joined into one write, a large one is sent from where it stands, so that a payload of 64 MiB is not copied to be
    sent.
    """

    #: Bytes of a body that are kept; set by :meth:`limit`.
    max_payload = MAX_PAYLOAD

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
        fork.call_in_child(self._reset_connection)

    def __str__(self) -> str:
        return str(self.address)

    def _reset_connection(self) -> None:
        self.connected = False
        self.gearman_socket: socket.socket | None = None
        self._reader = PacketReader(self.max_payload)
        self._pieces: deque[bytes] = deque()
        self._unsent: memoryview | None = None
        #: Whether a flush is under way, or was broken off by Ctrl+C: nobody knows then how much of it has left.
        self._torn = False

    def limit(self, max_payload: int) -> None:
        """Read past what is larger, from the next connection on."""
        self.max_payload = max_payload
        if not self.connected:
            self._reset_connection()

    def connect(self) -> None:
        """Open the connection, blocking for up to CONNECT_TIMEOUT seconds, whatever the name server does. gearman's
        ConnectionError.
        """
        if self.connected:
            self.throw_exception(message="connection already established")
        try:
            self.adopt(open_within(self.address))
        except OSError as error:
            self.throw_exception(exception=error)
        except BaseException:
            self.close()
            raise

    def adopt(self, opened: socket.socket) -> None:
        """Take over a socket that an :class:`Attempt` or :func:`open_within` brought."""
        self._reset_connection()
        self.gearman_socket = opened
        self.connected = True

    def fileno(self) -> int:
        """What a poll watches."""
        assert self.gearman_socket is not None
        return self.gearman_socket.fileno()

    def receive(self) -> list[Packet]:
        """The packets that have arrived; none when the rest of one is still on its way. gearman's ConnectionError
        when the server is gone, its ProtocolError when it is no job server.
        """
        assert self.gearman_socket is not None
        reader = self._reader
        try:
            if reader.missing > RECEIVE_SIZE:
                count = self.gearman_socket.recv_into(reader.space())
                if count:
                    return reader.filled(count)
                self.throw_exception(message="the server closed the connection")
            data = self.gearman_socket.recv(RECEIVE_SIZE)
        except NOT_NOW:
            return []
        except OSError as error:
            self.throw_exception(exception=error)
        if not data:
            self.throw_exception(message="the server closed the connection")
        return reader.feed(data)

    def write(self, data: bytes) -> None:
        """Add to what the next flush sends."""
        self._pieces.append(data)

    def writable(self) -> bool:
        """Whether anything waits to be sent."""
        return self.connected and bool(self._pieces or self._unsent)

    def flush(self) -> bool:
        """Send what the kernel takes; True when nothing is left. gearman's ConnectionError when the server is gone."""
        assert self.gearman_socket is not None
        if self._torn:
            self.throw_exception(message="a write was broken off, and what follows would not be understood")
        self._torn = True
        try:
            while self._unsent or self._pieces:
                piece = self._unsent or self._next_write()
                sent = self.gearman_socket.send(piece)
                self._unsent = memoryview(piece)[sent:] if sent < len(piece) else None
        except NOT_NOW:
            self._unsent = memoryview(piece)
        except OSError as error:
            self.throw_exception(exception=error)
        self._torn = False
        return self._unsent is None

    def _next_write(self) -> bytes:
        """The next piece, and with it the small ones behind it."""
        pieces = self._pieces
        first = pieces.popleft()
        size = len(first)
        if not pieces or size > RECEIVE_SIZE:
            return first
        together = [first]
        while pieces and size + len(pieces[0]) <= RECEIVE_SIZE:
            together.append(pieces.popleft())
            size += len(together[-1])
        return b"".join(together)

    def finish_writing(self) -> None:
        """Say that what was sent was the last. OSError when the server is gone."""
        assert self.gearman_socket is not None
        # the system call alone: SSLSocket.shutdown() would end TLS on our side, and what still arrives is to be read
        socket.socket.shutdown(self.gearman_socket, socket.SHUT_WR)

    def discard_input(self) -> bool:
        """Read what has arrived, and forget it; whether more may come. OSError when the server is gone."""
        assert self.gearman_socket is not None
        try:
            return bool(self.gearman_socket.recv(RECEIVE_SIZE))
        except NOT_NOW:
            return True

    def throw_exception(self, message: str | None = None, exception: Exception | None = None) -> None:
        """Mark the connection as lost and raise gearman's ConnectionError."""
        self.connected = False
        if isinstance(exception, ssl.SSLError):
            message, exception = f"TLS failed: {tls_reason(exception)}", None
        raise GearmanConnectionError(f"{self}: {exception or message}")
