"""Connections as python-gearman's clients use them, to servers that come and go, with waits that end in time.

gearman's classes take another transport through `connection_class` and the methods of their connection manager.
"""

from __future__ import annotations

import math
import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gearman import protocol as packets
from gearman.connection_manager import GearmanConnectionManager
from gearman.errors import ConnectionError as GearmanConnectionError
from gearman.errors import ProtocolError

from .._wire.address import Address, Server, parse_address, parse_addresses
from .._wire.connection import ServerConnection
from .._wire.opening import CONNECT_TIMEOUT
from .._wire.packet import Packet, PacketReader, pack, to_text, to_wire
from .._wire.reconnect import Attempt
from .._wire.threads import LONGEST_WAIT_SECONDS
from ..errors import ServerUnavailable


class ClientConnection(ServerConnection):
    """A ServerConnection with the methods that gearman's connection managers call."""

    #: Seconds that connect() may take, the look-up of the name included.
    connect_timeout = CONNECT_TIMEOUT
    #: Why it was lost or could not be opened, the last time.
    reason = "not connected"
    #: Whether something is being sent, or handled as it arrives: for ever, when an exception broke that off.
    broken = False

    def _reset_connection(self) -> None:
        super()._reset_connection()
        self.broken = False
        self._received: deque[Packet] = deque()

    def connect(self) -> None:
        """Open the connection. gearman's ConnectionError."""
        attempt = Attempt(self.address, lambda attempt: None, self.connect_timeout)
        try:
            attempt.start()
            ended = attempt.ended.wait(self.connect_timeout)
        except BaseException:
            attempt.abandon()
            raise
        if not ended:
            attempt.abandon()
        if not ended or isinstance(attempt.error, TimeoutError):
            self.throw_exception(message=f"it could not be reached within {self.connect_timeout:.2g} s")
        if attempt.socket is None:
            self.throw_exception(exception=attempt.error)
        else:
            self.adopt(attempt.socket)

    def throw_exception(self, message: str | None = None, exception: Exception | None = None) -> None:
        """Mark the connection as lost and raise gearman's ConnectionError."""
        self.reason = f"{self}: {exception or message}"
        super().throw_exception(message, exception)

    def readable(self) -> bool:
        """Whether anything can arrive."""
        return self.connected

    def read_data_from_socket(self, bytes_to_read: int = 0) -> None:
        """Take in what has arrived."""
        try:
            self._received.extend(self.receive())
        except ProtocolError as error:
            self.throw_exception(exception=error)

    def read_commands_from_buffer(self) -> None:
        """Nothing is left to do: packets are parsed as they arrive."""

    def read_command(self) -> tuple[int, dict[str, str | bytes]] | None:
        """The next packet: str for handles and the like, bytes for data."""
        while self._received:
            kind, values = self._received.popleft()
            names = packets.GEARMAN_PARAMS_FOR_COMMAND.get(kind)
            if names is not None:
                named = zip(names, values, strict=True)
                return kind, {name: value if name == "data" else text(value) for name, value in named}
        return None

    def send_command(self, cmd_type: int, cmd_args: dict[str, str | bytes]) -> None:
        """Add a packet to what is sent next."""
        names = packets.GEARMAN_PARAMS_FOR_COMMAND[cmd_type]
        values = (cmd_args[name] for name in names)
        self.write(pack(cmd_type, *(to_wire(value) if isinstance(value, str) else value for value in values)))

    def send_commands_to_buffer(self) -> None:
        """Nothing is left to do: packets are packed as they are written."""

    def send_data_to_socket(self) -> int:
        """Send what the kernel takes."""
        self.broken = True
        self.flush()
        self.broken = False
        return 0


def text(value: str | bytes) -> str:
    """A name or handle that came from a server, or from a user who has it as bytes; anything else as it is."""
    if isinstance(value, bytes):
        return to_text(value.rstrip(b"\0"))  # without the exceptions option a handle may end in a NUL byte
    return value


class AdminConnection(ClientConnection):
    """A ClientConnection for the admin protocol: lines of text, and packets between them."""

    def _reset_connection(self) -> None:
        super()._reset_connection()
        self._reader = AdminReader(self.max_payload)

    def send_command(self, cmd_type: int, cmd_args: dict[str, str | bytes]) -> None:
        """Add a line of text, or a packet, to what is sent next."""
        line = cmd_args.get("raw_text")
        if isinstance(line, str):
            self.write(to_wire(line))
        else:
            super().send_command(cmd_type, cmd_args)


class AdminReader(PacketReader):
    """Takes apart what a server answers to admin commands: a line counts as a packet of gearman's own kind for text."""

    _unread = b""

    def feed(self, data: bytes) -> list[Packet]:
        """The lines and packets that `data` completes, in order."""
        data, start = self._unread + data, 0
        found: list[Packet] = []
        while start < len(data):
            end = _end_of_packet(data, start) if data[start] == 0 else data.find(b"\n", start) + 1
            if not 0 < end <= len(data):
                break
            piece, start = data[start:end], end
            if piece[0]:
                found.append((packets.GEARMAN_COMMAND_TEXT_COMMAND, [piece.rstrip(b"\r\n")]))
            else:
                found.extend(super().feed(piece))
        self._unread = data[start:]
        return found


def _end_of_packet(data: bytes, start: int) -> int:
    body = start + packets.COMMAND_HEADER_SIZE
    return body + int.from_bytes(data[body - 4 : body], "big") if len(data) >= body else 0


