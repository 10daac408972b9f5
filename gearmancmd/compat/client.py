"""python-gearman's GearmanClient: its job requests and its API stay; by its extension points the handler of packets is
replaced, which died of what it did not expect, and every wait that overran its time-out.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any

from gearman import protocol as packets
from gearman.client import RANDOM_UNIQUE_BYTES
from gearman.client import GearmanClient as _GearmanClient
from gearman.client_handler import GearmanClientCommandHandler
from gearman.constants import (
    JOB_COMPLETE,
    JOB_CREATED,
    JOB_FAILED,
    JOB_PENDING,
    JOB_UNKNOWN,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    PRIORITY_NONE,
)
from gearman.errors import ConnectionError as GearmanConnectionError
from gearman.errors import ExceededConnectionAttempts
from gearman.errors import ServerUnavailable as GearmanServerUnavailable

from .. import arguments
from .._client.result import said
from .._wire.address import Server
from .._wire.packet import number
from ..encoder import TextDataEncoder
from ..errors import ServerUnavailable
from ..logs import logger
from .connections import ClientConnection, ServerConnections, deadline_after, left_until, text


class ClientHandler(GearmanClientCommandHandler):
    """gearman's handler of one connection's packets, which any packet that nobody waits for used to kill."""

    def __init__(self, connection_manager: Any = None) -> None:
        super().__init__(connection_manager=connection_manager)  # type: ignore[no-untyped-call]
        #: Whether something is half said: for ever, when an exception broke it off.
        self.broken = True
        # Requests with the same unique have the same handle; gearmand sends each packet once for each of them. Whoever
        # dropped a request waits for it no more, but its packets still come.
        self._sharing: dict[str, deque[weakref.ref[Any]]] = {}
        # The warning that was the last thing heard of a job: right before WORK_FAIL it is the reason.
        self._reasons: dict[str, Any] = {}
        # Who asked for the status of a job, in order: each is told by an answer of its own.
        self._asking: dict[str, deque[Any]] = {}

    def initial_state(self, exceptions: bool = True) -> None:
        """Ask for the workers' exceptions."""
        if exceptions:
            self.send_command(packets.GEARMAN_COMMAND_OPTION_REQ, option_name="exceptions")
        self.broken = False

    def send_job_request(self, current_request: Any) -> None:
        """Submit a job. ValueError or TypeError for what cannot be sent, and whatever the encoder raises."""
        arguments.function_name(text(current_request.job.task), "task")
        if current_request.priority not in _PRIORITIES:
            raise ValueError(
                f"priority must be PRIORITY_NONE, PRIORITY_LOW or PRIORITY_HIGH, not {current_request.priority!r}"
            )
        super().send_job_request(current_request)  # type: ignore[no-untyped-call]
        self.broken = False

    def encode_data(self, data: Any) -> bytes | bytearray | str:
        """A payload; str, from encoders that were written for Python 2, is sent as UTF-8."""
        encoded = self.connection_manager.data_encoder.encode(data)
        if not isinstance(encoded, (bytes, bytearray, str)):
            raise TypeError(f"the data encoder must return bytes or str, not {encoded!r}")
        self.broken = True  # until the request is among those that wait for a handle
        return encoded

    def send_get_status_of_job(self, current_request: Any) -> None:
        """Ask for the status of a job on behalf of this request."""
        handle = text(current_request.job.handle)
        self.broken = True
        self._asking.setdefault(handle, deque()).append(current_request)
        self.send_command(packets.GEARMAN_COMMAND_GET_STATUS, job_handle=handle)
        self.broken = False

    def owes_status(self, current_request: Any) -> bool:
        """Whether this request has asked for a status and was not told yet."""
        return any(current_request is each for each in self._asking.get(text(current_request.job.handle), ()))

    def on_io_error(self) -> None:
        """The connection is lost: whatever waits for a handle or a result never gets it."""
        sharing = (reference() for references in self._sharing.values() for reference in references)
        for request in [*self.requests_awaiting_handles, *sharing]:
            if request is not None:
                request.state = JOB_UNKNOWN

    def recv_command(self, cmd_type: int, **cmd_args: Any) -> bool:
        """Handle one packet, and go on whatever it was."""
        for name in ("numerator", "denominator"):
            if name in cmd_args:
                cmd_args[name] = number(cmd_args[name])
        if cmd_type in _WORK:
            self._recv_work(cmd_type, cmd_args["job_handle"], cmd_args)
        elif cmd_type in _ANSWERS:
            super().recv_command(cmd_type, **cmd_args)  # type: ignore[no-untyped-call]
        return True

    def recv_job_created(self, job_handle: str) -> bool:
        """The oldest submission is acknowledged."""
        if not self.requests_awaiting_handles:
            return True
        request = self.requests_awaiting_handles[0]
        if request.state != JOB_PENDING:  # its user has reset it
            self.requests_awaiting_handles.popleft()
            return True
        super().recv_job_created(job_handle)  # type: ignore[no-untyped-call]
        if not request.background:
            self._sharing.setdefault(job_handle, deque()).append(weakref.ref(request))
        return True

    def _recv_work(self, cmd_type: int, handle: str, cmd_args: dict[str, Any]) -> None:
        sharing = self._sharing.get(handle)
        if not sharing:
            return
        request = sharing[0]()
        sharing.rotate(-1)
        if request is not None and request.state == JOB_CREATED and request.job.handle == handle:
            self.handle_to_request_map[handle] = request
            super().recv_command(cmd_type, **cmd_args)  # type: ignore[no-untyped-call]
            if cmd_type == packets.GEARMAN_COMMAND_WORK_FAIL:
                request.exception = self._reasons.get(handle)
        if cmd_type in _ENDS:
            sharing.pop()
            if not sharing:
                del self._sharing[handle]
                self._reasons.pop(handle, None)
        else:
            self._reasons.pop(handle, None)
        if cmd_type == packets.GEARMAN_COMMAND_WORK_WARNING:
            self._reasons[handle] = self.decode_data(cmd_args["data"])

    def decode_data(self, data: bytes) -> Any:
        """Data, warnings and exceptions: as text, where they cannot be decoded."""
        return said(data, self.connection_manager.data_encoder.decode)

    def recv_work_complete(self, job_handle: str, data: bytes) -> bool:
        """The job is done, unless its result cannot be decoded."""
        request = self.handle_to_request_map[job_handle]
        try:
            request.result = self.connection_manager.data_encoder.decode(data)
        except Exception as error:
            request.state = JOB_FAILED
            request.exception = f"its result cannot be decoded: {type(error).__name__}: {error}: {data[:80]!r}"
        else:
            request.state = JOB_COMPLETE
        return True

    def recv_work_exception(self, job_handle: str, data: bytes) -> bool:
        """The job ended with it; gearman waited for a WORK_FAIL, which gearmand does not send."""
        request = self.handle_to_request_map[job_handle]
        request.exception = self.decode_data(data)
        request.state = JOB_FAILED
        return True

    def recv_status_res(self, job_handle: str, known: str, running: str, numerator: int, denominator: int) -> bool:
        """What the server says of a job: told to the request that has waited longest for it."""
        asking = self._asking.get(job_handle)
        if asking:
            asking.popleft().status = {
                "handle": job_handle,
                "known": known == "1",
                "running": running == "1",
                "numerator": numerator,
                "denominator": denominator,
                "time_received": time.time(),
            }
            if not asking:
                del self._asking[job_handle]
        return True

    def recv_error(self, error_code: str, error_text: str) -> bool:
        """An ERROR answers the oldest submission, unless it is about the option."""
        if error_code != "UNKNOWN_OPTION" and self.requests_awaiting_handles:
            request = self.requests_awaiting_handles.popleft()
            request.state = JOB_FAILED
            request.exception = f"{error_code}: {error_text}"
        return bool(self.connection_manager.on_gearman_error(error_code, error_text))


