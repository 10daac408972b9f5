"""Servers that stand still, alone and as one of two, and one of several that comes and goes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from gearmancmd import GearmanCMD, JSONGearmanClient
from tests.support.faults import TIMES, tell
from tests.support.gearmand import Gearmand, counts
from tests.support.killing import KILLS, LOST, PAUSE_SECONDS, Numbered, task
from tests.support.waiting import LIMIT, wait_for

#: How long a server stands still.
STILL_SECONDS = min(1.5 * TIMES, 15)

CALLERS = 4
#: Jobs that a server must get done beside others to count as served.
SERVED = 50


class Calling:
    """Callers of one server, each with a client of its own, for the time of the ``with`` block: `answered` counts the
    right answers, `lost` the calls that ended with their server.
    """

    def __init__(self, server: Gearmand, queue: str) -> None:
        self.answered = 0
        self.lost: Counter[str] = Counter()
        self._server = server
        self._queue = queue
        self._over = threading.Event()
        self._counting = threading.Lock()

    def __enter__(self) -> Calling:
        self._threads = ThreadPoolExecutor(CALLERS)
        self._callers: list[Future[None]] = [self._threads.submit(self._call) for _ in range(CALLERS)]
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._threads.shutdown()
        for caller in self._callers:
            caller.result()

    def wait_for_more(self, count: int = SERVED) -> None:
        """Wait until as many more calls were answered."""
        goal = self.answered + count
        wait_for(lambda: self.answered >= goal, f"{goal} answers from {self._server.address}")

    def _call(self) -> None:
        with JSONGearmanClient([self._server.address], timeout=2 * LIMIT) as client:
            number = 0
            while not self._over.is_set():
                number += 1
                try:
                    answer = client.call(self._queue, task(number))
                except LOST as error:
                    self.lost[type(error).__name__] += 1
                    time.sleep(PAUSE_SECONDS)
                else:
                    assert answer == -number
                    with self._counting:
                        self.answered += 1


@contextlib.contextmanager
def standing_still(server: Gearmand) -> Iterator[Callable[[], bool]]:
    """Stop a server for STILL_SECONDS at least; yields whether that time is still running."""
    end = time.monotonic() + STILL_SECONDS
    server.pause()
    try:
        yield lambda: time.monotonic() < end
        time.sleep(max(0.0, end - time.monotonic()))
    finally:
        server.resume()


def test_a_server_that_stands_still_loses_nothing_and_is_served_again(own_gearmand, queue, run, caplog):
    running = run(GearmanCMD([own_gearmand.address], prefetch=4).register_task(queue, Numbered()))
    with Calling(own_gearmand, queue) as calling:
        calling.wait_for_more()
        with standing_still(own_gearmand):
            pass
        calling.wait_for_more()
    assert running.error is None and not calling.lost
    assert "no connection" not in caplog.text
    tell("server still, alone", seconds=STILL_SECONDS, calls=calling.answered, lost=0)


def test_the_other_servers_jobs_go_on_while_one_stands_still(own_gearmand, queue, run):
    meanwhile = 0
    with Gearmand() as other:
        running = run(GearmanCMD([own_gearmand.address, other.address]).register_task(queue, Numbered()))
        with Calling(own_gearmand, queue) as still, Calling(other, queue) as calling:
            still.wait_for_more()
            before = calling.answered
            with standing_still(own_gearmand) as is_still:
                while is_still():
                    calling.wait_for_more()
                meanwhile = calling.answered - before
            still.wait_for_more()
    assert running.error is None and not still.lost and not calling.lost
    tell("server still, one of two", seconds=STILL_SECONDS, calls_of_the_other_meanwhile=meanwhile, lost=0)


@pytest.mark.parametrize("number", [2, 3])
def test_no_server_starves_while_one_comes_and_goes(gearmand, queue, run, number):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Gearmand()) for _ in range(number)]
        target: Any = Numbered()
        running = run(GearmanCMD([each.address for each in servers], prefetch=2).register_task(queue, target))
        with contextlib.ExitStack() as calls:
            going, *staying = [calls.enter_context(Calling(each, queue)) for each in servers]
            for _ in range(KILLS):
                going.wait_for_more()
                servers[0].stop()
                for each in staying:
                    each.wait_for_more()
                servers[0].start()
                for each in [going, *staying]:
                    each.wait_for_more()
        assert running.error is None and not any(each.lost for each in staying)
        for each in servers:
            wait_for(lambda each=each: counts(each, queue)[0] == 0, "the queue to be empty")
    tell(
        f"server comes and goes, one of {number}",
        kills=KILLS,
        its_calls=going.answered,
        tried_again=going.lost.total(),
        calls_of_the_others=sum(each.answered for each in staying),
        lost=0,
    )