def deadline_after(poll_timeout: object) -> float:
    """The time of the monotonic clock in `poll_timeout` seconds, checked; None is never."""
    if poll_timeout is None:
        return math.inf
    if isinstance(poll_timeout, bool) or not isinstance(poll_timeout, (int, float)):
        raise TypeError(f"poll_timeout must be a number of seconds or None, not {poll_timeout!r}")
    if math.isnan(poll_timeout):
        raise ValueError(f"poll_timeout must be a number of seconds or None, not {poll_timeout!r}")
    return time.monotonic() + poll_timeout


def left_until(deadline: float) -> float:
    """The seconds until then, as a poll_timeout."""
    return max(deadline - time.monotonic(), 0)


class ServerConnections(GearmanConnectionManager):
    """What is gearman's connection manager with a loop that keeps to its time-out, and waits for no dead server twice.

    One thread at a time may use it. Where an exception such as Ctrl+C's struck while a packet was being handled or a
    job submitted, that connection is given up at the next call: nobody knows how far it came.
    """

    connection_class: Any = ClientConnection
    connection_list: list[ClientConnection]
    connection_to_handler_map: dict[ClientConnection, Any]
    handler_to_connection_map: dict[Any, ClientConnection]
    # The end of the call that is under way, and the servers that it did not reach. Each call begins with its own: what
    # one left that was broken off does not bound the next.
    _deadline = math.inf
    _unreachable: frozenset[ClientConnection] = frozenset()

    def add_connection(self, hostport_tuple: Server) -> ClientConnection:
        """Add a server, in any of the forms that the constructor takes."""
        return self._add_address(parse_address(hostport_tuple))

    def add_ssl_connection(
        self, host: str, port: int, keyfile: str | None, certfile: str | None, ca_certs: str | None
    ) -> ClientConnection:
        """Add a server that speaks TLS."""
        files = {"keyfile": keyfile, "certfile": certfile, "ca_certs": ca_certs}
        return self.add_connection({"host": host, "port": port, **files})

    def add_servers(self, host_list: Iterable[Server] | None) -> None:
        """Add each server of a list, or none."""
        for address in parse_addresses(host_list or [], "host_list"):
            self._add_address(address)

    def _add_address(self, address: Address) -> ClientConnection:
        connection: ClientConnection = self.connection_class(*address)
        self.connection_list.append(connection)
        return connection

    def shutdown(self) -> None:
        """Close the connections. The next call opens what it needs again."""
        for connection in self.connection_list:
            self.handle_error(connection)

    def begin_call(self, poll_timeout: float | None) -> float:
        """What follows may take `poll_timeout` seconds: until the time that is returned, of the monotonic clock. A
        server that cannot be reached meanwhile is not tried again.
        """
        self._deadline, self._unreachable = deadline_after(poll_timeout), frozenset()
        return self._deadline

    def establish_connection(self, current_connection: ClientConnection) -> ClientConnection:
        """Connect, unless it is; a connection that its server closed since it was used last is opened again. gearman's
        ConnectionError.
        """
        self._give_up_broken(current_connection)
        if current_connection.connected:
            self.handle_connection_activity({current_connection}, set(), set())
        if current_connection.connected:
            return current_connection
        if current_connection in self._unreachable:
            raise GearmanConnectionError(current_connection.reason)
        share = (self._deadline - time.monotonic()) / len(
            self.connection_list
        )  # a dead server leaves the others theirs
        current_connection.connect_timeout = max(min(share, CONNECT_TIMEOUT), 0)
        try:
            return super().establish_connection(current_connection)  # type: ignore[no-untyped-call,no-any-return]
        except GearmanConnectionError:
            self._unreachable |= {current_connection}
            raise

    def poll_connections_until_stopped(
        self,
        submitted_connections: Iterable[ClientConnection],
        callback_fxn: Callable[[bool], bool],
        timeout: float | None = None,
    ) -> bool:
        """Send and receive until `callback_fxn(any_activity)` is false, which returns False, or for `timeout` seconds,
        which returns True. ServerUnavailable when something is waited for and no connection is left.
        """
        connections = list(submitted_connections)
        for connection in connections:
            self._give_up_broken(connection)
        deadline = self.begin_call(timeout)
        going_on = callback_fxn(False)
        if not going_on:
            return False
        while True:
            connected = {each.fileno(): each for each in connections if each.connected}
            if not connected:
                raise ServerUnavailable("; ".join(each.reason for each in connections) or "no server was named")
            left = deadline - time.monotonic()
            if not going_on or left <= 0:
                return going_on
            going_on = callback_fxn(self._attend(connected, left))

    def _attend(self, connected: Mapping[int, ClientConnection], seconds: float) -> bool:
        """Wait for the connections once, and let gearman handle what happens; whether anything did."""
        poller = select.poll()
        for fd, connection in connected.items():
            poller.register(fd, select.POLLIN | (select.POLLOUT if connection.writable() else 0))
        events = poller.poll(min(seconds, LONGEST_WAIT_SECONDS) * 1000 + 1)
        readable = {connected[fd] for fd, event in events if event & ~select.POLLOUT}
        writable = {connected[fd] for fd, event in events if event & select.POLLOUT}
        self.handle_connection_activity(readable, writable, set())
        return bool(events)

    def handle_read(self, current_connection: ClientConnection) -> None:
        """Take in what has arrived, and have it handled."""
        current_connection.broken = True
        super().handle_read(current_connection)  # type: ignore[no-untyped-call]
        current_connection.broken = False

    def _give_up_broken(self, connection: ClientConnection) -> None:
        handler = self.connection_to_handler_map.get(connection)
        if connection.connected and (handler is None or handler.broken or connection.broken):
            connection.reason = f"{connection}: a call was broken off, and what follows would not be understood"
            self.handle_error(connection)
