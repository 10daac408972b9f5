"""AsyncJSONGearmanClient: the verbs of client.py as coroutines."""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import arguments
from ._client.awaited import Awaited, JobStatus, PendingBatch, PendingJob, StatusQuery
from ._client.base import MAPPED_ERRORS, BaseClient, BaseJob, handles_of, status_request, unknown_status
from ._client.event_loop import ClientLoop
from ._client.result import Listeners, checked_listeners
from ._client.submission import BATCHES_AHEAD, Batch, Submission, Submitter, batches
from ._wire.address import Address
from .errors import ServerUnavailable

if TYPE_CHECKING:
    from typing_extensions import Self

_NOBODY = Listeners()
_CLOSED = "the client was closed"


class AsyncJob(BaseJob):
    """A job that a server has: what AsyncJSONGearmanClient's submit() and schedule() return.

    >>> job = await client.submit("queue", {"command": "reverse", "message": "Hello"})
    >>> await job.result(timeout=10)
    'olleH'

    A background job has a status, and no result.
    """

    async def done(self) -> bool:
        """Whether the job has ended: see :meth:`gearmancmd.client.Job.done`."""
        return not (await self.status()).known if self.background else self._pending.ended

    async def result(
        self,
        timeout: float | None = None,
        *,
        on_status: Callable[[int, int], object] | None = None,
        on_data: Callable[[Any], object] | None = None,
        on_warning: Callable[[Any], object] | None = None,
    ) -> Any:
        """Wait for the job's result, and return it, decoded: see :meth:`gearmancmd.client.Job.result`. Listeners may be
        coroutine functions.
        """
        self._check_result()
        listeners = checked_listeners(on_status=on_status, on_data=on_data, on_warning=on_warning)
        return await self._result(self._pending, timeout, listeners)

    async def status(self, timeout: float | None = None) -> JobStatus:
        """Ask the job's server how the job stands: see :meth:`gearmancmd.client.Job.status`."""
        status: JobStatus = await self._status(self.handle, self._addresses, timeout)
        return status


