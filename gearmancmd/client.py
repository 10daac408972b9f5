"""JSONGearmanClient: tasks to workers, and their results back."""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import arguments
from ._client.awaited import Awaited, JobStatus, PendingBatch, PendingJob, StatusQuery
from ._client.base import MAPPED_ERRORS, BaseClient, BaseJob, handles_of, status_request, unknown_status
from ._client.result import Listeners, plain_listeners
from ._client.submission import BATCHES_AHEAD, Batch, Submission, Submitter, batches
from ._client.thread import ClientThread
from ._wire.address import Address

if TYPE_CHECKING:
    from typing_extensions import Self

_NOBODY = Listeners()


class Job(BaseJob):
    """A job that a server has: what JSONGearmanClient's submit() and schedule() return.

    >>> job = client.submit("queue", {"command": "reverse", "message": "Hello"})
    >>> job.result(timeout=10)
    'olleH'

    Any thread may call its methods. A background job has a status, and no result.
    """

    def done(self) -> bool:
        """Whether the job has ended, so that result() would return or raise at once. Does not wait.

        Of a background job: whether its server has forgotten it. That asks the server, with the errors of status().
        """
        return not self.status().known if self.background else self._pending.ended

    def result(
        self,
        timeout: float | None = None,
        *,
        on_status: Callable[[int, int], object] | None = None,
        on_data: Callable[[Any], object] | None = None,
        on_warning: Callable[[Any], object] | None = None,
    ) -> Any:
        """Wait for the job's result, and return it, decoded.

        - `timeout`: seconds to wait; by default the client's.
        - `on_status`, `on_data`, `on_warning`: as for :meth:`gearmancmd.JSONGearmanClient.call`. They hear everything
          that no listener has heard since the job was submitted.

        JobFailed, with the worker's `reason`, when the job failed; ServerUnavailable when its server was lost.
        JobTimeout when the job is not done in time: result() may be called again. ValueError for a background job, and
        after abandon().
        """
        self._check_result()
        listeners = plain_listeners(on_status=on_status, on_data=on_data, on_warning=on_warning)
        return self._result(self._pending, timeout, listeners)

    def status(self, timeout: float | None = None) -> JobStatus:
        """Ask the job's server whether it knows the job, whether a worker has it, and how far it is.

        That may take `timeout` seconds, and 10 at most. JobTimeout when the server has not answered by then,
        ServerUnavailable when it cannot be reached.
        """
        status: JobStatus = self._status(self.handle, self._addresses, timeout)
        return status


