"""The event loop of asynchronous commands, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .._wire import threads
from .._worker.job import WorkerJob
from ..logs import logger

if TYPE_CHECKING:
    import asyncio

#: Seconds for commands that were cancelled to end.
CANCEL_SECONDS = 2.0

#: Seconds for the thread to end.
THREAD_END_SECONDS = 2.0


class EventLoop:
    """Started with the first coroutine. The calling thread may be any, but for end()."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._first = threads.Once()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[asyncio.Task[None], WorkerJob] = {}
        self._cancelled: set[WorkerJob] = set()
        #: Since end(): which jobs are spared, and what it waits for.
        self._spare: Callable[[WorkerJob], bool] | None = None
        self._idle: threads.Latch | None = None
        self._given_up = False
        self._ended = threads.Latch()
        self._started = threads.Latch()

    @property
    def running(self) -> bool:
        """Whether it was started."""
        return self._loop is not None

    def cancelled(self, job: WorkerJob) -> bool:
        """Whether end() has cancelled the command of a job."""
        return job in self._cancelled

    def start(self, job: WorkerJob, coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine for a job, in the context of the calling thread. What leaves it goes to `failed`."""
        if self._first.take():
            self._loop = _new_loop()
            threads.start("gearmancmd-event-loop", self._run, self._not_started)
            self._started.set()
        while not self._started.wait(1.0):
            pass
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._begin, job, coroutine, context=copy_context())

    def end(self, spare: Callable[[WorkerJob], bool]) -> None:
        """Cancel the commands that run, but for those whose job is to be spared; wait for all of them, for those that
        are cancelled up to CANCEL_SECONDS; and end the thread, which waits for those that go on all the same. May be
        called again, to spare fewer.
        """
        loop = self._loop
        if loop is None or self._given_up or self._ended.is_set:
            return
        idle = threads.Latch()
        try:
            loop.call_soon_threadsafe(self._cancel, spare, idle)
            while not idle.wait(CANCEL_SECONDS) and any(spare(job) for job in list(self._tasks.values())):
                pass
            if not idle.is_set:
                self._given_up = True
                names = ", ".join(sorted({f"{job.command} of {job.queue}" for job in list(self._tasks.values())}))
                logger.warning("these commands were cancelled, and go on all the same: %s", names)
                return
            self._ended.wait(THREAD_END_SECONDS)
        except RuntimeError:
            pass  # the loop is closed

    # In the loop's thread.

    def _run(self) -> None:
        loop = self._loop
        assert loop is not None
        try:
            loop.run_forever()
        finally:
            loop.close()
            self._ended.set()

    def _not_started(self, error: Exception) -> None:
        self._ended.set()
        self._failed(error)

    def _begin(self, job: WorkerJob, coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._watched(job, coroutine))
        self._tasks[task] = job
        task.add_done_callback(self._done)
        if self._spare is not None and not self._spare(job):
            self._cancel_one(task, job)

    async def _watched(self, job: WorkerJob, coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await coroutine()
        except BaseException as error:
            if job.origin.forked:
                raise SystemExit(1) from error  # it ends the loop, and with it the child
            self._failed(error)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._look()

    def _cancel(self, spare: Callable[[WorkerJob], bool], idle: threads.Latch) -> None:
        self._spare = spare
        self._idle = idle
        for task, job in self._tasks.items():
            if not spare(job):
                self._cancel_one(task, job)
        self._look()

    def _cancel_one(self, task: asyncio.Task[None], job: WorkerJob) -> None:
        self._cancelled.add(job)
        task.cancel()

    def _look(self) -> None:
        if self._idle is not None and self._loop is not None and not self._tasks:
            self._idle.set()
            self._loop.stop()


def _new_loop() -> asyncio.AbstractEventLoop:
    import asyncio  # noqa: PLC0415 - it takes longer to import than all the rest
    import selectors  # noqa: PLC0415

    return asyncio.SelectorEventLoop(selectors.PollSelector())  # a forked child would share the set of an epoll
