"""Asynchronous commands, in the event loop: coroutines and generators, with the same attempts and limits as others.

Imported when the first one is called: asyncio takes longer to import than all the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from .._wire import threads
from .._worker.job import NO_ANSWER, WorkerJob
from .._worker.time_limit import timed_out
from .attempts import Attempts
from .stream import is_asynchronous


async def awaited(job: WorkerJob, begun: Any, attempts: Attempts | None) -> Any:
    """What a coroutine comes to, or another attempt. `begun` is that of the attempt under way. NO_ANSWER where the
    worker is to stop before the next one.
    """
    if attempts is None:
        return await _sent(job, begun)
    while True:
        try:
            if begun is None:
                begun = attempts.begin()
            if not is_asynchronous(begun):
                return begun
            call = partial(_sent, job, begun)
            return await (call() if attempts.time_limit is None else _in_time(attempts.time_limit, call))
        except BaseException as error:
            seconds = attempts.pause_after(error)
            if seconds is None:
                raise
        while seconds > 0 and not attempts.pauses.no_pause():
            await asyncio.sleep(min(seconds, attempts.pauses.poll_timeout))
            seconds -= attempts.pauses.poll_timeout
        if attempts.pauses.over():
            return NO_ANSWER
        job.next_attempt()
        begun = None


async def outcome(call: Callable[[], Any]) -> Callable[[], Any]:
    """What `call` does, to be had later: its result, or its exception. It may wait, and so has a thread of its own:
    a daemon, and none of asyncio's, for which the process would wait at its end.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Callable[[], Any]] = loop.create_future()

    def settle(result: Callable[[], Any]) -> None:
        if not done.done():
            done.set_result(result)

    def tell(result: Callable[[], Any]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result)

    context = copy_context()

    def run() -> None:
        tell(context.run(_done, call))

    threads.start("gearmancmd-outcome", run, lambda error: tell(partial(_raise, error)))
    return await done


async def _sent(job: WorkerJob, result: Any) -> Any:
    """What a coroutine comes to; of an asynchronous generator each item is sent, and it comes to None."""
    if not isinstance(result, AsyncGenerator):
        return await result
    try:
        async for item in result:
            if job.is_ahead():
                (await outcome(partial(job.send_data, item)))()  # it may wait for the network
            else:
                job.send_data(item)
    finally:
        await result.aclose()
    return None


async def _in_time(seconds: float, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What `call` comes to. CommandTimeout when that takes too long: the command sees a CancelledError."""
    task = asyncio.current_task()
    assert task is not None
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        return await call()
    except asyncio.CancelledError:
        if not expired:
            raise
        raise timed_out(seconds) from None
    finally:
        timer.cancel()
        if expired and hasattr(task, "uncancel"):  # from Python 3.11 on; else the next attempt would count as cancelled
            task.uncancel()


def _done(call: Callable[[], Any]) -> Callable[[], Any]:
    try:
        result = call()
    except BaseException as error:
        return partial(_raise, error)
    return lambda: result


def _raise(error: BaseException) -> Any:
    raise error
