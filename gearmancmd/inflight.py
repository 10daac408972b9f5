"""What a job server owes a client on one connection, without any I/O: packets in, jobs moved on.

The rules (PROTOCOL, and observed on gearmand 1.1.20):

- each submission is answered by JOB_CREATED or ERROR, in the order of submitting;
- jobs with the same function and unique have the same handle, and each packet about them comes once for each of them;
- without the option "exceptions" a WORK_EXCEPTION arrives as a WORK_FAIL whose handle ends in a NUL byte;
- an ERROR may be about the option that was asked for, and then is no answer to a submission.

What arrives about a job that its caller gave up is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from gearman import protocol as packets

from .errors import GearmanCMDError, JobFailed, ServerUnavailable
from .protocol import Packet, pack, to_text, to_wire

#: Asks for WORK_EXCEPTION packets. The embedded server does not answer it: nobody may wait for that.
EXCEPTIONS = pack(packets.GEARMAN_COMMAND_OPTION_REQ, b"exceptions")


@dataclass(frozen=True)
class JobStatus:
    """What a server says of a job: `known` and `running` there, and `done` of `total` as the worker last reported."""

    known: bool
    running: bool
    done: int
    total: int


class Event(NamedTuple):
    """What a worker said while a job ran: the packet's kind and its data; of WORK_STATUS the numbers."""

    kind: int
    data: bytes
    done: int = 0
    total: int = 0


class Pending:
    """A job on its way, from its submission to its end."""

    __slots__ = ("background", "ended", "error", "events", "failed", "handle", "ignored", "result", "unique")

    def __init__(self, unique: str, background: bool) -> None:
        self.unique = unique
        self.background = background
        #: None until the server has acknowledged the job.
        self.handle: str | None = None
        self.events: deque[Event] = deque()
        #: The data of WORK_COMPLETE, or of WORK_EXCEPTION for one that `failed`.
        self.result: bytes | None = None
        self.failed = False
        #: Why nothing more will be heard of it.
        self.error: GearmanCMDError | None = None
        #: Nothing more is to come of it; of a background job nothing does once it is acknowledged.
        self.ended = False
        #: Its caller gave it up.
        self.ignored = False

    @property
    def acknowledged(self) -> bool:
        """Whether the server has answered to its submission, one way or the other."""
        return self.handle is not None or self.ended

    def changed(self) -> None:
        """Called behind each change."""


class SubmittedJob:
    """What a job that was submitted has in both clients: `handle` and `unique` name it at its server."""

    def __init__(self, server: str, pending: Pending) -> None:
        #: The server that has it: "host:port".
        self.server = server
        self.unique: str = pending.unique
        self.background: bool = pending.background
        self._pending = pending

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle} unique={self.unique!r} server={self.server}>"

    @property
    def handle(self) -> str:
        """The server's name for the job, such as "H:host:1"."""
        return self._pending.handle or ""

    def abandon(self) -> None:
        """Drop whatever still arrives about the job. Its worker is not told and goes on."""
        self._pending.ignored = True


class StatusQuery:
    """A GET_STATUS on its way."""

    def __init__(self, handle: str) -> None:
        self.handle = handle
        self.status: JobStatus | None = None
        self.error: GearmanCMDError | None = None

    @property
    def ended(self) -> bool:
        """Whether it is answered, or will never be."""
        return self.status is not None or self.error is not None

    def changed(self) -> None:
        """Called behind each change."""


