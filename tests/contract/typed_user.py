"""A user's code, as type checkers are to see it. scripts/check_examples.py checks it, and nothing runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from typing_extensions import assert_type

from gearmancmd import (
    AsyncJSONGearmanClient,
    CommandError,
    GearmanCMD,
    GearmanCMDQueue,
    JobFailed,
    JSONGearmanClient,
    JSONGearmanWorker,
)
from gearmancmd.server import EmbeddedServer


class MyCMD(GearmanCMD):
    worker = JSONGearmanWorker
    greeting = "Hello"

    def dispatch(self, queue: str, task: dict[str, Any]) -> str | tuple[str, str] | None:
        name = super().dispatch(queue, task)
        return ("queue", "reverse") if name == "urgent" else None


class MyQueue(GearmanCMDQueue):
    def reverse(self, gcmd: GearmanCMD, task: Any) -> str:
        assert_type(gcmd.job.handle, str)
        assert_type(gcmd.job.unique, str)
        assert_type(gcmd.job.queue, str)
        gcmd.job.send_status(1, 2)
        for message in gcmd.track([str(task)]):
            assert_type(message, str)
        return gcmd.job.handle

    def greet(self, gcmd: MyCMD, task: dict[str, str]) -> str:
        if "name" not in task:
            raise CommandError("greet needs a name")
        return gcmd.greeting + task["name"]

    def default(self, gcmd: MyCMD, task: object) -> None:
        gcmd.stop(graceful=True)


def work() -> None:
    gcmd = MyCMD(["localhost:4730"]).register_task("queue", MyQueue())
    assert_type(gcmd, MyCMD)
    gcmd.run()


class MyClient(JSONGearmanClient):
    def reverse(self, message: str) -> str:
        return str(self.call("queue", {"command": "reverse", "message": message}))


def ask() -> None:
    with MyClient(["localhost:4730", ("localhost", 4730), {"host": "localhost"}], timeout=5) as client:
        assert_type(client, MyClient)
        job = client.submit("queue", 1, priority="low", unique="one")
        assert_type(job.handle, str)
        assert_type(job.status().known, bool)
        assert_type(client.status(job.handle).done, int)
        assert_type(client.submit_many("queue", [1, 2]), Iterator[str])
        assert_type(client.map("queue", [1, 2]), Iterator[Any])
        assert_type(client.schedule("queue", 1, datetime.now(timezone.utc) + timedelta(hours=1)).background, bool)
        try:
            job.result(on_status=lambda done, total: print(done / total), on_data=print, on_warning=print)
        except JobFailed as error:
            assert_type(error.handle, str | None)


class MyAsyncClient(AsyncJSONGearmanClient):
    pass


async def ask_with_asyncio() -> None:
    async def warned(warning: str) -> None:
        print(warning)

    async with MyAsyncClient(["localhost:4730"], max_payload=1024) as client:
        assert_type(client, MyAsyncClient)
        job = await client.submit("queue", 1)
        assert_type((await job.status()).running, bool)
        await client.call("queue", 1, on_warning=warned)
        assert_type(client.submit_many("queue", [1, 2]), AsyncIterator[str])
        assert_type(client.map("queue", [1, 2]), AsyncIterator[Any])


class MyServer(EmbeddedServer):
    pass


def serve() -> None:
    with MyServer() as server:
        assert_type(server, MyServer)