class JSONGearmanClient(BaseClient):
    """A client: it sends tasks to workers as JSON, and gets their results.

    >>> with JSONGearmanClient(["localhost:4730"]) as client:
    ...     client.call("queue", {"command": "reverse", "message": "Hello"})
    'olleH'

    - `servers`: a list of "host:port", "host", ("host", port), or gearman's dict for TLS. They take turns; one that
      cannot be reached is skipped, and tried again later. Nothing is ever sent to two of them.
    - `timeout`: seconds that a call may take where it names no other; None to wait for ever. It bounds all of it:
      name look-up, connecting, submission and result. Without one a server still has 30 s to acknowledge a job.
    - `exceptions`: ask the servers to pass on WORK_EXCEPTION packets, in which some workers tell why a job failed.
    - `max_payload`: bytes that a result may have, with its job's handle; a larger one is read past, and its call raises
      JobFailed. By default 256 MiB.

    TypeError or ValueError, here and in each verb, for an argument that is not what it must be.

    Any number of threads may use one client: they share one connection to each server, and no thread waits for the
    job of another. An exception that strikes a caller anywhere, such as Ctrl+C's, disturbs no other caller. A daemon
    thread does the I/O; it starts with the first call, and ends with :meth:`close`, with the client, or at exit.
    """

    _OF_THIS_PROCESS = frozenset({"_thread"})

    def _prepare(self) -> None:
        self._thread = ClientThread(self._addresses, self._exceptions, self._max_payload)
        weakref.finalize(self, self._thread.stop)

    def _in_use(self) -> bool:
        return self._thread.running

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, which takes 2 s at most. The end of a ``with`` block does it too.

        Threads that wait get ServerUnavailable; so does whoever calls later. Servers drop the client's foreground jobs
        that no worker has begun.
        """
        self._thread.close()

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
        """Send a task, wait for its result, and return that, decoded.

        - `queue`: the name of the queue, which gearman calls a function.
        - `task`: whatever JSON can hold, usually a dict with a "command".
        - `timeout`: seconds for all of it; by default the client's.
        - `priority`: "high", "normal" or "low".
        - `unique`: jobs of a queue with the same one are done once, and each caller gets the result: a text of at most
          63 bytes without white space; "-" stands for a hash of the payload; by default one that no other job has.
        - `on_status(done, total)`, `on_data(data)`, `on_warning(data)`: plain functions, called in this thread when the
          worker reports. What they raise is raised here.

        JobFailed, with the worker's `reason`, when the job failed; JobTimeout when the result is too late, which then
        disturbs nobody; ServerUnavailable when no server can be reached, or the job's own was lost.
        """
        listeners = plain_listeners(on_status=on_status, on_data=on_data, on_warning=on_warning)
        deadline = self._deadline(timeout)
        submission = self._submission(queue, task, False, priority, unique)
        pending = PendingJob(submission.unique, background=False, listened=listeners != _NOBODY)
        try:
            self._thread.send(pending, submission.packet, deadline, submission.key)
            return self._result(pending, deadline, listeners)
        finally:
            self._drop(pending)

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
        """Submit a task without waiting for its result: the job, as soon as a server has it.

        - `background`: the job stays in its queue when the client is closed, and has no result. Without it the server
          drops the job when the client is closed before a worker took it.
        - `priority` and `unique`: as for :meth:`call`.
        - `timeout`: seconds until a server has it; by default the client's, else 30.

        JobFailed when the server refuses the job. ServerUnavailable when the server was lost before it acknowledged
        the job, and JobTimeout when it did not acknowledge it in time: then the job may be queued or not.
        """
        return self._acknowledged(self._submission(queue, task, background, priority, unique), timeout)

    def schedule(
        self, queue: str, task: Any, when: datetime, *, unique: str | None = None, timeout: float | None = None
    ) -> Job:
        """Submit a background task that no worker gets before `when`.

        - `when`: a datetime with a time zone, rounded up to whole seconds. A worker gets the job when it next asks for
          one after that: gearmand wakes none for it.
        - `unique`, `timeout`, and errors: as for :meth:`submit`.

        >>> client.schedule("queue", task, datetime.now(timezone.utc) + timedelta(hours=1))
        """
        return self._acknowledged(self._scheduled(queue, task, when, unique), timeout)

    def submit_many(
        self, queue: str, tasks: Iterable[Any], *, priority: str | None = None, timeout: float | None = None
    ) -> Iterator[str]:
        """Submit many tasks in the background, many in one write; yields their handles, in order.

        - `tasks`: any iterable. It is read as it is sent, up to 1,600 tasks ahead of the handles that were taken. Take
          them all, or the rest is not sent.
        - `priority`: as for :meth:`call`, for all of them.
        - `timeout`: seconds for the handles of each write; by default the client's, else 30.

        >>> handles = list(client.submit_many("queue", tasks))

        JobFailed when a server refuses a task, ServerUnavailable when it is lost, JobTimeout when it does not
        acknowledge in time: what has a handle is queued, and the rest may be.
        """
        submitter = self._submitter(queue, background=True, priority=priority)
        return self._submit_many(submitter, tasks, self._seconds(timeout))

    def _submit_many(self, submitter: Submitter, tasks: Iterable[Any], seconds: float) -> Iterator[str]:
        sent: deque[PendingBatch] = deque()
        failure: Exception | None = None
        batched = batches(submitter, tasks)
        while True:
            try:
                sent.append(self._send_batch(next(batched), seconds))
            except StopIteration:
                break
            except Exception as error:  # handles that are on their way come first
                failure = error
                break
            if len(sent) == BATCHES_AHEAD:
                yield from self._handles(sent.popleft(), seconds)
        for batch in sent:
            yield from self._handles(batch, seconds)
        if failure is not None:
            raise failure

    def _send_batch(self, batch: Batch, seconds: float) -> PendingBatch:
        pending = PendingBatch(batch.size)
        self._thread.send(pending, batch.packets, time.monotonic() + seconds)
        return pending

    def _handles(self, batch: PendingBatch, seconds: float) -> Iterator[str]:
        self._wait_for_end(batch, time.monotonic() + seconds)
        yield from handles_of(batch)

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
        """Send many tasks; yields their results, in the order of the tasks.

        - `tasks`: any iterable, read as it is sent.
        - `window`: how many jobs may be under way at a time.
        - `timeout`: seconds for each result, from the moment that it is waited for; by default the client's.
        - `priority`: as for :meth:`call`, for all of them.
        - `return_exceptions`: yield a failure in the place of its result, and go on. Without it the first failure is
          raised, and ends it.

        >>> for result in client.map("queue", tasks, timeout=10):
        ...     print(result)

        The failures are JobFailed, JobTimeout, ServerUnavailable, and the TypeError or ValueError of a task that cannot
        be encoded.
        """
        arguments.count(window, "window")
        submitter = self._submitter(queue, priority=priority)
        return self._map(submitter, tasks, window, self._seconds(timeout), return_exceptions)

    def _map(
        self, submitter: Submitter, tasks: Iterable[Any], window: int, seconds: float, return_exceptions: bool
    ) -> Iterator[Any]:
        tasks = iter(tasks)
        jobs: deque[PendingJob | Exception] = deque()
        try:
            while True:
                jobs.extend(self._started(submitter, task, seconds) for task in islice(tasks, window - len(jobs)))
                if not jobs:
                    return
                yield self._mapped(jobs[0], seconds, return_exceptions)
                self._drop(jobs.popleft())
        finally:
            for job in jobs:
                self._drop(job)

    def _started(self, submitter: Submitter, task: Any, seconds: float) -> PendingJob | Exception:
        """A job under way, or why there is none."""
        try:
            submission = submitter.submission(task)
            pending = PendingJob(submission.unique, background=False, listened=False)
            self._thread.send(pending, submission.packet, time.monotonic() + seconds)
        except MAPPED_ERRORS as error:
            return error
        return pending

    def _mapped(self, job: PendingJob | Exception, seconds: float, return_exceptions: bool) -> Any:
        try:
            if isinstance(job, Exception):
                raise job
            return self._result(job, time.monotonic() + seconds, _NOBODY)
        except MAPPED_ERRORS as error:
            if return_exceptions:
                return error
            raise

    def status(self, handle: str, timeout: float | None = None) -> JobStatus:
        """Ask all servers at once about a job of which only the handle is left, such as "H:host:1".

        That may take `timeout` seconds, and 10 at most. JobTimeout when a server has not answered by then;
        ServerUnavailable when no server knows the job and one could not be asked.
        """
        arguments.word(handle, "handle")
        return self._status(handle, self._addresses, timeout)

    # What the verbs share.

    def _acknowledged(self, submission: Submission, timeout: float | None) -> Job:
        deadline = self._deadline(timeout)
        pending = PendingJob(submission.unique, submission.background)
        try:
            self._thread.send(pending, submission.packet, deadline, submission.key)
            if not self._thread.wait(pending, lambda: pending.acknowledged, deadline):
                raise self._late(pending)
            if pending.handle is None:
                assert pending.error is not None
                raise pending.error
            return Job(pending, self._job_result, self._status, self._drop)
        except BaseException:
            self._drop(pending)
            raise

    def _job_result(self, pending: PendingJob, timeout: float | None, listeners: Listeners) -> Any:
        return self._result(pending, self._deadline(timeout), listeners)

    def _result(self, pending: PendingJob, deadline: float, listeners: Listeners) -> Any:
        if listeners == _NOBODY:
            self._wait_for_end(pending, deadline)
            return self._result_of(pending)
        while True:
            ended = pending.ended  # asked first: none of its events comes after that
            for _ in self._tell(pending, listeners, deadline):
                pass
            if ended:
                return self._result_of(pending)
            if not self._thread.wait(pending, lambda: pending.ended or pending.events, deadline):
                raise self._late(pending)

    def _wait_for_end(self, awaited: Awaited, deadline: float) -> None:
        if not self._thread.wait(awaited, lambda: awaited.ended, deadline):
            raise self._late(awaited)

    def _status(self, handle: str, addresses: Sequence[Address], timeout: float | None) -> JobStatus:
        deadline = self._status_deadline(timeout)
        queries = [(address, StatusQuery(handle)) for address in addresses]
        try:
            for address, query in queries:
                self._thread.send_to(address, query, status_request(handle), deadline)
            for _, query in queries:
                self._wait_for_end(query, deadline)
                if query.status is not None and query.status.known:
                    return query.status
            return unknown_status([query for _, query in queries])
        finally:
            for _, query in queries:
                self._drop(query)

    def _drop(self, awaited: Awaited | Exception) -> None:
        """Whoever waited does so no longer."""
        if isinstance(awaited, Awaited) and not awaited.ended:
            self._thread.drop(awaited)
