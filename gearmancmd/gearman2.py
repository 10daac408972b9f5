"""python-gearman's own GearmanClient API, working on Python 3 by that library's extension points.

Its state machine and its job requests stay; replaced are the connection, the handler of packets, which takes what it
did not expect, and the loop, which followed no job to another server.
"""

from __future__ import annotations

import logging
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from gearman import protocol as packets
from gearman.client import GearmanClient
from gearman.client_handler import GearmanClientCommandHandler
from gearman.constants import JOB_COMPLETE, JOB_CREATED, JOB_FAILED
from gearman.errors import ProtocolError

from .address import Address, Server, parse_address, parse_addresses
from .connection import ServerConnection
from .encoder import JSONDataEncoder
from .errors import ServerUnavailable
from .inflight import number
from .outcome import said
from .poll import LONGEST_WAIT
from .protocol import Packet, pack, to_text, to_wire

logger = logging.getLogger("gearmancmd")


class ClientConnection(ServerConnection):
    """A ServerConnection with the methods that gearman's connection managers call."""

    def _reset_connection(self) -> None:
        super()._reset_connection()
        self._received: deque[Packet] = deque()

    def fileno(self) -> int:
        """What a poll watches."""
        assert self.gearman_socket is not None
        return self.gearman_socket.fileno()

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
                return kind, {name: value if name == "data" else _text(value) for name, value in named}
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
        self.flush()
        return 0


def _text(value: bytes) -> str:
    return to_text(value.rstrip(b"\0"))  # without the exceptions option a handle may end in a NUL byte


class ClientHandler(GearmanClientCommandHandler):
    """gearman's handler, which any packet that nobody waits for used to kill."""

    def __init__(self, connection_manager: Any = None) -> None:
        super().__init__(connection_manager=connection_manager)  # type: ignore[no-untyped-call]
        # Requests with the same unique have the same handle; gearmand sends each packet once for each of them.
        self._sharing: dict[str, deque[Any]] = {}

    def initial_state(self, exceptions: bool = True) -> None:
        """Ask for the workers' exceptions."""
        if exceptions:
            self.send_command(packets.GEARMAN_COMMAND_OPTION_REQ, option_name="exceptions")

    def recv_job_created(self, job_handle: str) -> bool:
        """The oldest submission is acknowledged."""
        if self.requests_awaiting_handles:
            request = self.requests_awaiting_handles[0]
            super().recv_job_created(job_handle)  # type: ignore[no-untyped-call]
            if not request.background:
                self._sharing.setdefault(job_handle, deque()).append(request)
        return True

    def recv_command(self, cmd_type: int, **cmd_args: Any) -> bool:
        """Handle one packet, and go on whatever it was."""
        for name in ("numerator", "denominator"):
            if name in cmd_args:
                cmd_args[name] = number(cmd_args[name])
        handle = cmd_args.get("job_handle")
        if cmd_type in _WORK:
            self._recv_work(cmd_type, handle or "", cmd_args)
        elif cmd_type in _ANSWERS or handle in self.handle_to_request_map:
            super().recv_command(cmd_type, **cmd_args)  # type: ignore[no-untyped-call]
        return True

    def _recv_work(self, cmd_type: int, handle: str, cmd_args: dict[str, Any]) -> None:
        sharing = self._sharing.get(handle)
        if not sharing:
            return
        request = sharing[0]
        sharing.rotate(-1)
        if request.state == JOB_CREATED:
            self.handle_to_request_map[handle] = request
            super().recv_command(cmd_type, **cmd_args)  # type: ignore[no-untyped-call]
        if cmd_type in _ENDS:
            sharing.pop()
            if not sharing:
                del self._sharing[handle]

    def decode_data(self, data: bytes) -> Any:
        """Data, warnings and exceptions: as text, where they cannot be decoded."""
        return said(data, self.connection_manager.data_encoder.decode)

    def recv_work_complete(self, job_handle: str, data: bytes) -> bool:
        """The job is done, unless its result cannot be decoded."""
        request = self.handle_to_request_map[job_handle]
        try:
            request.result = self.connection_manager.data_encoder.decode(data)
        except (ValueError, RecursionError) as error:
            request.state = JOB_FAILED
            request.exception = f"its result cannot be decoded: {error}"
        else:
            request.state = JOB_COMPLETE
        return True

    def recv_work_exception(self, job_handle: str, data: bytes) -> bool:
        """The job ended with it; gearman waited for a WORK_FAIL, which gearmand does not send."""
        request = self.handle_to_request_map[job_handle]
        request.exception = self.decode_data(data)
        request.state = JOB_FAILED
        return True

    def recv_error(self, error_code: str, error_text: str) -> bool:
        """An ERROR answers the oldest submission, unless it is about the option."""
        if error_code != "UNKNOWN_OPTION" and self.requests_awaiting_handles:
            request = self.requests_awaiting_handles.popleft()
            request.state = JOB_FAILED
            request.exception = f"{error_code}: {error_text}"
        return bool(self.connection_manager.on_gearman_error(error_code, error_text))


