"""What a job server owes a client on one connection, without any I/O: packets in, jobs moved on.

The rules (PROTOCOL, and observed on gearmand 1.1.20):

- each submission is answered by JOB_CREATED or ERROR, in the order of submitting;
- jobs with the same function and unique have the same handle, and each packet about them comes once for each of them;
- without the option "exceptions" a WORK_EXCEPTION arrives as a WORK_FAIL whose handle ends in a NUL byte;
- a worker tells why it failed a job by a WORK_WARNING right before the WORK_FAIL, or by a WORK_EXCEPTION;
- an ERROR may be about the option that was asked for, and then is no answer to a submission.

What arrives about a job that its caller gave up is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from gearman import protocol as kinds

from .._wire.packet import Packet, number, pack, to_text, to_wire
from ..errors import JobFailed, JobTimeout, ServerUnavailable
from .awaited import Awaited, Event, JobStatus, PendingBatch, PendingJob, StatusQuery

#: Asks for WORK_EXCEPTION packets. The embedded server does not answer it: nobody may wait for that.
EXCEPTIONS = pack(kinds.GEARMAN_COMMAND_OPTION_REQ, b"exceptions")

#: Seconds that a server may take to acknowledge a submission whose caller named no time-out.
ACKNOWLEDGEMENT_SECONDS = 30.0

#: Seconds that a warning is kept back, for a WORK_FAIL right behind it makes it the reason.
WARNING_SECONDS = 0.1

_NEVER = float("inf")

#: Jobs of callers that gave up of which one connection keeps the handle. gearmand may tell of any of them still.
DROPPED_JOBS = 10_000


class Inflight:
    """The submissions and queries of one connection that are not answered."""

    def __init__(self, server: str) -> None:
        self._server = server
        #: Submissions in their order, and until when the server is to acknowledge each.
        self._unacknowledged: deque[tuple[PendingJob | PendingBatch, float]] = deque()
        #: Jobs by handle; those that share one take turns.
        self._jobs: dict[bytes, deque[PendingJob]] = {}
        self._queries: dict[bytes, deque[StatusQuery]] = {}
        #: Jobs that were given up, the oldest first, and jobs with a warning that is kept back, with its end.
        self._dropped: dict[PendingJob, None] = {}
        self._warned: dict[PendingJob, float] = {}
        #: How many of the first submissions are overdue.
        self._overdue = 0
        self._receivers: dict[int, Callable[[list[bytes], float], None]] = {
            kinds.GEARMAN_COMMAND_JOB_CREATED: self._created,
            kinds.GEARMAN_COMMAND_ERROR: self._refused,
            kinds.GEARMAN_COMMAND_WORK_STATUS: self._progressed,
            kinds.GEARMAN_COMMAND_WORK_DATA: self._told,
            kinds.GEARMAN_COMMAND_WORK_WARNING: self._cautioned,
            kinds.GEARMAN_COMMAND_WORK_COMPLETE: self._completed,
            kinds.GEARMAN_COMMAND_WORK_FAIL: self._failed,
            kinds.GEARMAN_COMMAND_WORK_EXCEPTION: self._failed,
            kinds.GEARMAN_COMMAND_STATUS_RES: self._status,
        }

    def add(self, awaited: Awaited, acknowledge_by: float = _NEVER) -> None:
        """Put down what is sent next."""
        if isinstance(awaited, StatusQuery):
            self._queries.setdefault(to_wire(awaited.handle), deque()).append(awaited)
        elif isinstance(awaited, (PendingJob, PendingBatch)):
            self._unacknowledged.append((awaited, acknowledge_by))

    def drop(self, awaited: Awaited) -> None:
        """Its caller gave it up. A job is kept by its handle alone, for gearmand may tell of it, up to a limit; of what
        is above the limit nothing is known any more.
        """
        if isinstance(awaited, StatusQuery):
            self._forget_query(awaited)
        elif isinstance(awaited, PendingJob) and self._holds(awaited):
            self._dropped[awaited] = None
            if len(self._dropped) > DROPPED_JOBS:
                self._forget(next(iter(self._dropped)))

    @property
    def owing(self) -> bool:
        """Whether the server has not acknowledged a submission."""
        return bool(self._unacknowledged)

    def due(self) -> float:
        """When :meth:`act` has something to do."""
        due = next(iter(self._warned.values()), _NEVER)
        if self._overdue < len(self._unacknowledged):
            due = min(due, self._unacknowledged[self._overdue][1])
        return due

    def act(self, now: float) -> None:
        """Tell of the warnings that no failure has followed, and of the submissions that are overdue."""
        for job in [job for job, due in self._warned.items() if due <= now]:
            del self._warned[job]
            job.release_warning()
        while self._overdue < len(self._unacknowledged) and self._unacknowledged[self._overdue][1] <= now:
            awaited, _ = self._unacknowledged[self._overdue]
            self._overdue += 1
            awaited.drop()
            awaited.fail(JobTimeout(f"{self._server} did not acknowledge a job in time; it may be queued"))

    def receive(self, received: Iterable[Packet], now: float) -> None:
        """Move the jobs on. Packets of other kinds, such as OPTION_RES, say nothing about one."""
        receivers = self._receivers
        for kind, arguments in received:
            receiver = receivers.get(kind)
            if receiver is not None:
                receiver(arguments, now)

    def lost(self, why: object) -> None:
        """The connection broke: of what was in flight, nothing more will be heard."""
        waiting, self._unacknowledged, self._overdue = self._unacknowledged, deque(), 0
        running = [job for sharing in self._jobs.values() for job in sharing]
        queries = [query for asking in self._queries.values() for query in asking]
        for kept in (self._jobs, self._queries, self._dropped, self._warned):
            kept.clear()
        for each, _ in waiting:
            each.fail(ServerUnavailable(f"lost before the job was acknowledged, which may be queued: {why}"))
        for job in running:
            job.fail(ServerUnavailable(f"lost with the job {job.handle} on its way: {why}"))
        for query in queries:
            query.fail(ServerUnavailable(f"lost before the status was told: {why}"))

    # One method for each kind of packet.

    def _created(self, arguments: list[bytes], now: float) -> None:
        if not self._unacknowledged:
            return
        oldest, _ = self._unacknowledged[0]
        if oldest.acknowledge(arguments[0]):
            self._acknowledged()
        if isinstance(oldest, PendingJob) and not oldest.background:
            self._jobs.setdefault(arguments[0], deque()).append(oldest)
            if oldest.dropped:
                self.drop(oldest)

    def _refused(self, arguments: list[bytes], now: float) -> None:
        code, text = map(to_text, arguments)
        if code == "UNKNOWN_OPTION" or not self._unacknowledged:
            return
        said = f"{code}: {text}" if text else code
        oldest, _ = self._unacknowledged[0]
        if oldest.refuse(JobFailed(f"{self._server} refused the job: {said}", reason=said)):
            self._acknowledged()

    def _acknowledged(self) -> None:
        self._unacknowledged.popleft()
        self._overdue = max(0, self._overdue - 1)

    def _progressed(self, arguments: list[bytes], now: float) -> None:
        handle, done, total = arguments
        self._happened(handle, Event(kinds.GEARMAN_COMMAND_WORK_STATUS, b"", number(done), number(total)))

    def _told(self, arguments: list[bytes], now: float) -> None:
        self._happened(arguments[0], Event(kinds.GEARMAN_COMMAND_WORK_DATA, arguments[1]))

    def _cautioned(self, arguments: list[bytes], now: float) -> None:
        job = self._happened(arguments[0], Event(kinds.GEARMAN_COMMAND_WORK_WARNING, arguments[1]))
        if job is not None:
            self._warned.pop(job, None)
            self._warned[job] = now + WARNING_SECONDS  # behind all that are due before it

    def _happened(self, handle: bytes, event: Event) -> PendingJob | None:
        sharing = self._jobs.get(handle)
        if sharing is None:
            return None
        job = sharing[0]
        sharing.rotate(-1)
        job.hear(event)
        return job

    def _completed(self, arguments: list[bytes], now: float) -> None:
        job = self._take(arguments[0])
        if job is not None:
            job.complete(arguments[1])

    def _failed(self, arguments: list[bytes], now: float) -> None:
        job = self._take(arguments[0].rstrip(b"\0"))
        if job is not None:
            job.give_up(arguments[1] if len(arguments) > 1 else None)

    def _status(self, arguments: list[bytes], now: float) -> None:
        handle, known, running, done, total = arguments
        asking = self._queries.get(handle)
        if asking:
            query = asking[0]
            self._forget_query(query)
            query.answer(JobStatus(known == b"1", running == b"1", number(done), number(total)))

    # What is kept.

    def _take(self, handle: bytes) -> PendingJob | None:
        """The job that a packet ends."""
        sharing = self._jobs.get(handle)
        if sharing is None:
            return None
        job = sharing[0]
        self._forget(job)
        return job

    def _holds(self, job: PendingJob) -> bool:
        return job in self._jobs.get(to_wire(job.handle or ""), ())

    def _forget(self, job: PendingJob) -> None:
        self._dropped.pop(job, None)
        self._warned.pop(job, None)
        handle = to_wire(job.handle or "")
        sharing = self._jobs[handle]
        sharing.remove(job)
        if not sharing:
            del self._jobs[handle]

    def _forget_query(self, query: StatusQuery) -> None:
        handle = to_wire(query.handle)
        asking = self._queries.get(handle, deque())
        if query in asking:
            asking.remove(query)
        if not asking:
            self._queries.pop(handle, None)
