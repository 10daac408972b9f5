"""AsyncJSONGearmanClient against both job servers: the verbs, cancellation, and many calls at once."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import re
import socket
import threading
from contextlib import closing

import pytest

from gearmancmd import AsyncJSONGearmanClient, GearmanCMD, JobFailed, JobTimeout, ServerUnavailable
from tests.support.gearmand import counts, free_port
from tests.support.proxy import Proxy
from tests.support.queues import Serving
from tests.support.waiting import LIMIT, wait_for

HELLO = {"command": "reverse", "message": "Hello"}
HOLD = {"command": "hold"}


@pytest.fixture
def asking(server):
    """Runs ``body(client)``, a coroutine, with a client of its own."""

    def ask(body, **options):
        async def main():
            async with AsyncJSONGearmanClient([server.address], **{"timeout": LIMIT, **options}) as client:
                return await body(client)

        return asyncio.run(main())

    return ask


async def until(condition):
    for _ in range(int(LIMIT / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition did not come true")


def test_a_call_returns_the_result(asking, serving, queue):
    assert asking(lambda client: client.call(queue, HELLO)) == "olleH"


def test_a_failed_job_raises_with_the_workers_reason(asking, serving, queue):
    with pytest.raises(JobFailed, match="failed: out of paper") as caught:
        asking(lambda client: client.call(queue, {"command": "refuse"}))
    assert caught.value.reason == "out of paper"


def test_reports_reach_their_listeners_in_order(asking, serving, queue):
    seen = []
    listeners = {
        "on_status": lambda done, total: seen.append((done, total)),
        "on_data": seen.append,
        "on_warning": seen.append,
    }
    assert asking(lambda client: client.call(queue, {"command": "report"}, **listeners)) == "printed"
    assert seen == [(0, 3), {"page": 0}, (1, 3), {"page": 1}, (2, 3), {"page": 2}, "paper is low"]


def test_listeners_may_be_coroutines_which_are_awaited(asking, serving, queue):
    seen = []

    async def slowly(data):
        await asyncio.sleep(0.001)
        seen.append(data)

    listeners = {"on_status": lambda done, total: seen.append(done), "on_data": slowly, "on_warning": slowly}
    assert asking(lambda client: client.call(queue, {"command": "report"}, **listeners)) == "printed"
    assert seen == [0, {"page": 0}, 1, {"page": 1}, 2, {"page": 2}, "paper is low"]


def test_a_result_that_is_there_can_be_had_after_close(asking, serving, queue):
    async def body(client):
        job = await client.submit(queue, {"command": "report"})
        assert await job.result() == "printed"
        await client.close()
        return await job.result()

    assert asking(body) == "printed"


def test_reports_are_kept_for_whoever_listens_later(asking, serving, queue):
    async def body(client):
        job = await client.submit(queue, {"command": "report"})
        assert await job.result() == "printed"
        told = []
        assert await job.result(on_data=told.append) == "printed"
        return told

    assert asking(body) == [{"page": 0}, {"page": 1}, {"page": 2}]


def test_a_second_event_loop_gets_connections_of_its_own(server, serving, queue):
    client = AsyncJSONGearmanClient([server.address], timeout=LIMIT)
    for text in ("ab", "cd", "ef"):
        assert asyncio.run(client.call(queue, {"command": "reverse", "message": text})) == text[::-1]
    job = asyncio.run(client.submit(queue, HOLD))  # it has no result before its loop is left

    async def later():
        with pytest.raises(ServerUnavailable, match="another event loop"):
            await job.result()
        assert isinstance((await job.status()).known, bool), "its server is asked by a connection of this loop"
        return await client.call(queue, HELLO)

    assert asyncio.run(later()) == "olleH"
    asyncio.run(client.close())
    with pytest.raises(ServerUnavailable, match="the client was closed"):
        asyncio.run(client.call(queue, HELLO))


def test_event_loops_in_several_threads_one_after_the_other(server, serving, queue):
    """The loop before is still there, in its thread, when the next one takes the client over."""
    client = AsyncJSONGearmanClient([server.address], timeout=LIMIT)
    loops = [asyncio.new_event_loop() for _ in range(2)]
    threads = [threading.Thread(target=loop.run_forever) for loop in loops]
    for thread in threads:
        thread.start()
    for loop in loops * 3:
        assert asyncio.run_coroutine_threadsafe(client.call(queue, HELLO), loop).result(LIMIT) == "olleH"
    for loop, thread in zip(loops, threads):
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT)
        loop.close()


def test_a_thousand_calls_at_once(asking, serving, queue):
    async def body(client):
        tasks = [{"command": "reverse", "message": f"{number:04}"} for number in range(1000)]
        return await asyncio.gather(*(client.call(queue, task) for task in tasks))

    assert asking(body) == [f"{number:04}"[::-1] for number in range(1000)]


def test_a_call_that_is_cancelled_disturbs_nobody(asking, serving, queue):
    async def body(client):
        task = asyncio.create_task(client.call(queue, HOLD))
        await until(lambda: serving.started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        serving.let_go.set()
        return [await client.call(queue, {"command": "reverse", "message": text}) for text in ("ab", "cd")]

    assert asking(body) == ["ba", "dc"]


def test_calls_may_be_cancelled_at_any_point(asking, serving, queue):
    """After each number of turns of the loop, from before the connection is there to after the result is."""

    async def body(client):
        for turns in range(60):
            task = asyncio.create_task(client.call(queue, HELLO))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                assert await task == "olleH"
            except asyncio.CancelledError:
                pass
        return await client.call(queue, {"command": "reverse", "message": "ab"})

    assert asking(body) == "ba"


@pytest.mark.skipif(not hasattr(asyncio, "timeout"), reason="asyncio.timeout came with Python 3.11")
def test_a_timeout_of_asyncio_works(asking, serving, queue):
    async def body(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.call(queue, HOLD)
        serving.let_go.set()
        return await client.call(queue, HELLO)

    assert asking(body) == "olleH"


def test_a_late_answer_disturbs_nobody(asking, serving, queue):
    async def body(client):
        assert await client.call(queue, HELLO) == "olleH"  # it is connected
        with pytest.raises(JobTimeout, match=r"no result of job"):
            await client.call(queue, HOLD, timeout=1)
        serving.let_go.set()
        return await client.call(queue, HELLO)

    assert asking(body) == "olleH"


def test_a_job_tells_how_it_stands(asking, serving, queue):
    async def body(client):
        job = await client.submit(queue, {"command": "hold", "message": "at last"})
        await until(lambda: serving.started)
        assert (await job.status()).running
        assert not await job.done()
        assert re.fullmatch(rf"<AsyncJob H:\S+ unique='{job.unique}' server={re.escape(job.server)}>", repr(job))
        with pytest.raises(JobTimeout):
            await job.result(timeout=0.05)
        waiting = [asyncio.create_task(job.result()) for _ in range(2)]
        await asyncio.sleep(0)
        serving.let_go.set()
        assert await asyncio.gather(*waiting) == ["at last"] * 2
        assert await job.done()
        job.abandon()
        return await client.status(job.handle)

    assert not asking(body).known


def test_the_result_of_an_abandoned_job_is_refused(asking, serving, queue):
    async def body(client):
        job = await client.submit(queue, HOLD)
        job.abandon()
        serving.let_go.set()
        with pytest.raises(ValueError, match="abandoned"):
            await job.result()

    asking(body)


def test_a_background_job_has_a_status_and_no_result(asking, server, queue):
    async def body(client):
        job = await client.submit(queue, HELLO, background=True, priority="low", unique="mine")
        assert job.unique == "mine"
        assert not await job.done()
        with pytest.raises(ValueError, match="background job has no result"):
            await job.result()

    asking(body)
    assert counts(server, queue)[0] == 1


def test_many_submissions_yield_a_handle_each(asking, server, queue):
    async def body(client):
        return [handle async for handle in client.submit_many(queue, ({"number": n} for n in range(3000)))]

    assert len(set(asking(body))) == 3000
    assert counts(server, queue)[0] == 3000


def test_handles_come_before_the_error_of_a_later_task(asking, server, queue):
    async def body(client):
        handles = []
        with pytest.raises(TypeError, match="task cannot be encoded"):
            async for handle in client.submit_many(queue, [*[{}] * 10, object()]):
                handles.append(handle)
        return handles

    assert len(asking(body)) == 10


def test_a_map_yields_results_in_order_and_what_failed(asking, serving, queue):
    async def body(client):
        tasks = [*({"command": "reverse", "message": f"{n:03}"} for n in range(100)), {"command": "refuse"}, object()]
        return [result async for result in client.map(queue, tasks, window=7, return_exceptions=True)]

    results = asking(body)
    assert results[:100] == [f"{n:03}"[::-1] for n in range(100)]
    assert isinstance(results[100], JobFailed)
    assert isinstance(results[101], TypeError)


def test_a_map_raises_and_reads_no_further_than_its_window(asking, serving, queue):
    read = itertools.count()

    async def body(client):
        tasks = ({"command": "refuse", "number": next(read)} for _ in itertools.repeat(None))
        async for _ in client.map(queue, tasks, window=10):
            pass

    with pytest.raises(JobFailed, match="out of paper"):
        asking(body)
    assert next(read) == 10


def test_a_scheduled_task_is_acknowledged(asking, gearmand, queue):
    async def main():
        async with AsyncJSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
            when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
            return (await client.schedule(queue, HELLO, when)).handle

    assert asyncio.run(main()).startswith("H:")
    assert counts(gearmand, queue)[0] == 1


def test_a_dead_server_is_skipped(gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    dead = f"127.0.0.1:{free_port()}"

    async def main():
        async with AsyncJSONGearmanClient([dead, gearmand.address], timeout=LIMIT) as client:
            assert [await client.call(queue, HELLO) for _ in range(4)] == ["olleH"] * 4
        async with AsyncJSONGearmanClient([dead], timeout=LIMIT) as client:
            with pytest.raises(ServerUnavailable, match=re.escape(dead)):
                await client.call(queue, HELLO)

    asyncio.run(main())


def test_a_server_that_is_lost_in_a_call_is_an_error_and_nothing_is_sent_twice(own_gearmand, queue, run):
    target = Serving()
    run(GearmanCMD([own_gearmand.address]).register_task(queue, target))

    async def main():
        async with AsyncJSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
            task = asyncio.create_task(client.call(queue, HOLD))
            await until(lambda: target.started)
            own_gearmand.stop()
            with pytest.raises(ServerUnavailable, match="lost with the job"):
                await task
            target.let_go.set()
            own_gearmand.start()
            wait_for(lambda: counts(own_gearmand, queue)[2], "the worker to come back")
            assert await client.call(queue, HELLO) == "olleH"

    asyncio.run(main())
    assert target.started == 1


def test_the_stream_may_be_cut_anywhere(server, serving, queue):
    async def main(proxy):
        async with AsyncJSONGearmanClient([proxy.address], timeout=LIMIT) as client:
            text = "x" * (1 << 20)
            assert await client.call(queue, {"command": "reverse", "message": text}) == text
            return await client.call(queue, HELLO)

    with Proxy(server, chunk=4099) as proxy:
        assert asyncio.run(main(proxy)) == "olleH"


def test_what_is_no_job_server_is_an_error(queue):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer():
            connection, _ = listener.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(65536)

        threading.Thread(target=answer, daemon=True).start()

        async def main():
            async with AsyncJSONGearmanClient([listener.getsockname()], timeout=LIMIT) as client:
                await client.call(queue, HELLO)

        with pytest.raises(ServerUnavailable, match="expected a response of a job server"):
            asyncio.run(main())


def test_closing_ends_every_wait(asking, serving, queue):
    async def body(client):
        tasks = [asyncio.create_task(client.call(queue, HOLD)) for _ in range(2)]
        await until(lambda: serving.started == 2)
        await client.close()
        for task in tasks:
            with pytest.raises(ServerUnavailable, match="the client was closed"):
                await task
        with pytest.raises(ServerUnavailable, match="the client was closed"):
            await client.call(queue, HELLO)
        with pytest.raises(ServerUnavailable, match="the client was closed"):
            await client.status("H:any:1")

    asking(body)


def test_bad_input_is_refused(asking, queue):
    with pytest.raises(ValueError, match=r"servers must name at least one server, not \[\]"):
        AsyncJSONGearmanClient([])
    with pytest.raises(ValueError, match="timeout must be above 0 and finite, not -1"):
        asking(lambda client: client.call(queue, HELLO, timeout=-1))
    with pytest.raises(ValueError, match="unique must have at most 63 bytes"):
        asking(lambda client: client.call(queue, HELLO, unique="x" * 64))
