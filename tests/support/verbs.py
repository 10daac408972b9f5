"""Each verb of both clients, as a function that takes the servers and the options of a client."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gearmancmd import AsyncJSONGearmanClient, JSONGearmanClient

HELLO = {"command": "reverse", "message": "Hello"}


def _when() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]


#: What each verb does with a client and a queue.
VERBS: dict[str, Callable[[Any, str], Any]] = {
    "call": lambda client, queue: client.call(queue, HELLO),
    "submit": lambda client, queue: client.submit(queue, HELLO),
    "submit in the background": lambda client, queue: client.submit(queue, HELLO, background=True),
    "submit_many": lambda client, queue: client.submit_many(queue, [HELLO] * 3),
    "map": lambda client, queue: client.map(queue, [HELLO] * 3),
    "schedule": lambda client, queue: client.schedule(queue, HELLO, _when()),
    "status": lambda client, queue: client.status("H:any:1"),
}


def with_threads(verb: str, servers: list[Any], queue: str, **options: Any) -> Any:
    """Call a verb of JSONGearmanClient; iterators are read to their end."""
    with JSONGearmanClient(servers, **options) as client:
        result = VERBS[verb](client, queue)
        return list(result) if hasattr(result, "__next__") else result


def with_asyncio(verb: str, servers: list[Any], queue: str, **options: Any) -> Any:
    """Call a verb of AsyncJSONGearmanClient; iterators are read to their end."""

    async def main() -> Any:
        async with AsyncJSONGearmanClient(servers, **options) as client:
            result = VERBS[verb](client, queue)
            return await (_all(result) if hasattr(result, "__anext__") else result)

    return asyncio.run(main())


CLIENTS = {"threads": with_threads, "asyncio": with_asyncio}


def errors_of_each_verb(client: str, servers: list[Any], queue: str, **options: Any) -> dict[str, BaseException | None]:
    """What each verb of a client raises. Each has a client of its own, and all are called at once: where no server
    answers, they only wait.
    """
    with ThreadPoolExecutor(len(VERBS)) as threads:
        calls = {verb: threads.submit(CLIENTS[client], verb, servers, queue, **options) for verb in VERBS}
    return {verb: call.exception() for verb, call in calls.items()}
