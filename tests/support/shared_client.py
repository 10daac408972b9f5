"""Programs in which many share a client, some calls are broken off, and children that are forked use the client too.

Each is a process of its own: to fork one that has run many tests takes long. It goes on until SIGTERM, and prints then
what became of all calls, as JSON behind "told".
"""

from __future__ import annotations

import ast
import asyncio
import faulthandler
import itertools
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gearmancmd import AsyncJSONGearmanClient, JSONGearmanClient
from tests.support.forking import in_child
from tests.support.killing import DOCUMENTED, PAUSE_SECONDS, task
from tests.support.waiting import LIMIT

#: Runs one of these with the arguments of the process: its name, the server, the queue, and how many share the client.
PROGRAM = "import sys; from tests.support.shared_client import main; main(*sys.argv[1:])"

#: How many share the client in a child, and how often each of them calls before the child ends.
CHILD_CALLERS = 3
CHILD_CALLS = 10

#: How often the main thread calls, at most, until its next interrupt is set.
CALLS_BETWEEN = 50

#: Seconds between two interrupts, between two groups of calls that are cancelled, and their size.
INTERRUPT_SECONDS = (0.0001, 0.02)
CANCELLED_TOGETHER = 5


class TimeIsUp(Exception):
    """What a signal handler may raise."""


class Ended(BaseException):
    """The same, for whoever catches each Exception."""


KINDS = (KeyboardInterrupt, TimeIsUp, Ended)


class Calls:
    """What became of the calls of one process. There is no lock: an interrupt could leave it locked."""

    def __init__(self) -> None:
        self.over = False
        self._outcomes: list[str] = []
        self._wrong: list[str] = []
        #: No two calls have one number, in whatever process: an answer to another one would be seen.
        self._numbers = itertools.count(os.getpid() * 1_000_000)

    def next_task(self) -> dict[str, Any]:
        return task(next(self._numbers))

    def answered(self, asked: dict[str, Any], answer: object) -> None:
        if answer == -asked["number"]:
            self.ended("right_answers")
        else:
            self._wrong.append(f"{asked['number']} was answered by {answer!r}")

    def failed(self, error: Exception) -> None:
        self.ended(type(error).__name__)

    def ended(self, how: str) -> None:
        self._outcomes.append(how)

    def result(self) -> tuple[dict[str, int], list[str]]:
        return dict(Counter(self._outcomes)), self._wrong


class Children:
    """Children that are forked one after the other: what became of their calls, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._outcomes: Counter[str] = Counter()
        self._wrong: list[str] = []

    def fork(self, use: Callable[[Calls], object]) -> None:
        """Fork a child that makes some calls, and wait for its end."""

        def in_the_child() -> tuple[dict[str, int], list[str]]:
            faulthandler.dump_traceback_later(LIMIT, exit=True)
            calls = Calls()
            use(calls)
            return calls.result()

        outcomes, wrong = ast.literal_eval(in_child(in_the_child))
        self.count += 1
        self._outcomes.update(outcomes)
        self._wrong += wrong

    def result(self) -> tuple[dict[str, int], list[str]]:
        return dict(self._outcomes), self._wrong


def threads(address: str, queue: str, callers: int, calls: Calls) -> Children:
    """The main thread's calls are interrupted. Another thread forks, and the `callers` call without end."""
    client = JSONGearmanClient([address], timeout=2 * LIMIT)
    children = Children()

    def call(calls: Calls) -> None:
        asked = calls.next_task()
        try:
            calls.answered(asked, client.call(queue, asked))
        except DOCUMENTED as error:
            calls.failed(error)
            time.sleep(PAUSE_SECONDS)

    def call_on() -> None:
        while not calls.over:
            call(calls)

    def use(calls: Calls) -> None:
        with ThreadPoolExecutor(CHILD_CALLERS) as threads:
            for made in [threads.submit(call, calls) for _ in range(CHILD_CALLERS * CHILD_CALLS)]:
                made.result()

    def fork_on() -> None:
        while not calls.over:
            children.fork(use)

    with ThreadPoolExecutor(callers + 1) as executor:
        running = [executor.submit(fork_on), *[executor.submit(call_on) for _ in range(callers)]]
        interrupt_on(lambda: call(calls), calls)
        for each in running:
            each.result()
    asked = calls.next_task()
    calls.answered(asked, client.call(queue, asked))
    return children


def interrupt_on(call: Callable[[], None], calls: Calls) -> None:
    """Call, and be interrupted at any point, again and again."""
    chance = random.Random(7)
    kinds = itertools.cycle(KINDS)
    armed = False

    def strike(signum: int, frame: object) -> None:
        nonlocal armed
        if armed:  # else it comes when the calls are over
            armed = False
            raise next(kinds)

    signal.signal(signal.SIGALRM, strike)
    while not calls.over:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(*INTERRUPT_SECONDS))
            for _ in range(CALLS_BETWEEN):
                call()
            armed = False
        except KINDS:
            calls.ended("broken_off")


async def coroutines(address: str, queue: str, callers: int, calls: Calls) -> Children:
    """The `callers` call without end, and calls are cancelled while they wait. Another thread forks."""
    client = AsyncJSONGearmanClient([address], timeout=2 * LIMIT)
    children = Children()
    under_way: set[asyncio.Future[Any]] = set()

    async def call(calls: Calls) -> None:
        asked = calls.next_task()
        waiting = asyncio.ensure_future(client.call(queue, asked))
        under_way.add(waiting)
        try:
            calls.answered(asked, await waiting)
        except DOCUMENTED as error:
            calls.failed(error)
            await asyncio.sleep(PAUSE_SECONDS)
        except asyncio.CancelledError:
            calls.ended("broken_off")
        finally:
            under_way.discard(waiting)

    async def call_on() -> None:
        while not calls.over:
            await call(calls)

    async def use(calls: Calls) -> None:
        for _ in range(CHILD_CALLS):
            await asyncio.gather(*[call(calls) for _ in range(CHILD_CALLERS)])

    async def fork_on() -> None:
        while not calls.over:
            await asyncio.to_thread(children.fork, lambda calls: asyncio.run(use(calls)))

    await asyncio.gather(fork_on(), cancel_on(under_way, calls), *[call_on() for _ in range(callers)])
    asked = calls.next_task()
    calls.answered(asked, await client.call(queue, asked))
    await client.close()
    return children


async def cancel_on(under_way: set[asyncio.Future[Any]], calls: Calls) -> None:
    """Cancel some of the calls that are under way, again and again."""
    chance = random.Random(7)
    while not calls.over:
        await asyncio.sleep(chance.uniform(*INTERRUPT_SECONDS))
        for each in chance.sample(list(under_way), min(CANCELLED_TOGETHER, len(under_way))):
            each.cancel()


def main(program: str, address: str, queue: str, callers: str) -> None:
    """Run one of the programs, until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads to come
    calls = Calls()

    def wait_for_end() -> None:
        signal.sigwait({signal.SIGTERM})
        calls.over = True

    threading.Thread(target=wait_for_end).start()
    if program == "threads":
        children = threads(address, queue, int(callers), calls)
    else:
        children = asyncio.run(coroutines(address, queue, int(callers), calls))
    print("told", json.dumps([children.count, calls.result(), children.result()]), flush=True)
