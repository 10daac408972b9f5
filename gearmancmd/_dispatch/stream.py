"""Commands that are generators: what they yield is sent ahead as WORK_DATA."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from types import GeneratorType
from typing import Any

from .._worker.job import WorkerJob


def is_stream(result: object) -> bool:
    """Whether a command that is called has returned its generator."""
    return isinstance(result, GeneratorType)


def is_asynchronous(result: object) -> bool:
    """Whether what a command returned is for the event loop: a coroutine, or an asynchronous generator."""
    return isinstance(result, (Awaitable, AsyncGenerator))


def begins_in_event_loop(routine: Callable[..., object]) -> bool:
    """Whether nothing of it runs when it is called: an asynchronous function, or one that is a generator."""
    return inspect.iscoroutinefunction(routine) or inspect.isasyncgenfunction(routine)


def sent(job: WorkerJob, generator: Generator[Any, None, Any]) -> Any:
    """Send each item; what the generator returns."""
    try:
        while True:
            job.send_data(next(generator))
    except StopIteration as end:
        return end.value
    finally:
        generator.close()
