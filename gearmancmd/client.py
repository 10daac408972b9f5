"""JSONGearmanClient: tasks to workers, and their results back."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any

from . import arguments
from .address import Server, parse_addresses
from .errors import GearmanCMDError, JobTimeout
from .exchange import Exchange, Line
from .gearman2 import Gearman2Client
from .inflight import JobStatus, Pending, StatusQuery, SubmittedJob
from .outcome import Listeners, checked_listeners, result_of
from .submission import Submission, Submitter, batches

#: Seconds that a status may take where no time-out is given: servers do not answer each query (GET_STATUS with a handle
#: of 70 bytes, say).
STATUS_TIMEOUT = 10.0

_NOBODY = Listeners()


class Job(SubmittedJob):
    """A job that was submitted: `handle` and `unique` name it at its server.

    Any thread may ask it. A background job has no result.
    """

    def __init__(self, client: JSONGearmanClient, line: Line, pending: Pending) -> None:
        super().__init__(str(line), pending)
        self._client = client
        self._line = line

    def done(self) -> bool:
        """Whether result() would return or raise at once. Of a background job: whether its server forgot it."""
        if self.background:
            return not self.status().known
        self._client._exchange.look()
        return self._pending.ended

    def result(
        self,
        timeout: float | None = None,
        *,
        on_status: Callable[[int, int], object] | None = None,
        on_data: Callable[[Any], object] | None = None,
        on_warning: Callable[[Any], object] | None = None,
    ) -> Any:
        """What the command returned, after waiting for up to `timeout` seconds, else for the client's `timeout`.

        JobFailed when the job failed, ServerUnavailable when its server was lost; JobTimeout when it is not done by
        then: it may be asked again. The listeners are those of :meth:`JSONGearmanClient.call`, and hear everything
        since the job was submitted.
        """
        if self.background:
            raise ValueError(f"a background job has no result: {self!r}")
        listeners = checked_listeners(on_status=on_status, on_data=on_data, on_warning=on_warning)
        return self._client._result(self._line, self._pending, self._client._deadline(timeout), listeners)

    def status(self, timeout: float | None = None) -> JobStatus:
        """What the server says of the job now. JobTimeout, ServerUnavailable."""
        deadline = self._client._deadline(timeout)
        return self._client._status(self._line, self.handle, deadline)


class JSONGearmanClient(Gearman2Client):
    """Sends tasks to workers as JSON.

    >>> with JSONGearmanClient(["localhost:4730"]) as client:
    ...     client.call("queue", {"command": "reverse", "message": "Hello"})
    'olleH'

    - `servers`: a list of "host:port", "host", ("host", port), or gearman's dict for TLS. They take turns; one that
      cannot be reached is skipped, and tried again later. Nothing is ever sent to two of them.
    - `timeout`: seconds that a call may take where it names no other; None to wait for ever.
    - `exceptions`: ask the servers for the reasons of failed jobs.

    Any number of threads may use one client: they share one connection to each server, and no thread waits for the
    job of another. The methods of gearman 2.x (submit_job, submit_multiple_jobs, get_job_status and so on) are there
    too, on connections of their own and for one thread at a time.
    """

    def __init__(
        self, servers: Iterable[Server], *, timeout: float | None = None, exceptions: bool = True
    ) -> None:
        addresses = parse_addresses(servers)
        if not addresses:
            raise ValueError("servers must name at least one server, not []")
        self._timeout = None if timeout is None else arguments.seconds(timeout, "timeout")
        super().__init__(addresses, exceptions)
        self._exchange = Exchange(addresses, exceptions)

    def __enter__(self) -> JSONGearmanClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. Threads that wait for a result get ServerUnavailable; so does whoever calls later."""
        self._exchange.close()
        super().shutdown()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        """The name that gearman 2.x has for close()."""
        self.close()

    def call(
        self,
        queue: str,
        task: Any,
        *,
        timeout: float | None = None,
        priority: str | None = None,
        unique: str | None = None,
        on_status: Callable[[int, int], object] | None = None,
        on_data: Callable[[Any], object] | None = None,
        on_warning: Callable[[Any], object] | None = None,
    ) -> Any:
        """The result of a task.

        - `timeout`: seconds, for all of it.
        - `priority`: "high", "normal" or "low".
        - `unique`: jobs of a queue with the same one are done once, and each caller gets the result.
        - `on_status(done, total)`, `on_data(data)`, `on_warning(data)`: called in this thread when the worker reports.

        JobFailed, with the worker's `reason`, when the job failed; JobTimeout when the result is too late, which then
        disturbs nobody; ServerUnavailable.
        """
        listeners = checked_listeners(on_status=on_status, on_data=on_data, on_warning=on_warning)
        deadline = self._deadline(timeout)
        submission = self._submitter(queue, priority=priority).submission(task, unique)
        line, pending = self._submit(submission, unique, deadline)
        try:
            return self._result(line, pending, deadline, listeners)
        finally:
            pending.ignored = True

    def submit(
        self,
        queue: str,
        task: Any,
        *,
        background: bool = False,
        priority: str | None = None,
        unique: str | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Submit a task, and return as soon as a server has it; `timeout` is for that only.

        Without `background` the job is dropped from the queue when the client is closed before a worker took it.
        ServerUnavailable when the server was lost before it acknowledged the job, which it then may or may not have.
        """
        submitter = self._submitter(queue, background=background, priority=priority)
        return self._acknowledged(submitter.submission(task, unique), unique, self._deadline(timeout))

    def schedule(
        self, queue: str, task: Any, when: datetime, *, unique: str | None = None, timeout: float | None = None
    ) -> Job:
        """Submit a background task that is handed out at `when`, a datetime with a time zone, or at the next grab
        after it: gearmand wakes no worker for it.
        """
        submission = self._submitter(queue, background=True).scheduled(task, when, unique)
        return self._acknowledged(submission, unique, self._deadline(timeout))

    def submit_many(
        self, queue: str, tasks: Iterable[Any], *, priority: str | None = None, timeout: float | None = None
    ) -> Iterator[str]:
        """Submit tasks in the background, many in one write, and yield their handles in order.

        `tasks` is read as it is sent, about a thousand tasks ahead of the handles. `timeout` is for each handle.
        JobFailed when a server refuses one, ServerUnavailable when it is lost: whatever has a handle is queued, the
        rest may be.
        """
        submitter = self._submitter(queue, background=True, priority=priority)
        seconds = self._timeout if timeout is None else arguments.seconds(timeout, "timeout")
        return self._submit_many(submitter, tasks, math.inf if seconds is None else seconds)

    def _submit_many(self, submitter: Submitter, tasks: Iterable[Any], timeout: float) -> Iterator[str]:
        sent: deque[list[Pending]] = deque()
        failure: Exception | None = None
        batched = batches(submitter, tasks)
        while True:
            try:
                sent.append(self._send_batch(next(batched), time.monotonic() + timeout))
            except StopIteration:
                break
            except Exception as error:  # handles that are on their way come first
                failure = error
                break
            if len(sent) > 1:
                yield from self._handles(sent.popleft(), timeout)
        for batch in sent:
            yield from self._handles(batch, timeout)
        if failure is not None:
            raise failure

    def _send_batch(self, batch: list[Submission], deadline: float) -> list[Pending]:
        line = self._exchange.line(deadline)
        jobs = [Pending(submission.unique, background=True) for submission in batch]
        packets = b"".join([submission.packet for submission in batch])
        self._exchange.send(line, lambda inflight: inflight.submit(jobs, packets), deadline)
        return jobs

    def _handles(self, batch: list[Pending], timeout: float) -> Iterator[str]:
        if not self._exchange.wait(lambda: batch[-1].ended, time.monotonic() + timeout):
            raise JobTimeout("the server did not acknowledge the jobs in time; they may be queued")
        for job in batch:
            if job.error is not None:
                raise job.error
            yield job.handle or ""

    def map(
        self,
        queue: str,
        tasks: Iterable[Any],
        *,
        window: int = 100,
        timeout: float | None = None,
        priority: str | None = None,
        return_exceptions: bool = False,
    ) -> Iterator[Any]:
        """The results of tasks, in order, as they arrive, with up to `window` jobs under way at a time.

        `timeout` is for each result, from the moment that it is waited for. A job that fails, or is late, raises here;
        with `return_exceptions` its JobFailed, JobTimeout or ServerUnavailable takes the place of the result.
        """
        arguments.count(window, "window")
        seconds = self._timeout if timeout is None else arguments.seconds(timeout, "timeout")
        submitter = self._submitter(queue, priority=priority)
        return self._map(submitter, tasks, window, math.inf if seconds is None else seconds, return_exceptions)

    def _map(
        self, submitter: Submitter, tasks: Iterable[Any], window: int, timeout: float, return_exceptions: bool
    ) -> Iterator[Any]:
        tasks = iter(tasks)
        jobs: deque[tuple[Line, Pending] | Exception] = deque()
        try:
            while True:
                jobs.extend(self._started(submitter, task, timeout) for task in islice(tasks, window - len(jobs)))
                if not jobs:
                    return
                yield self._mapped(jobs[0], timeout, return_exceptions)
                _ignore(jobs.popleft())
        finally:
            for job in jobs:
                _ignore(job)

    def _started(self, submitter: Submitter, task: Any, timeout: float) -> tuple[Line, Pending] | Exception:
        """A job under way, or why there is none."""
        try:
            return self._submit(submitter.submission(task), None, time.monotonic() + timeout)
        except (GearmanCMDError, TypeError, ValueError) as error:
            return error

    def _mapped(self, job: tuple[Line, Pending] | Exception, timeout: float, return_exceptions: bool) -> Any:
        try:
            if isinstance(job, Exception):
                raise job
            return self._result(*job, time.monotonic() + timeout, _NOBODY)
        except (GearmanCMDError, TypeError, ValueError) as error:
            if return_exceptions:
                return error
            raise

    def status(self, handle: str, timeout: float | None = None) -> JobStatus:
        """What the servers say of a job of which only the handle is left."""
        arguments.function_name(handle, "handle")
        deadline = self._deadline(timeout)
        status = JobStatus(known=False, running=False, done=0, total=0)
        for line in self._exchange.lines:
            status = self._status(line, handle, deadline)
            if status.known:
                break
        return status

    # What the verbs share.

    def _submitter(self, queue: str, *, background: bool = False, priority: str | None = None) -> Submitter:
        return Submitter(self.data_encoder.encode, queue, background=background, priority=priority)

    def _deadline(self, timeout: float | None) -> float:
        seconds = self._timeout if timeout is None else arguments.seconds(timeout, "timeout")
        return math.inf if seconds is None else time.monotonic() + seconds

    def _submit(self, submission: Submission, unique: str | None, deadline: float) -> tuple[Line, Pending]:
        line = self._exchange.line(deadline, unique)
        pending = Pending(submission.unique, submission.background)
        self._exchange.send(line, lambda inflight: inflight.submit([pending], submission.packet), deadline)
        return line, pending

    def _acknowledged(self, submission: Submission, unique: str | None, deadline: float) -> Job:
        line, pending = self._submit(submission, unique, deadline)
        self._wait_for_acknowledgement(pending, deadline)
        if pending.handle is None:
            assert pending.error is not None
            raise pending.error
        return Job(self, line, pending)

    def _wait_for_acknowledgement(self, pending: Pending, deadline: float) -> None:
        if not self._exchange.wait(lambda: pending.acknowledged, deadline):
            pending.ignored = True
            raise JobTimeout("the server did not acknowledge the job in time; it may be queued")

    def _result(self, line: Line, pending: Pending, deadline: float, listeners: Listeners) -> Any:
        while True:
            ended = pending.ended  # asked first: none of its events comes after that
            while pending.events:
                listeners.tell(pending.events.popleft(), self.data_encoder.decode)
            if ended:
                return result_of(pending, self.data_encoder.decode)
            if not self._exchange.wait(lambda: pending.ended or pending.events, deadline):
                raise JobTimeout(f"no result of job {pending.handle} from {line} in time")

    def _status(self, line: Line, handle: str, deadline: float) -> JobStatus:
        deadline = min(deadline, time.monotonic() + STATUS_TIMEOUT)
        self._exchange.open(line, deadline)
        query = StatusQuery(handle)
        self._exchange.send(line, lambda inflight: inflight.ask(query), deadline)
        if not self._exchange.wait(lambda: query.ended, deadline):
            raise JobTimeout(f"no status of job {handle} from {line} in time")
        if query.status is None:
            assert query.error is not None
            raise query.error
        return query.status


def _ignore(job: tuple[Line, Pending] | Exception) -> None:
    if not isinstance(job, Exception):
        job[1].ignored = True
