"""What the verbs of both clients check, build, count and decode.

The verbs themselves stand twice, with the same signatures: a verb is a few lines that wait, and waiting is what
differs. Made one from the other they could neither be read, nor type-checked, nor found by an editor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gearman import protocol as kinds

from .. import arguments
from .._wire.address import Address, Server, parse_addresses
from .._wire.packet import MAX_PAYLOAD, pack, to_text, to_wire
from ..encoder import JSONDataEncoder
from ..errors import GearmanCMDError, JobTimeout, ServerUnavailable
from .awaited import Awaited, JobStatus, PendingBatch, PendingJob, StatusQuery
from .result import Listeners, result_of
from .submission import Submission, Submitter

if TYPE_CHECKING:
    from datetime import datetime

#: Seconds that a status may take where no time-out is given: servers do not answer each query (GET_STATUS with a handle
#: of 70 bytes, say).
STATUS_SECONDS = 10.0

FOREVER = float("inf")

#: What map() yields in the place of a result, with `return_exceptions`.
MAPPED_ERRORS = (GearmanCMDError, TypeError, ValueError)


class BaseClient:
    """The options of a client, and what its verbs share."""

    #: Makes tasks into payloads, and payloads into results: classmethods ``encode(obj)`` and ``decode(data)``.
    data_encoder: Any = JSONDataEncoder

    #: Attributes that are not pickled.
    _OF_THIS_PROCESS: frozenset[str] = frozenset()

    def __init__(
        self,
        servers: Iterable[Server],
        *,
        timeout: float | None = None,
        exceptions: bool = True,
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        self._addresses = parse_addresses(servers)
        if not self._addresses:
            raise ValueError("servers must name at least one server, not []")
        self._timeout = None if timeout is None else arguments.seconds(timeout, "timeout")
        self._exceptions = bool(exceptions)
        self._max_payload = arguments.count(max_payload, "max_payload")
        self._prepare()

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: the options. RuntimeError while it has connections."""
        if self._in_use():
            raise RuntimeError(f"{type(self).__name__} cannot be pickled or copied while it is in use")
        return {name: value for name, value in vars(self).items() if name not in self._OF_THIS_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def _prepare(self) -> None:
        """Make what connects, and connect nothing."""
        raise NotImplementedError

    def _in_use(self) -> bool:
        """Whether it has connections in this process."""
        raise NotImplementedError

    def _seconds(self, timeout: float | None) -> float:
        """The seconds that a caller may wait: infinity for ever."""
        seconds = self._timeout if timeout is None else arguments.seconds(timeout, "timeout")
        return FOREVER if seconds is None else seconds

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + self._seconds(timeout)

    def _status_deadline(self, timeout: float | None) -> float:
        return min(self._deadline(timeout), time.monotonic() + STATUS_SECONDS)

    # What is sent.

    def _submitter(self, queue: str, *, background: bool = False, priority: str | None = None) -> Submitter:
        return Submitter(self.data_encoder.encode, queue, background=background, priority=priority)

    def _submission(
        self, queue: str, task: Any, background: bool, priority: str | None, unique: str | None
    ) -> Submission:
        return self._submitter(queue, background=background, priority=priority).submission(task, unique)

    def _scheduled(self, queue: str, task: Any, when: datetime, unique: str | None) -> Submission:
        return self._submitter(queue, background=True).scheduled(task, when, unique)

    # What came back.

    def _tell(self, job: PendingJob, listeners: Listeners, deadline: float) -> Iterable[object]:
        """Call the listeners with what has happened, until `deadline`; what each of them returned."""
        while job.events:
            if time.monotonic() >= deadline:
                raise self._late(job)
            yield listeners.tell(job.events.popleft(), self.data_encoder.decode)

    def _result_of(self, job: PendingJob) -> Any:
        return result_of(job, self.data_encoder.decode)

    def _late(self, awaited: Awaited) -> GearmanCMDError:
        """What is raised when it was waited for in vain."""
        if awaited.address is None:
            return ServerUnavailable(f"no connection to {' or '.join(map(str, self._addresses))} in time")
        if isinstance(awaited, StatusQuery):
            return JobTimeout(f"no status of job {awaited.handle} from {awaited.address} in time")
        if isinstance(awaited, PendingJob) and awaited.acknowledged:
            return JobTimeout(f"no result of job {awaited.handle} from {awaited.address} in time")
        what = "the job; it" if isinstance(awaited, PendingJob) else "the jobs; they"
        return JobTimeout(f"{awaited.address} did not acknowledge {what} may be queued")


class BaseJob:
    """What a job that was submitted has in both clients. Its client gives it what it asks with: `result` and `drop`
    take the job, `status` takes a handle and the servers that may know it.
    """

    def __init__(
        self,
        pending: PendingJob,
        result: Callable[[PendingJob, float | None, Listeners], Any],
        status: Callable[[str, Sequence[Address], float | None], Any],
        drop: Callable[[PendingJob], None],
    ) -> None:
        self._pending = pending
        self._result = result
        self._status = status
        self._drop = drop
        #: The client's own name for the job.
        self.unique: str = pending.unique
        #: Whether it was submitted in the background, so that it has no result.
        self.background: bool = pending.background

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle} unique={self.unique!r} server={self.server}>"

    @property
    def handle(self) -> str:
        """The server's name for the job, such as "H:host:1"."""
        return self._pending.handle or ""

    @property
    def server(self) -> str:
        """The server that has it: "host:port"."""
        return str(self._pending.address)

    def abandon(self) -> None:
        """Lose interest: whatever still arrives about the job is thrown away, and result() is a ValueError.

        The worker is not told, and goes on. With asyncio, call it in the event loop.
        """
        self._drop(self._pending)

    @property
    def _addresses(self) -> list[Address]:
        assert self._pending.address is not None
        return [self._pending.address]

    def _check_result(self) -> None:
        if self.background:
            raise ValueError(f"a background job has no result: {self!r}")
        if self._pending.dropped:
            raise ValueError(f"an abandoned job has no result: {self!r}")


def status_request(handle: str) -> bytes:
    """The packet that asks for a job's status."""
    return pack(kinds.GEARMAN_COMMAND_GET_STATUS, to_wire(handle))


def handles_of(batch: PendingBatch) -> Iterable[str]:
    """The handles of a batch that ended. JobFailed, ServerUnavailable at the first job without one."""
    for answer in batch.answers:
        if isinstance(answer, bytes):
            yield to_text(answer)
        else:
            raise answer
    if batch.error is not None:
        raise batch.error


def unknown_status(queries: Iterable[StatusQuery]) -> JobStatus:
    """The status of a job that no server knows. ServerUnavailable when one that may know it could not tell."""
    for query in queries:
        if query.error is not None:
            raise query.error
    return JobStatus(known=False, running=False, done=0, total=0)
