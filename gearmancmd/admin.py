"""What gearmand tells of itself, and the few orders that it takes: its text protocol, with a type for each answer.

>>> for queue in Admin(["localhost:4730"]).status():
...     print(queue.queue, queue.waiting)
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from . import arguments
from ._wire.address import Address, Server, parse_addresses
from ._wire.packet import to_wire
from ._wire.text import Answer, ask
from .errors import AdminError, ServerUnavailable

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
    #: The queue's name.
    queue: str
    #: Waiting and running jobs. Those that were cancelled, or whose client has gone, count until their turn comes.
    total: int
    #: Jobs that a worker has.
    running: int
    #: Workers that take jobs of the queue, busy or not.
    workers: int

    @property
    def waiting(self) -> int:
        """The jobs that no worker has yet."""
        return self.total - self.running


@dataclass(frozen=True)
class PriorityStatus:
    """How many jobs of each priority wait in a queue on one server."""

    #: "host:port".
    server: str
    #: The queue's name.
    queue: str
    #: Waiting jobs of high priority.
    high: int
    #: Waiting jobs of normal priority.
    normal: int
    #: Waiting jobs of low priority.
    low: int
    #: Workers that take jobs of the queue, busy or not.
    workers: int


@dataclass(frozen=True)
class WorkerStatus:
    """One connection to a server. Clients are listed too, with no queues."""

    #: "host:port".
    server: str
    #: The server's number for the connection.
    connection: int
    #: The IP address that it comes from.
    address: str
    #: The name that the worker gave itself, if it did.
    client_id: str | None
    #: The names of the queues that it takes jobs of.
    queues: tuple[str, ...]


@dataclass(frozen=True)
class JobStatus:
    """One job that a server holds, waiting or running; gearmand does not tell which."""

    #: "host:port".
    server: str
    #: The server's name for the job, such as "H:host:1".
    handle: str
    #: How often a worker was lost with it.
    retries: int
    #: Whether it is passed over when its turn comes: it was cancelled, or it is a foreground job whose client has gone.
    cancelled: bool


@dataclass(frozen=True)
class ServerVersion:
    """What a server calls its version, such as "1.1.20+ds"."""

    #: "host:port".
    server: str
    #: What it says.
    version: str


class Admin:
    """The admin commands of one or more job servers, which are asked at the same time.

    - `servers`: a list of "host:port", "host", ("host", port), or gearman's dict for TLS.
    - `timeout`: seconds that a call takes at most: looking up the names, connecting, to any of a name's addresses, and
      the answers.
    - `on_error`: called with the ServerUnavailable of each server that does not answer; what the others said is
      returned. Without it the first such error is raised. An order, `cancel()` or `maxqueue()`, that is not answered is
      always an error.

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
        """How many jobs and workers each queue has, on each server. A server lists each queue that it has heard of."""
        return self._list("status", _queue_status, self._deadline())

    def priority_status(self) -> list[PriorityStatus]:
        """How many jobs of each priority wait in each queue, on each server."""
        return self._list("prioritystatus", _priority_status, self._deadline())

    def workers(self) -> list[WorkerStatus]:
        """Each connection, with the queues that it works on.

        Servers put nothing but spaces between the names of queues. So names that hold spaces are looked up in `status`,
        which costs one more question; the longest that fits is taken.
        """
        deadline = self._deadline()
        rows = self._list("workers", _worker_status, deadline)
        told = {row.server for row in rows}
        known = self._list("status", _queue_status, deadline, [each for each in self._addresses if str(each) in told])
        return [_with_names(row, [each.queue for each in known if each.server == row.server]) for row in rows]

    def jobs(self) -> list[JobStatus]:
        """The jobs that wait or run, on each server. gearmand does not tell their queues."""
        return self._list("show jobs", _job_status, self._deadline())

    def version(self) -> list[ServerVersion]:
        """The version of each server."""
        answers = self._ask(self._addresses, "version", self._deadline(), _is_first, self._on_error)
        return [ServerVersion(str(answer.address), answer.lines[0].removeprefix("OK").strip()) for answer in answers]

    def cancel(self, handle: str) -> str:
        """Cancel a background job that waits, by its handle, such as "H:host:1"; the "host:port" of its server.
        AdminError when no server has it, or more than one.

        The server keeps it in its figures until its turn comes, and passes it over then. gearmand accepts the handle
        of a running job too, and its worker goes on.
        """
        arguments.word(handle, "handle")
        deadline = self._deadline()
        (address,) = self._addresses if len(self._addresses) == 1 else [self._holder(handle, deadline)]
        self._ask([address], f"cancel job {handle}", deadline, _is_first)
        return str(address)

    def maxqueue(self, queue: str, n: int) -> list[str]:
        """Let a queue hold `n` jobs of each priority at most, 0 for any number; the "host:port" of each server that
        knows the queue. A server refuses further jobs: their client gets a JobFailed.

        gearmand says OK, and forgets it, for a queue that it does not know: here that is an AdminError.
        """
        arguments.word(queue, "queue")  # gearmand would take what follows a space for the number
        arguments.count(n, "n", least=0)
        deadline = self._deadline()
        statuses = self._list("status", _queue_status, deadline)
        knowing = {status.server for status in statuses if status.queue == queue}
        addresses = [address for address in self._addresses if str(address) in knowing]
        if not addresses:
            raise AdminError(f"no queue {queue!r} on {self._names()}")
        self._ask(addresses, f"maxqueue {queue} {n}", deadline, _is_first)
        return [str(address) for address in addresses]

    def _holder(self, handle: str, deadline: float) -> Address:
        """The one server that has the job. A handle names a host but no port, so two servers may both have it."""
        having = {job.server for job in self._list("show jobs", _job_status, deadline) if job.handle == handle}
        if not having:
            raise AdminError(f"no job {handle} on {self._names()}")
        if len(having) > 1:
            raise AdminError(f"{' and '.join(sorted(having))} each have a job {handle}: name one server")
        return next(address for address in self._addresses if str(address) in having)

    def _names(self) -> str:
        return ", ".join(map(str, self._addresses))

    def _deadline(self) -> float:
        """When a call that begins now has to end, however often it asks."""
        return time.monotonic() + self._timeout

    def _list(
        self,
        command: str,
        parse: Callable[[str, str], T],
        deadline: float,
        addresses: Sequence[Address] | None = None,
    ) -> list[T]:
        """The lines that servers, by default all, answer up to a full stop, each as what `parse` makes of it."""
        rows: list[T] = []
        asked = self._addresses if addresses is None else addresses
        for answer in self._ask(asked, command, deadline, _is_full_stop, self._on_error):
            server = str(answer.address)
            try:
                rows += [parse(server, line) for line in answer.lines[:-1]]
            except ValueError as error:
                raise AdminError(f"{server} does not answer {command!r} as gearmand does: {error}") from error
        return rows

    def _ask(
        self,
        addresses: Iterable[Address],
        command: str,
        deadline: float,
        is_last: Callable[[str], bool],
        on_error: Callable[[ServerUnavailable], object] | None = None,
    ) -> list[Answer]:
        """The answers to a command, in the order of the servers. AdminError when one is an error; ServerUnavailable
        when there is none, unless `on_error` takes that.
        """
        answers = ask(addresses, to_wire(command) + b"\n" + _PROBE, deadline, partial(_ends, is_last))
        for answer in answers:
            if answer.error is not None:
                unavailable = ServerUnavailable(self._why(answer.address, answer.error))
                if on_error is None:
                    raise unavailable from answer.error
                on_error(unavailable)
        whole = [answer for answer in answers if answer.error is None]
        for answer in whole:
            if _is_error(answer.lines[0]):
                raise AdminError(_refusal(answer.address, command, answer.lines[0]))
        return whole

    def _why(self, address: Address, error: OSError) -> str:
        if isinstance(error, TimeoutError):
            return f"{address} did not answer within {self._timeout:g} s"
        return f"{address}: {error.strerror or error}"


