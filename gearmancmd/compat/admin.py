"""python-gearman's GearmanAdminClient, which on Python 3 understood no answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from gearman import protocol as packets
from gearman.admin_client import DEFAULT_ADMIN_CLIENT_TIMEOUT
from gearman.admin_client import GearmanAdminClient as _GearmanAdminClient
from gearman.admin_client_handler import GearmanAdminClientCommandHandler
from gearman.errors import ConnectionError as GearmanConnectionError
from gearman.errors import GearmanError, ProtocolError

from .._wire.address import Server
from .._wire.packet import to_text
from ..errors import ServerUnavailable
from .connections import AdminConnection, ClientConnection, ServerConnections, left_until

# Sent behind every command: every server answers this one, with _UNKNOWN_JOB, for no handle is "-". The embedded server
# says nothing at all to a command that it does not know; the answer to this one then comes first.
_PROBE = "cancel job -\n"
_UNKNOWN_JOB = "ERR UNKNOWN_JOB"

# gearmand escapes nothing, so a client id may hold spaces.
_WORKER = re.compile(r"(\S+) (\S+) (.*?) :( .*)?")


class AdminHandler(GearmanAdminClientCommandHandler):
    """gearman's handler of what the server answers to admin commands, with errors for what it refuses."""

    def __init__(self, connection_manager: Any = None) -> None:
        super().__init__(connection_manager=connection_manager)  # type: ignore[no-untyped-call]
        #: Part of what a connection's owner asks of its handler: whether something is half said.
        self.broken = False
        #: Whether a command was sent and its answer not taken: what still comes is not the answer to the next command.
        self.unanswered = False
        self._probe_is_due = False

    def send_text_command(self, command_line: str) -> None:
        """Send one command, and the probe behind it. ValueError when it has more than one line."""
        if not command_line.isprintable():
            raise ValueError(f"an admin command must be one line of text, not {command_line!r}")
        self.unanswered = True
        super().send_text_command(command_line)  # type: ignore[no-untyped-call]
        if not command_line.startswith(packets.GEARMAN_SERVER_COMMAND_CANCEL_JOB):
            self.send_command(packets.GEARMAN_COMMAND_TEXT_COMMAND, raw_text=_PROBE)

    def send_echo_request(self, echo_string: str) -> None:
        """Send a packet that the server is to send back, and the probe behind it: the embedded server does not."""
        self.unanswered = True
        super().send_echo_request(echo_string)  # type: ignore[no-untyped-call]
        self.send_command(packets.GEARMAN_COMMAND_TEXT_COMMAND, raw_text=_PROBE)

    def pop_response(self) -> tuple[int | str, Any]:
        """The command and its answer, which is taken."""
        response: tuple[int | str, Any] = super().pop_response()  # type: ignore[no-untyped-call]
        self.unanswered = False
        return response

    def recv_command(self, cmd_type: int, **cmd_args: Any) -> bool:
        """Handle one line or packet, and go on with what is behind it."""
        super().recv_command(cmd_type, **cmd_args)  # type: ignore[no-untyped-call]
        return True

    def recv_echo_res(self, data: bytes) -> bool:
        """The answer to a ping."""
        self._probe_is_due = True
        return bool(super().recv_echo_res(to_text(data)))  # type: ignore[no-untyped-call]

    def recv_text_command(self, raw_text: str) -> bool:
        """One line of an answer. ProtocolError, saying what to do, when the server refuses the command."""
        if self._probe_is_due:
            self._probe_is_due = False
            return True
        command = self._sent_commands[0] if self._sent_commands else None
        is_cancel = command == packets.GEARMAN_SERVER_COMMAND_CANCEL_JOB
        server = self.connection_manager.current_connection
        if raw_text.startswith("ERR ") and "\t" not in raw_text and not is_cancel:
            raise ProtocolError(_refusal(server, command, raw_text))
        try:
            super().recv_text_command(raw_text)  # type: ignore[no-untyped-call]
        except (ProtocolError, ValueError) as error:
            raise ProtocolError(f"{server} does not answer {command!r} as gearmand does: {error}") from error
        self._probe_is_due = self.response_ready and not is_cancel
        return True

    def recv_server_status(self, raw_text: str) -> bool:
        """One line of the status: a dict with task, queued, running and workers. A task may hold tabs."""
        if raw_text == ".":
            return bool(super().recv_server_status(raw_text))  # type: ignore[no-untyped-call]
        task, *figures = raw_text.rsplit("\t", 3)
        queued, running, workers = map(int, figures)
        self._status_response.append({"task": task, "queued": queued, "running": running, "workers": workers})
        return True

    def recv_server_workers(self, raw_text: str) -> bool:
        """One line of the workers: a dict with file_descriptor, ip, client_id and tasks."""
        match = _WORKER.fullmatch(raw_text)
        if match is None:
            return bool(super().recv_server_workers(raw_text))  # type: ignore[no-untyped-call]
        descriptor, ip, client_id, tasks = match.groups(default="")
        worker = {"file_descriptor": descriptor, "ip": ip, "client_id": client_id, "tasks": tuple(tasks.split())}
        self._workers_response.append(worker)
        return True


