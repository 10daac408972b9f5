"""One client that many threads or coroutines share, while its server is killed again and again: each answer is right,
or it is an error that is documented; and afterwards the client works.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from gearmancmd import AsyncJSONGearmanClient, GearmanCMD, JSONGearmanClient
from tests.support.faults import TIMES, tell
from tests.support.killing import DOCUMENTED, JOBS, KILLS, PAUSE_SECONDS, Numbered, kill_under_way, task
from tests.support.shared_client import PROGRAM
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import UNMEASURED

THREADS = 8
COROUTINES = min(100 * TIMES, 1000)


@pytest.fixture
def target(own_gearmand, queue, run):
    """The queue, with a worker."""
    numbered = Numbered()
    running = run(GearmanCMD([own_gearmand.address], prefetch=16).register_task(queue, numbered))
    yield numbered
    assert running.error is None


class Calls:
    """What became of calls that go on until `over`."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.numbers = iter(range(1, 1 << 60))
        self.outcomes: Counter[str] = Counter()
        self._counting = threading.Lock()

    def count(self, outcome: str) -> None:
        with self._counting:
            self.outcomes[outcome] += 1

    def tell(self, scenario: str) -> None:
        tell(scenario, kills=KILLS, wrong_answers=0, **self.outcomes)


def kill_until_done(server, target):
    kill_under_way(server, lambda: len(target.done), JOBS)
    wait_for(lambda: len(target.done) >= JOBS, "all jobs to be done")


def kill_until_over(server, target, calls):
    try:
        kill_until_done(server, target)
    finally:
        calls.over.set()


def test_threads_that_share_a_client_get_right_answers_or_documented_errors(own_gearmand, queue, target):
    calls = Calls()

    def call(client):
        while not calls.over.is_set():
            number = next(calls.numbers)
            try:
                assert client.call(queue, task(number)) == -number
                calls.count("right_answers")
            except DOCUMENTED as error:
                calls.count(type(error).__name__)
                time.sleep(PAUSE_SECONDS)

    with JSONGearmanClient([own_gearmand.address], timeout=2 * LIMIT) as client, ThreadPoolExecutor(THREADS) as threads:
        callers = [threads.submit(call, client) for _ in range(THREADS)]
        kill_until_over(own_gearmand, target, calls)
        for caller in callers:
            caller.result()
        assert client.call(queue, task(7)) == -7
    calls.tell(f"server killed, {THREADS} threads share a client")


def test_coroutines_that_share_a_client_get_right_answers_or_documented_errors(own_gearmand, queue, target):
    calls = Calls()

    async def call(client):
        while not calls.over.is_set():
            number = next(calls.numbers)
            try:
                assert await client.call(queue, task(number)) == -number
                calls.count("right_answers")
            except DOCUMENTED as error:
                calls.count(type(error).__name__)
                await asyncio.sleep(PAUSE_SECONDS)

    async def main():
        async with AsyncJSONGearmanClient([own_gearmand.address], timeout=2 * LIMIT) as client:
            callers = [call(client) for _ in range(COROUTINES)]
            await asyncio.gather(asyncio.to_thread(kill_until_over, own_gearmand, target, calls), *callers)
            assert await client.call(queue, task(7)) == -7

    asyncio.run(main())
    calls.tell(f"server killed, {COROUTINES:,} coroutines share a client")


@pytest.mark.parametrize("program, callers", [("threads", THREADS), ("coroutines", COROUTINES)])
def test_calls_that_are_broken_off_and_forks_meanwhile_disturb_no_other_call(
    own_gearmand, queue, target, worker_process, program, callers
):
    process = worker_process(PROGRAM, program, own_gearmand.address, queue, str(callers), environment=UNMEASURED)
    kill_until_done(own_gearmand, target)
    process.process.terminate()
    status = process.process.wait(2 * LIMIT)
    count, *results = json.loads(process.wait_for_line("told").removeprefix("told"))
    assert status == 0
    assert [wrong for _, wrong in results] == [[], []]
    (outcomes, _), (outcomes_in_children, _) = results
    assert outcomes["right_answers"] and outcomes["broken_off"] and outcomes_in_children["right_answers"]
    in_children = {f"{outcome}_in_children": number for outcome, number in outcomes_in_children.items()}
    scenario = f"server killed, {callers:,} {program}, forks"
    tell(scenario, kills=KILLS, wrong_answers=0, **outcomes, children=count, **in_children)