class AsyncJSONGearmanClient(BaseClient):
    """A client for asyncio: JSONGearmanClient's verbs as coroutines.

    >>> async with AsyncJSONGearmanClient(["localhost:4730"]) as client:
    ...     await client.call("queue", {"command": "reverse", "message": "Hello"})
    'olleH'

    Arguments and errors are those of :class:`gearmancmd.JSONGearmanClient`, and so are those of each verb. Listeners
    may be coroutine functions, which are awaited. Any number of tasks may use one client; whoever is cancelled, by
    ``asyncio.timeout`` say, leaves nothing behind that disturbs another. A client belongs to the event loop that used
    it last: in another it makes new connections, and what was under way in the one before gets ServerUnavailable.
    """

    _OF_THIS_PROCESS = frozenset({"_loop"})

    def _prepare(self) -> None:
        self._loop: ClientLoop | None = None
        self._closed = False

    def _in_use(self) -> bool:
        return self._loop is not None and self._loop.running

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. The end of an ``async with`` block does it too.

        Tasks that wait get ServerUnavailable; so does whoever calls later. Servers drop the client's foreground jobs
        that no worker has begun.
        """
        self._closed = True
        self._leave_loop(_CLOSED)

    async def call(
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
        """Send a task, wait for its result, and return that, decoded: see :meth:`gearmancmd.JSONGearmanClient.call`."""
        listeners = checked_listeners(on_status=on_status, on_data=on_data, on_warning=on_warning)
        deadline = self._deadline(timeout)
        submission = self._submission(queue, task, False, priority, unique)
        pending = PendingJob(submission.unique, background=False, listened=listeners != _NOBODY)
        try:
            self._send(pending, submission.packet, deadline, submission.key)
            return await self._result(pending, deadline, listeners)
        finally:
            self._drop(pending)

    async def submit(
        self,
        queue: str,
        task: Any,
        *,
        background: bool = False,
        priority: str | None = None,
        unique: str | None = None,
        timeout: float | None = None,
    ) -> AsyncJob:
        """Submit a task without waiting for its result: the job, as soon as a server has it. See
        :meth:`gearmancmd.JSONGearmanClient.submit`.
        """
        return await self._acknowledged(self._submission(queue, task, background, priority, unique), timeout)

    async def schedule(
        self, queue: str, task: Any, when: datetime, *, unique: str | None = None, timeout: float | None = None
    ) -> AsyncJob:
        """Submit a background task that no worker gets before `when`, a datetime with a time zone. See
        :meth:`gearmancmd.JSONGearmanClient.schedule`.
        """
        return await self._acknowledged(self._scheduled(queue, task, when, unique), timeout)

    async def submit_many(
        self, queue: str, tasks: Iterable[Any], *, priority: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[str]:
        """Submit many tasks in the background, many in one write; yields their handles, in order. See
        :meth:`gearmancmd.JSONGearmanClient.submit_many`.

        >>> handles = [handle async for handle in client.submit_many("queue", tasks)]

        `tasks` is read in the event loop, and must not block. Arguments are checked when the first handle is asked for.
        """
        seconds = self._seconds(timeout)
        sent: deque[PendingBatch] = deque()
        failure: Exception | None = None
        batched = batches(self._submitter(queue, background=True, priority=priority), tasks)
        while True:
            try:
                sent.append(self._send_batch(next(batched), seconds))
            except StopIteration:
                break
            except Exception as error:  # handles that are on their way come first
                failure = error
                break
            if len(sent) == BATCHES_AHEAD:
                for handle in await self._handles(sent.popleft(), seconds):
                    yield handle
        for batch in sent:
            for handle in await self._handles(batch, seconds):
                yield handle
        if failure is not None:
            raise failure

    def _send_batch(self, batch: Batch, seconds: float) -> PendingBatch:
        pending = PendingBatch(batch.size)
        self._send(pending, batch.packets, time.monotonic() + seconds, None)
        return pending

    async def _handles(self, batch: PendingBatch, seconds: float) -> Iterable[str]:
        await self._wait_for_end(batch, time.monotonic() + seconds)
        return handles_of(batch)

    async def map(
        self,
        queue: str,
        tasks: Iterable[Any],
        *,
        window: int = 100,
        timeout: float | None = None,
        priority: str | None = None,
        return_exceptions: bool = False,
    ) -> AsyncIterator[Any]:
        """Send many tasks; yields their results, in the order of the tasks. See
        :meth:`gearmancmd.JSONGearmanClient.map`.

        >>> async for result in client.map("queue", tasks, timeout=10):
        ...     print(result)

        `tasks` is read in the event loop, and must not block. Arguments are checked when the first result is asked for.
        """
        arguments.count(window, "window")
        seconds = self._seconds(timeout)
        submitter = self._submitter(queue, priority=priority)
        tasks = iter(tasks)
        jobs: deque[PendingJob | Exception] = deque()
        try:
            while True:
                jobs.extend(self._started(submitter, task, seconds) for task in islice(tasks, window - len(jobs)))
                if not jobs:
                    return
                yield await self._mapped(jobs[0], seconds, return_exceptions)
                self._drop(jobs.popleft())
        finally:
            for job in jobs:
                self._drop(job)

    def _started(self, submitter: Submitter, task: Any, seconds: float) -> PendingJob | Exception:
        """A job under way, or why there is none."""
        try:
            submission = submitter.submission(task)
            pending = PendingJob(submission.unique, background=False, listened=False)
            self._send(pending, submission.packet, time.monotonic() + seconds, None)
        except MAPPED_ERRORS as error:
            return error
        return pending

    async def _mapped(self, job: PendingJob | Exception, seconds: float, return_exceptions: bool) -> Any:
        try:
            if isinstance(job, Exception):
                raise job
            return await self._result(job, time.monotonic() + seconds, _NOBODY)
        except MAPPED_ERRORS as error:
            if return_exceptions:
                return error
            raise

    async def status(self, handle: str, timeout: float | None = None) -> JobStatus:
        """Ask all servers about a job of which only the handle is left: see
        :meth:`gearmancmd.JSONGearmanClient.status`.
        """
        arguments.word(handle, "handle")
        return await self._status(handle, self._addresses, timeout)

    # What the verbs share.

    def _here(self) -> ClientLoop:
        """The connections of the event loop that runs."""
        if self._closed:
            raise ServerUnavailable(_CLOSED)
        if self._loop is not None and not self._loop.runs_here:
            self._leave_loop("the client is used in another event loop now")
        if self._loop is None:
            self._loop = ClientLoop(self._addresses, self._exceptions, self._max_payload)
        return self._loop

    def _leave_loop(self, why: str) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.leave(why)

    def _send(self, awaited: Awaited, packets: bytes, deadline: float, key: bytes | None) -> None:
        loop = self._here()
        loop.connections.look()
        loop.connections.send(awaited, packets, deadline, key)

    async def _acknowledged(self, submission: Submission, timeout: float | None) -> AsyncJob:
        deadline = self._deadline(timeout)
        pending = PendingJob(submission.unique, submission.background)
        try:
            self._send(pending, submission.packet, deadline, submission.key)
            if not await self._here().wait(pending, lambda: pending.acknowledged, deadline):
                raise self._late(pending)
            if pending.handle is None:
                assert pending.error is not None
                raise pending.error
            return AsyncJob(pending, self._job_result, self._status, self._drop)
        except BaseException:
            self._drop(pending)
            raise

    async def _job_result(self, pending: PendingJob, timeout: float | None, listeners: Listeners) -> Any:
        return await self._result(pending, self._deadline(timeout), listeners)

    async def _result(self, pending: PendingJob, deadline: float, listeners: Listeners) -> Any:
        if listeners == _NOBODY:
            await self._wait_for_end(pending, deadline)
            return self._result_of(pending)
        while True:
            ended = pending.ended  # asked first: none of its events comes after that
            for said in self._tell(pending, listeners, deadline):
                if inspect.isawaitable(said):
                    await said
            if ended:
                return self._result_of(pending)
            if not await self._here().wait(pending, lambda: pending.ended or pending.events, deadline):
                raise self._late(pending)

    async def _wait_for_end(self, awaited: Awaited, deadline: float) -> None:
        if awaited.ended:
            return  # after close() too
        if not await self._here().wait(awaited, lambda: awaited.ended, deadline):
            raise self._late(awaited)

    async def _status(self, handle: str, addresses: Sequence[Address], timeout: float | None) -> JobStatus:
        deadline = self._status_deadline(timeout)
        queries = [(address, StatusQuery(handle)) for address in addresses]
        try:
            for address, query in queries:
                self._here().connections.send_to(address, query, status_request(handle), deadline)
            for _, query in queries:
                await self._wait_for_end(query, deadline)
                if query.status is not None and query.status.known:
                    return query.status
            return unknown_status([query for _, query in queries])
        finally:
            for _, query in queries:
                self._drop(query)

    def _drop(self, awaited: Awaited | Exception) -> None:
        """Whoever waited does so no longer."""
        if isinstance(awaited, Awaited) and not awaited.ended:
            awaited.drop()
            if self._loop is not None and self._loop.runs_here:
                self._loop.connections.drop(awaited)