_ANSWERS = {packets.GEARMAN_COMMAND_JOB_CREATED, packets.GEARMAN_COMMAND_ERROR}
_ENDS = {
    packets.GEARMAN_COMMAND_WORK_COMPLETE,
    packets.GEARMAN_COMMAND_WORK_FAIL,
    packets.GEARMAN_COMMAND_WORK_EXCEPTION,
}
_WORK = _ENDS | {
    packets.GEARMAN_COMMAND_WORK_STATUS,
    packets.GEARMAN_COMMAND_WORK_DATA,
    packets.GEARMAN_COMMAND_WORK_WARNING,
}


class Gearman2Client(GearmanClient):
    """GearmanClient as python-gearman 2.x documents it, with str names, handles and uniques.

    Like that library's it is for one thread at a time.
    """

    connection_class = ClientConnection  # type: ignore[assignment]  # gearman allows a connection without a host
    command_handler_class = ClientHandler
    data_encoder: Any = JSONDataEncoder
    connection_list: list[ClientConnection]
    handler_initial_state: dict[str, Any]
    connection_to_handler_map: dict[ClientConnection, ClientHandler]

    def __init__(self, host_list: Iterable[Server] | None = None, exceptions: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.handler_initial_state = {"exceptions": exceptions}
        for address in parse_addresses(host_list or [], "servers"):
            self._add_address(address)

    def add_connection(self, hostport_tuple: Server) -> ClientConnection:
        """Add a server for the methods of gearman 2.x, in any of the forms that the constructor takes."""
        return self._add_address(parse_address(hostport_tuple))

    def _add_address(self, address: Address) -> ClientConnection:
        connection = self.connection_class(*address)
        self.connection_list.append(connection)
        return connection

    def establish_connection(self, current_connection: ClientConnection) -> ClientConnection:
        """Connect, unless it is; a connection that its server closed since it was used last is opened again."""
        if current_connection.connected:
            self.handle_connection_activity({current_connection}, set(), set())
        return super().establish_connection(current_connection)  # type: ignore[no-untyped-call,no-any-return]

    def poll_connections_until_stopped(
        self,
        submitted_connections: Iterable[ClientConnection],
        callback_fxn: Callable[[bool], bool],
        timeout: float | None = None,
    ) -> bool:
        """Send and receive until `callback_fxn(any_activity)` is false, which returns False, or for `timeout` seconds,
        which returns True. ServerUnavailable when no connection is left.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        going_on = callback_fxn(False)
        while True:
            connected = {each.fileno(): each for each in submitted_connections if each.connected}
            if not connected:
                raise ServerUnavailable(f"no connection to any of {', '.join(map(str, self.connection_list))}")
            left = None if deadline is None else deadline - time.monotonic()
            if not going_on or (left is not None and left <= 0):
                return going_on
            going_on = callback_fxn(self._attend(connected, left))

    def _attend(self, connected: dict[int, ClientConnection], timeout: float | None) -> bool:
        """Wait for the connections once, and let gearman handle what happens; whether anything did."""
        poller = select.poll()
        for fd, connection in connected.items():
            poller.register(fd, select.POLLIN | (select.POLLOUT if connection.writable() else 0))
        events = poller.poll((LONGEST_WAIT if timeout is None else min(timeout, LONGEST_WAIT)) * 1000 + 1)
        readable = {connected[fd] for fd, event in events if event & ~select.POLLOUT}
        writable = {connected[fd] for fd, event in events if event & select.POLLOUT}
        self.handle_connection_activity(readable, writable, set())
        return bool(events)

    def get_job_statuses(self, job_requests: Any, poll_timeout: float | None = None) -> Any:
        """The statuses of jobs that this client submitted. ServerUnavailable when the server of one was lost."""
        for request in job_requests:
            if request.job.connection not in self.connection_to_handler_map:
                raise ServerUnavailable(f"the connection that submitted {request.job.handle} was lost")
        return super().get_job_statuses(job_requests, poll_timeout)  # type: ignore[no-untyped-call]

    def on_gearman_error(self, error_code: str, error_text: str) -> bool:
        """A server refused something; True, for what follows it is worth reading."""
        logger.warning("a job server refused a request: %s: %s", error_code, error_text)
        return True