class Inflight:
    """The submissions and queries of one connection that are not answered."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._unacknowledged: deque[Pending] = deque()
        self._jobs: dict[str, deque[Pending]] = {}
        self._queries: dict[str, list[StatusQuery]] = {}
        self._receivers: dict[int, Callable[[list[bytes]], None]] = {
            packets.GEARMAN_COMMAND_JOB_CREATED: self._created,
            packets.GEARMAN_COMMAND_ERROR: self._refused,
            packets.GEARMAN_COMMAND_WORK_STATUS: self._progressed,
            packets.GEARMAN_COMMAND_WORK_DATA: self._told(packets.GEARMAN_COMMAND_WORK_DATA),
            packets.GEARMAN_COMMAND_WORK_WARNING: self._told(packets.GEARMAN_COMMAND_WORK_WARNING),
            packets.GEARMAN_COMMAND_WORK_COMPLETE: self._completed,
            packets.GEARMAN_COMMAND_WORK_FAIL: self._failed,
            packets.GEARMAN_COMMAND_WORK_EXCEPTION: self._failed,
            packets.GEARMAN_COMMAND_STATUS_RES: self._status,
        }

    def submit(self, jobs: Iterable[Pending], packets: bytes) -> bytes:
        """Put down jobs whose packets, in the same order, are sent next."""
        self._unacknowledged.extend(jobs)
        return packets

    def ask(self, query: StatusQuery) -> bytes:
        """Put down a query; the packet that is to be sent next."""
        self._queries.setdefault(query.handle, []).append(query)
        return pack(packets.GEARMAN_COMMAND_GET_STATUS, to_wire(query.handle))

    def receive(self, received: Iterable[Packet]) -> None:
        """Move the jobs on. Packets of other kinds, such as OPTION_RES, say nothing about one."""
        for kind, arguments in received:
            receiver = self._receivers.get(kind)
            if receiver is not None:
                receiver(arguments)

    def lost(self, why: object) -> None:
        """The connection broke: of what was in flight, nothing more will be heard."""
        waiting = list(self._unacknowledged)
        running = [job for sharing in self._jobs.values() for job in sharing]
        queries = [query for asking in self._queries.values() for query in asking]
        self._unacknowledged.clear()
        self._jobs.clear()
        self._queries.clear()
        for job in waiting:
            self._end(job, error=ServerUnavailable(f"lost before the job was acknowledged, which may be queued: {why}"))
        for job in running:
            self._end(job, error=ServerUnavailable(f"lost with the job {job.handle} on its way: {why}"))
        for query in queries:
            query.error = ServerUnavailable(f"lost before the status was told: {why}")
            query.changed()

    # One method for each kind of packet.

    def _created(self, arguments: list[bytes]) -> None:
        if not self._unacknowledged:
            return
        job = self._unacknowledged.popleft()
        job.handle = handle = to_text(arguments[0])
        if job.background:
            job.ended = True
        else:
            self._jobs.setdefault(handle, deque()).append(job)
        job.changed()

    def _refused(self, arguments: list[bytes]) -> None:
        code, text = map(to_text, arguments)
        if code == "UNKNOWN_OPTION" or not self._unacknowledged:
            return
        said = f"{code}: {text}" if text else code
        error = JobFailed(f"{self._server} refused the job: {said}", reason=said)
        self._end(self._unacknowledged.popleft(), error=error)

    def _progressed(self, arguments: list[bytes]) -> None:
        handle, done, total = arguments
        event = Event(packets.GEARMAN_COMMAND_WORK_STATUS, b"", number(done), number(total))
        self._happened(handle, event)

    def _told(self, kind: int) -> Callable[[list[bytes]], None]:
        return lambda arguments: self._happened(arguments[0], Event(kind, arguments[1]))

    def _happened(self, handle: bytes, event: Event) -> None:
        sharing = self._jobs.get(to_text(handle))
        if sharing is None:
            return
        job = sharing[0]
        sharing.rotate(-1)
        if not job.ignored:
            job.events.append(event)
            job.changed()

    def _completed(self, arguments: list[bytes]) -> None:
        job = self._take(arguments[0])
        if job is not None:
            job.result = arguments[1]
            self._end(job)

    def _failed(self, arguments: list[bytes]) -> None:
        job = self._take(arguments[0].rstrip(b"\0"))
        if job is not None:
            job.failed = True
            job.result = arguments[1] if len(arguments) > 1 else None
            self._end(job)

    def _status(self, arguments: list[bytes]) -> None:
        handle, known, running, done, total = arguments
        asking = self._queries.get(to_text(handle))
        if not asking:
            return
        query = asking.pop(0)
        if not asking:
            del self._queries[query.handle]
        query.status = JobStatus(known == b"1", running == b"1", number(done), number(total))
        query.changed()

    def _take(self, handle: bytes) -> Pending | None:
        text = to_text(handle)
        sharing = self._jobs.get(text)
        if sharing is None:
            return None
        job = sharing.popleft()
        if not sharing:
            del self._jobs[text]
        return job

    def _end(self, job: Pending, error: GearmanCMDError | None = None) -> None:
        job.error = error
        job.ended = True
        job.changed()


def number(text: bytes | str) -> int:
    """A count as workers send it: integers by the protocol, and whatever they like in fact."""
    return int(text) if text.isdigit() and len(text) < 20 else 0