# The answers.


def _is_first(line: str) -> bool:
    """An order is answered with one line."""
    return True


def _is_full_stop(line: str) -> bool:
    return line == "."


def _ends(is_last: Callable[[str], bool], lines: list[str]) -> bool:
    return is_last(lines[-1]) or (len(lines) == 1 and _is_error(lines[0]))


def _is_error(line: str) -> bool:
    return line.startswith("ERR ") and "\t" not in line  # else it is the line of a queue of that name


def _refusal(address: Address, command: str, answer: str) -> str:
    if answer != _UNKNOWN_JOB:
        return f"{address} refuses {command!r}: {answer.removeprefix('ERR ')}"
    if command.startswith("cancel job "):
        return f"no job {command.removeprefix('cancel job ')} on {address}"
    return f"{address} does not know the admin command {command!r}: it is not a gearmand"


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
        raise ValueError(f"{line!r} is not the line of a worker")
    connection, address, client_id, queues = match.groups(default="")
    name = client_id if client_id != "-" else None
    return WorkerStatus(server, int(connection), address, name, tuple(queues[1:].split(" ")))


def _with_names(row: WorkerStatus, known: Iterable[str]) -> WorkerStatus:
    """The row of a worker, with the names of its queues put together where they hold spaces."""
    spaced = sorted((name for name in known if " " in name), key=len, reverse=True)
    return replace(row, queues=tuple(_names_in(" ".join(row.queues), spaced)))


def _names_in(text: str, spaced: Sequence[str]) -> Iterator[str]:
    """The names in a list with spaces between them; `spaced` are those that hold spaces, the longest first."""
    while text:
        name = next((name for name in spaced if f"{text} ".startswith(f"{name} ")), None) or text.partition(" ")[0]
        if name:
            yield name
        text = text[len(name) + 1 :]


def _job_status(server: str, line: str) -> JobStatus:
    handle, retries, ignored, _ = line.rsplit("\t", 3)
    return JobStatus(server, handle, int(retries), ignored != "0")
