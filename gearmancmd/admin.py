"""What gearmand tells of itself, and the few orders that it takes: its text protocol, with a type for each answer.

>>> for queue in Admin(["localhost:4730"]).status():
...     print(queue.queue, queue.waiting)
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar

from . import arguments
from .address import Address, Server, parse_addresses
from .connection import open_socket
from .errors import AdminError, ServerUnavailable
from .protocol import to_text, to_wire

T = TypeVar("T")

# Sent behind every command: every server answers this one, with _UNKNOWN_JOB, for no handle is "-". The embedded server
# says nothing at all to a command that it does not know; the answer to this one then comes first, and no time-out
# has to run.
_PROBE = b"cancel job -\n"
_UNKNOWN_JOB = "ERR UNKNOWN_JOB"

# "fd address client-id : function ...": gearmand escapes nothing, so a client id may hold spaces.
_WORKER = re.compile(r"(\S+) (\S+) (.*?) :( .*)?")


@dataclass(frozen=True)
class QueueStatus:
    """How many jobs a queue holds on one server, and how many workers it has there."""

    #: "host:port".
    server: str
    queue: str
    #: Waiting and running jobs. Cancelled ones count until their turn comes.
    total: int
    running: int
    workers: int

    @property
    def waiting(self) -> int:
        """The jobs that no worker has yet."""
        return self.total - self.running


@dataclass(frozen=True)
class PriorityStatus:
    """How many jobs of each priority wait in a queue on one server."""

    server: str
    queue: str
    high: int
    normal: int
    low: int
    workers: int


@dataclass(frozen=True)
class WorkerStatus:
    """One connection to a server. Clients are listed too, with no queues."""

    server: str
    #: The server's number for the connection.
    connection: int
    #: The IP address that it comes from.
    address: str
    #: The name that the worker gave itself, if it did.
    client_id: str | None
    queues: tuple[str, ...]


@dataclass(frozen=True)
class JobStatus:
    """One job that a server holds, waiting or running; gearmand does not tell which."""

    server: str
    handle: str
    #: How often a worker was lost with it.
    retries: int
    cancelled: bool


@dataclass(frozen=True)
class ServerVersion:
    """What a server calls its version, such as "1.1.20+ds"."""

    server: str
    version: str


class Admin:
    """The admin commands of one or more job servers, which are asked at the same time.

    - `servers`: a list of "host:port", "host", ("host", port), or gearman's dict for TLS.
    - `timeout`: seconds that each server has to be reached and to answer.
    - `on_error`: called with the ServerUnavailable of each server that does not answer; what the others said is
      returned. Without it the first such error is raised.

    AdminError is raised when a server refuses a command or, as the embedded one does with most, does not know it.
    A connection is opened for each command and closed behind it, so an instance holds nothing open and may be used
    from several threads.
    """

    def __init__(
        self,
        servers: Iterable[Server],
        timeout: float = 5.0,
        on_error: Callable[[ServerUnavailable], object] | None = None,
    ) -> None:
        self._addresses = parse_addresses(servers)
        if not self._addresses:
            raise ValueError("servers must name at least one server, not []")
        self._timeout = arguments.seconds(timeout, "timeout")
        self._on_error = on_error

    def status(self) -> list[QueueStatus]:
        """Each queue that has, or had, jobs or workers."""
        return self._list("status", _queue_status)

    def priority_status(self) -> list[PriorityStatus]:
        """The waiting jobs of each queue by priority."""
        return self._list("prioritystatus", _priority_status)

    def workers(self) -> list[WorkerStatus]:
        """Each connection, with the queues that it works on."""
        return self._list("workers", _worker_status)

    def jobs(self) -> list[JobStatus]:
        """Each job that is waiting or running."""
        return self._list("show jobs", _job_status)

    def version(self) -> list[ServerVersion]:
        """The version of each server."""
        return self._ask(lambda address: [ServerVersion(str(address), _order(address, "version", self._timeout))])

    def cancel(self, handle: str) -> str:
        """Cancel a background job that waits; the server that had it. AdminError when no server has it.

        The server keeps it in its figures until its turn comes, and passes it over then. gearmand accepts the handle
        of a running job too, and its worker goes on.
        """
        arguments.function_name(handle, "handle")
        address = self._holder(handle)
        _order(address, f"cancel job {handle}", self._timeout)
        return str(address)

    def maxqueue(self, queue: str, n: int) -> list[str]:
        """Let a queue hold `n` jobs of each priority at most, 0 for any number; the servers that know the queue.

        gearmand says OK, and forgets it, for a queue that it does not know: here that is an AdminError.
        """
        arguments.function_name(queue, "queue")
        arguments.count(n, "n", least=0)
        knowing = {status.server for status in self.status() if status.queue == queue}
        addresses = [address for address in self._addresses if str(address) in knowing]
        if not addresses:
            raise AdminError(f"no queue {queue!r} on {self._names()}")
        for address in addresses:
            _order(address, f"maxqueue {queue} {n}", self._timeout)
        return [str(address) for address in addresses]

    def _holder(self, handle: str) -> Address:
        """The one server that has the job. A handle names a host but no port, so two servers may both have it."""
        if len(self._addresses) == 1:
            return self._addresses[0]
        having = {job.server for job in self.jobs() if job.handle == handle}
        if not having:
            raise AdminError(f"no job {handle} on {self._names()}")
        if len(having) > 1:
            raise AdminError(f"{' and '.join(sorted(having))} each have a job {handle}: name one server")
        return next(address for address in self._addresses if str(address) in having)

    def _names(self) -> str:
        return ", ".join(map(str, self._addresses))

    def _list(self, command: str, parse: Callable[[str, str], T]) -> list[T]:
        return self._ask(lambda address: _listing(address, command, self._timeout, parse))

    def _ask(self, question: Callable[[Address], list[T]]) -> list[T]:
        """The answers of all servers, in the order of the servers."""
        with ThreadPoolExecutor(len(self._addresses)) as threads:
            answers = threads.map(partial(self._ask_one, question), self._addresses)
            return list(chain.from_iterable(answers))

    def _ask_one(self, question: Callable[[Address], list[T]], address: Address) -> list[T]:
        try:
            return question(address)
        except ServerUnavailable as error:
            if self._on_error is None:
                raise
            self._on_error(error)
            return []


# The wire.


def _order(address: Address, command: str, timeout: float) -> str:
    """What a server adds to its OK."""
    (line,) = _exchange(address, command, timeout, lambda line: True)
    return line.removeprefix("OK").strip()


def _listing(address: Address, command: str, timeout: float, parse: Callable[[str, str], T]) -> list[T]:
    """The lines that a server answers up to a full stop, each as what `parse` makes of it."""
    lines = _exchange(address, command, timeout, lambda line: line == ".")[:-1]
    try:
        return [parse(str(address), line) for line in lines]
    except ValueError as error:
        raise AdminError(f"{address} does not answer {command!r} as gearmand does: {error}") from error


def _exchange(address: Address, command: str, timeout: float, is_last: Callable[[str], bool]) -> list[str]:
    """Send a command and read the lines of the answer; AdminError when it is an error."""
    deadline = time.monotonic() + timeout
    lines: list[str] = []
    try:
        with closing(open_socket(address, timeout)) as connection:
            connection.sendall(to_wire(command) + b"\n" + _PROBE)
            for line in _received(connection, deadline):
                if not lines and _is_error(line):
                    raise AdminError(_refusal(address, command, line))
                lines.append(line)
                if is_last(line):
                    return lines
    except TimeoutError as error:
        raise ServerUnavailable(f"{address} did not answer within {timeout:g} s") from error
    except OSError as error:
        raise ServerUnavailable(f"{address}: {error.strerror or error}") from error
    raise ServerUnavailable(f"{address} closed the connection")


def _received(connection: socket.socket, deadline: float) -> Iterator[str]:
    with connection.makefile("rb") as stream:
        for line in stream:
            yield to_text(line.rstrip(b"\r\n"))
            connection.settimeout(max(deadline - time.monotonic(), 0.001))


def _is_error(line: str) -> bool:
    return line.startswith("ERR ") and "\t" not in line  # else it is the line of a queue of that name


def _refusal(address: Address, command: str, answer: str) -> str:
    if answer != _UNKNOWN_JOB:
        return f"{address} refuses {command!r}: {answer.removeprefix('ERR ')}"
    if command.startswith("cancel job "):
        return f"no job {command.removeprefix('cancel job ')} on {address}"
    return f"{address} does not know the admin command {command!r}: it is no gearmand"


# The lines. Names come first, and may hold anything; so fields are counted from the end.


def _queue_status(server: str, line: str) -> QueueStatus:
    queue, total, running, workers = line.rsplit("\t", 3)
    return QueueStatus(server, queue, int(total), int(running), int(workers))


def _priority_status(server: str, line: str) -> PriorityStatus:
    queue, high, normal, low, workers = line.rsplit("\t", 4)
    return PriorityStatus(server, queue, int(high), int(normal), int(low), int(workers))


def _worker_status(server: str, line: str) -> WorkerStatus:
    match = _WORKER.fullmatch(line)
    if match is None:
        raise ValueError(f"{line!r} is no line of a worker")
    connection, address, client_id, queues = match.groups(default="")
    name = client_id if client_id != "-" else None
    return WorkerStatus(server, int(connection), address, name, tuple(queues.split()))


def _job_status(server: str, line: str) -> JobStatus:
    handle, retries, ignored, _ = line.rsplit("\t", 3)
    return JobStatus(server, handle, int(retries), ignored != "0")