_PRIORITIES = (PRIORITY_NONE, PRIORITY_LOW, PRIORITY_HIGH)
_ANSWERS = {
    packets.GEARMAN_COMMAND_JOB_CREATED,
    packets.GEARMAN_COMMAND_STATUS_RES,
    packets.GEARMAN_COMMAND_ERROR,
}
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


class GearmanClient(ServerConnections, _GearmanClient):
    """GearmanClient as python-gearman 2.x documents it; names, handles and uniques are str.

    >>> request = GearmanClient(["localhost:4730"]).submit_job("reverse", "Hello", poll_timeout=10)
    >>> request.state, request.result
    ('COMPLETE', 'olleH')

    Payloads and results are str too, or what the class's `data_encoder` makes of them. Like python-gearman's it is
    for one thread at a time.

    - `host_list`: a list of "host:port", "host", ("host", port), or gearman's dict for TLS.
    - `random_unique_bytes`: the random bytes in the unique of a job that names none.
    - `exceptions`: ask the servers for the reasons of failed jobs.

    `poll_timeout` bounds all of a call in seconds, connecting included; None waits for ever. A server that cannot be
    reached, or is lost while nothing else is connected, is a ServerUnavailable, which is gearman's own too.
    """

    command_handler_class = ClientHandler
    data_encoder: Any = TextDataEncoder
    handler_initial_state: dict[str, Any]

    def __init__(
        self,
        host_list: Iterable[Server] | None = None,
        random_unique_bytes: int = RANDOM_UNIQUE_BYTES,
        *,
        exceptions: bool = True,
    ) -> None:
        super().__init__(random_unique_bytes=random_unique_bytes)  # type: ignore[no-untyped-call]
        self.handler_initial_state = {"exceptions": exceptions}
        self.add_servers(host_list)

    def submit_job(
        self, task: str, data: Any, unique: str | None = None, priority: str | None = None, **options: Any
    ) -> Any:
        """Submit one job, and wait for it; its request, whose `state` says how it ended and `result` what it returned.

        - `task`: the name of the function; `data`: the payload.
        - `unique`: jobs of a function with the same one are done once; by default one that no other job has.
        - `priority`: gearman's PRIORITY_HIGH, PRIORITY_NONE or PRIORITY_LOW.
        - `background`: True for a job without a result; `wait_until_complete`: False to return once it is accepted.
        - `max_retries`: how many further servers may be tried; `poll_timeout`: seconds for all of it, after which the
          request is `timed_out`.

        ServerUnavailable when no server can be reached. ValueError or TypeError for what cannot be sent.
        """
        return super().submit_job(task, data, unique, priority, **options)  # type: ignore[no-untyped-call]

    def submit_multiple_requests(
        self, job_requests: Iterable[Any], wait_until_complete: bool = True, poll_timeout: float | None = None
    ) -> list[Any]:
        """Submit requests, as submit_job() returns them, and wait until they are accepted or, by default, complete.

        Those whose connection failed before are submitted again, with as many attempts as at first; those under way are
        only waited for. `poll_timeout` is in seconds, for all of it.
        """
        requests = list(job_requests)
        for request in requests:
            if request.state == JOB_UNKNOWN:
                request.connection_attempts = 0
                self.request_to_rotating_connection_queue.pop(request, None)  # servers may have been added
        deadline = deadline_after(poll_timeout)
        self.wait_until_jobs_accepted(requests, left_until(deadline))
        if wait_until_complete:
            self.wait_until_jobs_completed(requests, left_until(deadline))
        return requests

    def wait_until_jobs_completed(self, job_requests: Iterable[Any], poll_timeout: float | None = None) -> list[Any]:
        """Wait until each request is complete, or has failed; one that is neither within `poll_timeout` seconds is
        `timed_out`.
        """
        requests = list(job_requests)

        def under_way(any_activity: bool) -> bool:
            return any(not each.complete and each.state in (JOB_PENDING, JOB_CREATED) for each in requests)

        self.poll_connections_until_stopped(self.connection_list, under_way, poll_timeout)
        for request in requests:
            # A background job that was refused has failed, and is not complete by gearman's account.
            request.timed_out = not request.complete and request.state != JOB_FAILED
            if not request.timed_out:
                self.request_to_rotating_connection_queue.pop(request, None)
        return requests

    def get_job_statuses(self, job_requests: Iterable[Any], poll_timeout: float | None = None) -> list[Any]:
        """Ask the servers about jobs. Each request's `status` says it then: a dict with handle, known, running,
        numerator, denominator and time_received.

        A request whose server does not answer within `poll_timeout` seconds is `timed_out`. Jobs that another client
        submitted may be asked for too: the job's `connection` names the server. ServerUnavailable when a server cannot
        be reached, or is lost meanwhile.
        """
        requests = list(job_requests)
        deadline = self.begin_call(poll_timeout)
        asked = [(request, self._ask_for_status(request)) for request in requests]
        self.wait_until_job_statuses_received(requests, left_until(deadline))
        for request, handler in asked:
            if handler.owes_status(request) and handler not in self.handler_to_connection_map:
                raise ServerUnavailable(f"the server of job {request.job.handle} was lost before it told its status")
        return requests

    def wait_until_job_statuses_received(
        self, job_requests: Iterable[Any], poll_timeout: float | None = None
    ) -> list[Any]:
        """Wait, for up to `poll_timeout` seconds, until each status that was asked for is there. What workers report
        meanwhile is no answer.
        """
        requests = list(job_requests)

        def is_owed(request: Any) -> bool:
            return any(handler.owes_status(request) for handler in self.connection_to_handler_map.values())

        self.poll_connections_until_stopped(self.connection_list, lambda _: any(map(is_owed, requests)), poll_timeout)
        for request in requests:
            request.timed_out = is_owed(request)
        return requests

    def _ask_for_status(self, request: Any) -> ClientHandler:
        if not request.job.handle:
            raise ValueError(f"a job without a handle has no status: {request!r}")
        connection = self._connection_to_server_of(request.job)
        try:
            self.establish_connection(connection)
        except GearmanConnectionError as error:
            raise ServerUnavailable(f"no status of job {request.job.handle}: {error}") from error
        request.status["last_time_received"] = request.status.get("time_received")
        handler: ClientHandler = self.connection_to_handler_map[connection]
        handler.send_get_status_of_job(request)
        return handler

    def _connection_to_server_of(self, job: Any) -> ClientConnection:
        """Our own connection to it: that of another client is the other's."""
        for connection in self.connection_list:
            if job.connection is not None and job.connection.get_address() == connection.get_address():
                return connection
        raise ValueError(f"the connection of job {job.handle} must be to a server of this client, not {job.connection}")

    def send_job_request(self, current_request: Any) -> Any:
        """Submit a request that waits to be. ServerUnavailable; ExceededConnectionAttempts, with the reason, when its
        last connection was lost before the job was accepted.
        """
        try:
            return super().send_job_request(current_request)  # type: ignore[no-untyped-call]
        except ExceededConnectionAttempts as error:
            raise ExceededConnectionAttempts(f"{error}: {current_request.job.connection.reason}") from error

    def establish_request_connection(self, current_request: Any) -> ClientConnection:
        """A connection for a request, to another server than the time before. ServerUnavailable, with the reasons, when
        no server can be reached.
        """
        if current_request.connection_attempts:
            self.request_to_rotating_connection_queue.get(current_request, deque()).rotate(-1)
        try:
            return super().establish_request_connection(current_request)  # type: ignore[no-untyped-call,no-any-return]
        except GearmanServerUnavailable as error:
            reasons = "; ".join(each.reason for each in self.connection_list) or "this client has none"
            raise ServerUnavailable(f"no job server could be reached: {reasons}") from error

    def _create_request_from_dictionary(self, *arguments: Any, **options: Any) -> Any:
        request = super()._create_request_from_dictionary(*arguments, **options)  # type: ignore[no-untyped-call]
        request.unique = request.job.unique  # python-gearman's documentation reads it there
        return request

    def on_gearman_error(self, error_code: str, error_text: str) -> bool:
        """A server refused something; True, for what follows it is worth reading."""
        logger.warning("a job server refused a request: %s: %s", error_code, error_text)
        return True
