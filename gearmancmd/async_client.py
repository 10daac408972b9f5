"""AsyncJSONGearmanClient: the verbs of client.py as coroutines."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

from . import arguments
from .address import Server, parse_addresses
from .async_exchange import AsyncConnection, AsyncExchange, AsyncLine, AsyncPending, AsyncStatusQuery
from .client import STATUS_TIMEOUT
from .encoder import JSONDataEncoder
from .errors import GearmanCMDError, JobTimeout
from .inflight import JobStatus, SubmittedJob
from .outcome import Listeners, checked_listeners, result_of
from .submission import Submission, Submitter, batches

T = TypeVar("T")

_NOBODY = Listeners()


class AsyncJob(SubmittedJob):
    """A job that was submitted: `handle` and `unique` name it at its server. A background job has no result."""

    def __init__(self, client: AsyncJSONGearmanClient, line: AsyncLine, pending: AsyncPending) -> None:
        super().__init__(str(line), pending)
        self._client = client
        self._line = line

    async def done(self) -> bool:
        """Whether result() would return or raise at once. Of a background job: whether its server forgot it."""
        if self.background:
            return not (await self.status()).known
        await asyncio.sleep(0)
        return self._pending.ended

    async def result(
        self,
        timeout: float | None = None,
        *,
        on_status: Callable[[int, int], object] | None = None,
        on_data: Callable[[Any], object] | None = None,
        on_warning: Callable[[Any], object] | None = None,
    ) -> Any:
        """What the command returned. JobFailed, ServerUnavailable; JobTimeout, after which it may be asked again."""
        if self.background:
            raise ValueError(f"a background job has no result: {self!r}")
        listeners = checked_listeners(on_status=on_status, on_data=on_data, on_warning=on_warning)
        return await self._client._within(timeout, self._client._result, self._pending, listeners)

    async def status(self, timeout: float | None = None) -> JobStatus:
        """What the server says of the job now. JobTimeout, ServerUnavailable."""
        return await self._client._within(timeout, self._client._status, self._line, self.handle)


class AsyncJSONGearmanClient:
    """JSONGearmanClient's verbs as coroutines, for one event loop.

    >>> async with AsyncJSONGearmanClient(["localhost:4730"]) as client:
    ...     await client.call("queue", {"command": "reverse", "message": "Hello"})
    'olleH'

    Arguments and errors are those of :class:`JSONGearmanClient`. Any number of tasks may use one client; whoever is
    cancelled, by ``asyncio.timeout`` say, leaves nothing behind that disturbs another.
    """

    data_encoder: Any = JSONDataEncoder

    def __init__(self, servers: Iterable[Server], *, timeout: float | None = None, exceptions: bool = True) -> None:
        addresses = parse_addresses(servers)
        if not addresses:
            raise ValueError("servers must name at least one server, not []")
        self._timeout = None if timeout is None else arguments.seconds(timeout, "timeout")
        self._exchange = AsyncExchange(addresses, exceptions)

    async def __aenter__(self) -> AsyncJSONGearmanClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Tasks that wait for a result get ServerUnavailable; so does whoever calls later."""
        self._exchange.close()
        await asyncio.sleep(0)  # asyncio closes its transports in the next turn of the loop

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
        """The result of a task."""
        listeners = checked_listeners(on_status=on_status, on_data=on_data, on_warning=on_warning)
        submission = self._submitter(queue, priority=priority).submission(task, unique)
        return await self._within(timeout, self._called, submission, unique, listeners)

    async def _called(self, submission: Submission, unique: str | None, listeners: Listeners) -> Any:
        _, pending = await self._submit(submission, unique)
        try:
            return await self._result(pending, listeners)
        finally:
            pending.ignored = True

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
        """Submit a task, and return as soon as a server has it; `timeout` is for that only."""
        submission = self._submitter(queue, background=background, priority=priority).submission(task, unique)
        return await self._within(timeout, self._acknowledged, submission, unique)

    async def schedule(
        self, queue: str, task: Any, when: datetime, *, unique: str | None = None, timeout: float | None = None
    ) -> AsyncJob:
        """Submit a background task that is handed out at `when`, a datetime with a time zone, or at the next grab
        after it: gearmand wakes no worker for it.
        """
        submission = self._submitter(queue, background=True).scheduled(task, when, unique)
        return await self._within(timeout, self._acknowledged, submission, unique)

    async def submit_many(
        self, queue: str, tasks: Iterable[Any], *, priority: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[str]:
        """Submit tasks in the background, many in one write, and yield their handles in order."""
        sent: deque[list[AsyncPending]] = deque()
        failure: Exception | None = None
        batched = batches(self._submitter(queue, background=True, priority=priority), tasks)
        while True:
            try:
                sent.append(await self._within(timeout, self._send_batch, next(batched)))
            except StopIteration:
                break
            except Exception as error:  # handles that are on their way come first
                failure = error
                break
            if len(sent) > 1:
                async for handle in self._handles(sent.popleft(), timeout):
                    yield handle
        for batch in sent:
            async for handle in self._handles(batch, timeout):
                yield handle
        if failure is not None:
            raise failure

    async def _send_batch(self, batch: list[Submission]) -> list[AsyncPending]:
        _, connection = await self._exchange.line()
        jobs = [AsyncPending(submission.unique, background=True) for submission in batch]
        packets = b"".join([submission.packet for submission in batch])
        connection.send(lambda inflight: inflight.submit(jobs, packets))
        await connection.drained()
        return jobs

    async def _handles(self, batch: list[AsyncPending], timeout: float | None) -> AsyncIterator[str]:
        await self._within(timeout, batch[-1].until, lambda: batch[-1].ended)
        for job in batch:
            if job.error is not None:
                raise job.error
            yield job.handle or ""

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
        """The results of tasks, in order, as they arrive, with up to `window` jobs under way at a time."""
        arguments.count(window, "window")
        submitter = self._submitter(queue, priority=priority)
        tasks = iter(tasks)
        jobs: deque[AsyncPending | Exception] = deque()
        try:
            while True:
                for task in islice(tasks, window - len(jobs)):
                    jobs.append(await self._started(submitter, task, timeout))
                if not jobs:
                    return
                yield await self._mapped(jobs[0], timeout, return_exceptions)
                _ignore(jobs.popleft())
        finally:
            for job in jobs:
                _ignore(job)

    async def _started(self, submitter: Submitter, task: Any, timeout: float | None) -> AsyncPending | Exception:
        """A job under way, or why there is none."""
        try:
            _, pending = await self._within(timeout, self._submit, submitter.submission(task), None)
        except (GearmanCMDError, TypeError, ValueError) as error:
            return error
        return pending

    async def _mapped(self, job: AsyncPending | Exception, timeout: float | None, return_exceptions: bool) -> Any:
        try:
            if isinstance(job, Exception):
                raise job
            return await self._within(timeout, self._result, job, _NOBODY)
        except (GearmanCMDError, TypeError, ValueError) as error:
            if return_exceptions:
                return error
            raise

    async def status(self, handle: str, timeout: float | None = None) -> JobStatus:
        """What the servers say of a job of which only the handle is left."""
        arguments.function_name(handle, "handle")
        status = JobStatus(known=False, running=False, done=0, total=0)
        for line in self._exchange.lines:
            status = await self._within(timeout, self._status, line, handle)
            if status.known:
                break
        return status

    # What the verbs share.

    def _submitter(self, queue: str, *, background: bool = False, priority: str | None = None) -> Submitter:
        return Submitter(self.data_encoder.encode, queue, background=background, priority=priority)

    async def _within(self, timeout: float | None, coroutine: Callable[..., Awaitable[T]], *its_arguments: Any) -> T:
        """What `coroutine` returns; JobTimeout when it takes longer than `timeout`, or else the client's."""
        seconds = self._timeout if timeout is None else arguments.seconds(timeout, "timeout")
        if seconds is None:
            return await coroutine(*its_arguments)
        try:
            return await asyncio.wait_for(coroutine(*its_arguments), seconds)
        except asyncio.TimeoutError as error:
            raise JobTimeout(f"no answer within {seconds:g} s") from error

    async def _submit(self, submission: Submission, unique: str | None) -> tuple[AsyncLine, AsyncPending]:
        line, connection = await self._exchange.line(unique)
        pending = AsyncPending(submission.unique, submission.background)
        connection.send(lambda inflight: inflight.submit([pending], submission.packet))
        try:
            await connection.drained()
        except asyncio.CancelledError:
            pending.ignored = True
            raise
        return line, pending

    async def _acknowledged(self, submission: Submission, unique: str | None) -> AsyncJob:
        line, pending = await self._submit(submission, unique)
        try:
            await pending.until(lambda: pending.acknowledged)
        except asyncio.CancelledError:
            pending.ignored = True
            raise
        if pending.handle is None:
            assert pending.error is not None
            raise pending.error
        return AsyncJob(self, line, pending)

    async def _result(self, pending: AsyncPending, listeners: Listeners) -> Any:
        while True:
            ended = pending.ended  # asked first: none of its events comes after that
            while pending.events:
                listeners.tell(pending.events.popleft(), self.data_encoder.decode)
            if ended:
                return result_of(pending, self.data_encoder.decode)
            await pending.until(lambda: pending.ended or pending.events)

    async def _status(self, line: AsyncLine, handle: str) -> JobStatus:
        self._exchange.check_open()
        connection: AsyncConnection = await line.open()
        query = AsyncStatusQuery(handle)
        connection.send(lambda inflight: inflight.ask(query))
        try:
            await asyncio.wait_for(query.until(lambda: query.ended), STATUS_TIMEOUT)
        except asyncio.TimeoutError as error:
            raise JobTimeout(f"no status of job {handle} from {line} within {STATUS_TIMEOUT:g} s") from error
        if query.status is None:
            assert query.error is not None
            raise query.error
        return query.status


def _ignore(job: AsyncPending | Exception) -> None:
    if not isinstance(job, Exception):
        job.ignored = True