def _refusal(server: object, command: str | int | None, answer: str) -> str:
    if command == packets.GEARMAN_SERVER_COMMAND_SHUTDOWN:
        return (
            f"{server} has no admin command 'shutdown' (Debian's gearmand is built without it), and goes on; "
            "to stop gearmand, send its process SIGTERM, or SIGUSR1 to let it finish its jobs"
        )
    if answer == _UNKNOWN_JOB:
        name = "ping" if command == packets.GEARMAN_COMMAND_ECHO_REQ else command
        return f"{server} does not know the admin command {name!r}: it is not gearmand"
    return f"{server} refuses {command!r}: {answer.removeprefix('ERR ')}"


class GearmanAdminClient(ServerConnections, _GearmanAdminClient):
    """GearmanAdminClient as python-gearman 2.x documents it, for one server and one thread at a time.

    Each command may take `poll_timeout` seconds in all, connecting included. ServerUnavailable when the server cannot
    be reached or is lost, gearman's InvalidAdminClientState when it does not answer in time, its ProtocolError when it
    refuses a command or, as the embedded server does with most, does not know it. The next command may be sent all
    the same.
    """

    connection_class: Any = AdminConnection
    command_handler_class = AdminHandler
    current_connection: ClientConnection
    _answer_by = math.inf

    def __init__(
        self, host_list: Iterable[Server] | None = None, poll_timeout: float | None = DEFAULT_ADMIN_CLIENT_TIMEOUT
    ) -> None:
        super().__init__(poll_timeout=poll_timeout)  # type: ignore[no-untyped-call]
        self.add_servers(host_list)
        if len(self.connection_list) != 1:
            raise GearmanError(f"host_list must name one server, not {host_list!r}")
        self.current_connection = self.connection_list[0]

    def establish_admin_connection(self) -> None:
        """Connect, unless it is; a command begins. ServerUnavailable."""
        self._answer_by = self.begin_call(self.poll_timeout)
        handler = self.connection_to_handler_map.get(self.current_connection)
        if handler is not None and handler.unanswered:
            self.handle_error(self.current_connection)
        try:
            self.establish_connection(self.current_connection)
        except GearmanConnectionError as error:
            raise ServerUnavailable(str(error)) from error
        self.current_handler = self.connection_to_handler_map[self.current_connection]

    def poll_connections_until_stopped(
        self,
        submitted_connections: Iterable[ClientConnection],
        callback_fxn: Callable[[bool], bool],
        timeout: float | None = None,
    ) -> bool:
        """Send and receive until the answer is there, for what connecting has left of the command's time."""
        return super().poll_connections_until_stopped(submitted_connections, callback_fxn, left_until(self._answer_by))

    def send_shutdown(self, graceful: bool = True) -> None:
        """Stop the server, after its running jobs with `graceful`. ProtocolError where gearmand is built without it."""
        self.establish_admin_connection()
        try:
            super().send_shutdown(graceful)  # type: ignore[no-untyped-call]
        except ServerUnavailable:
            pass  # it hung up without a word, as it was told

    def get_version(self) -> str:
        """What the server calls its version, such as "1.1.20"."""
        return _without_ok(super().get_version())  # type: ignore[no-untyped-call]

    def get_pid(self) -> str:
        """The server's process number, as a str."""
        return _without_ok(super().get_pid())  # type: ignore[no-untyped-call]


def _without_ok(answer: str) -> str:
    """What is behind the OK that gearmand puts in front of it."""
    return answer.removeprefix("OK ")
