"""Programs whose wall clock jumps while they work: a preloaded library, wall_clock.c, tells them the time.

Each is a process of its own, in which a worker runs in the main thread, and beside it a script calls it. What they wait
for, they look for again and again: a wait of Python's own is what may go wrong here.
"""

from __future__ import annotations

import asyncio
import faulthandler
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from gearmancmd import AsyncJSONGearmanClient, GearmanCMD, JobFailed, JobTimeout, JSONGearmanClient, command
from gearmancmd.pool import WorkerPool
from gearmancmd.server import EmbeddedServer
from tests.support import pools
from tests.support.gearmand import free_port
from tests.support.killing import LOST, Numbered, task
from tests.support.waiting import LIMIT, wait_for

#: Runs one of these with the arguments of the process: its name, the server, the queue, and a way to do it.
PROGRAM = "import sys; from tests.support.wall_clock import main; main(*sys.argv[1:])"

HOUR = 3600
DAY = 24 * HOUR
YEAR = 365 * DAY

#: Of a command with a limit that it reaches.
BRIEF_SECONDS = 0.5

#: Times that something is looked at before it counts as steady.
STEADY_TURNS = 50

CALLERS = 4


class WallClock:
    """The wall clock of all processes that have the library, by the file that it reads."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._ahead = mmap.mmap(file.fileno(), 8)

    def jump(self, seconds: int) -> None:
        (ahead,) = struct.unpack("q", self._ahead)
        before = time.time()
        self._ahead[:] = struct.pack("q", ahead + seconds)
        assert abs(time.time() - before - seconds) < HOUR, "the library is not there"


class Clocked(Numbered):
    """Its jobs are held until they are let go, or reach their limits; `turns` counts how often they looked."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.let_go = False

    def hold(self, gcmd: Any, task: Any) -> str:
        deadline = time.monotonic() + 2 * LIMIT
        while not self.let_go and time.monotonic() < deadline:
            self.turns += 1
            time.sleep(0.005)
        return "held"

    @command(time_limit=HOUR)
    def patient(self, gcmd: Any, task: Any) -> str:
        return self.hold(gcmd, task)

    @command(time_limit=BRIEF_SECONDS)
    def brief(self, gcmd: Any, task: Any) -> str:
        return self.hold(gcmd, task)

    async def _ahold(self) -> str:
        while not self.let_go:
            self.turns += 1
            await asyncio.sleep(0.005)
        return "held"

    @command(time_limit=HOUR)
    async def apatient(self, gcmd: Any, task: Any) -> str:
        return await self._ahold()

    @command(time_limit=BRIEF_SECONDS)
    async def abrief(self, gcmd: Any, task: Any) -> str:
        return await self._ahold()

    def wait_until_held(self) -> None:
        """Wait until a job has been held for some time from now on."""
        goal = self.turns + STEADY_TURNS
        wait_for(lambda: self.turns >= goal, "a job to be held")


class Scene:
    """What the scripts have: the clock, a server, a queue with its commands, and a client."""

    def __init__(self, address: str, queue: str, way: str) -> None:
        self.clock = WallClock(os.environ["WALL_CLOCK"])
        self.queue = queue
        self.way = way
        self.target = Clocked()
        self._threads = ThreadPoolExecutor(2 * CALLERS)
        self._loop = asyncio.new_event_loop()
        if way == "asyncio":
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.use(address)

    def use(self, address: str) -> None:
        """Have the worker and the client use this server."""
        self.address = address
        self._client = (AsyncJSONGearmanClient if self.way == "asyncio" else JSONGearmanClient)([address])

    def play(self, script: Callable[[], None], **options: Any) -> None:
        """Run a worker, and the script beside it."""
        gcmd = GearmanCMD([self.address], **options).register_task(self.queue, self.target)

        def play() -> None:
            try:
                script()
            finally:
                gcmd.stop()

        played = self._threads.submit(play)
        gcmd.run()
        played.result()

    def do(self, verb: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client."""
        method = getattr(self._client, verb)
        if self.way != "asyncio":
            return method(self.queue, *arguments, **options)
        return asyncio.run_coroutine_threadsafe(method(self.queue, *arguments, **options), self._loop).result()

    def call(self, asked: dict[str, Any], timeout: float = 2 * LIMIT) -> Any:
        return self.do("call", asked, timeout=timeout)

    def start(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
        """Have something done beside the script."""
        return self._threads.submit(function, *arguments, **options)


def error_of(future: Future[Any]) -> BaseException | None:
    """What it raises in the end."""
    wait_for(future.done, "the end of a call")
    return future.exception()


def calls_go_on(scene: Scene) -> None:
    """Calls without end, and the clock jumps."""
    over = False
    answers: list[int] = []

    def call_on(caller: int) -> None:
        number = caller * 1_000_000
        while not over:
            number += 1
            answer = scene.call(task(number))
            assert answer == -number, (answer, number)
            answers.append(number)

    def script() -> None:
        nonlocal over
        callers = [scene.start(call_on, number) for number in range(CALLERS)]
        for seconds in (DAY, YEAR, -YEAR, -DAY, -YEAR, YEAR):
            goal = len(answers) + STEADY_TURNS
            wait_for(lambda: len(answers) >= goal or any(caller.done() for caller in callers), "answers")
            scene.clock.jump(seconds)
        over = True
        assert [error_of(caller) for caller in callers] == [None] * CALLERS

    scene.play(script, prefetch=CALLERS)
    assert sorted(answers) == sorted(scene.target.done)


def calls_wait(scene: Scene) -> None:
    """A call waits for an answer as long as its time-out says, and no longer."""

    def script() -> None:
        patient = scene.start(scene.call, {"command": "hold"})
        scene.target.wait_until_held()
        scene.clock.jump(DAY)
        scene.target.wait_until_held()
        assert not patient.done()
        brief = scene.start(scene.call, {"command": "hold"}, timeout=1)
        scene.target.wait_until_held()
        scene.clock.jump(-YEAR)
        assert isinstance(error_of(brief), JobTimeout)
        scene.target.let_go = True
        assert error_of(patient) is None and patient.result() == "held"

    scene.play(script, threads=CALLERS)


def commands_are_limited(scene: Scene) -> None:
    """A command may go on as long as its limit says, and no longer."""
    prefix = "a" if scene.way == "coroutines" else ""

    def script() -> None:
        patient = scene.start(scene.call, {"command": f"{prefix}patient"})
        scene.target.wait_until_held()
        scene.clock.jump(DAY)
        scene.target.wait_until_held()
        scene.target.let_go = True
        assert error_of(patient) is None and patient.result() == "held"
        scene.target.let_go = False
        brief = scene.start(scene.call, {"command": f"{prefix}brief"})
        turns = scene.target.turns
        wait_for(lambda: scene.target.turns > turns, "the command")
        scene.clock.jump(-YEAR)
        error = error_of(brief)
        assert isinstance(error, JobFailed) and f"longer than {BRIEF_SECONDS:g} s" in str(error), error

    scene.play(script, threads=2 if scene.way == "threads" else None)


def servers_come_back(scene: Scene) -> None:
    """A server is away while the clock jumps: worker and client come back to it."""

    class Lost:
        count = 0

        def on_disconnect(self, server: str) -> None:
            self.count += 1

    lost = Lost()
    port = free_port()
    scene.use(f"127.0.0.1:{port}")

    def script() -> None:
        for number, seconds in enumerate((DAY, -YEAR, YEAR, -DAY)):
            with EmbeddedServer(port):
                assert scene.call(task(number)) == -number
            wait_for(lambda: lost.count > number, "the worker to lose its server")
            scene.clock.jump(seconds)
            assert isinstance(error_of(scene.start(scene.call, task(0))), LOST)
        with EmbeddedServer(port):
            assert scene.call(task(7)) == -7

    scene.play(script, hooks=[lost])


def jobs_are_scheduled(scene: Scene) -> None:
    """A job that is scheduled is done when the wall clock says so, that of the server too."""

    def script() -> None:
        for ahead in (0, YEAR):
            scene.clock.jump(ahead)
            number = ahead + 1
            when = datetime.now(timezone.utc) + timedelta(hours=1)
            scene.do("schedule", task(number), when)
            for other in range(2, STEADY_TURNS):
                scene.call(task(other))
            assert number not in scene.target.done
            scene.clock.jump(2 * HOUR)
            wait_for(lambda: number in scene.target.done, "the scheduled job")

    scene.play(script)


def pools_go_on(scene: Scene) -> None:
    """The children of a pool live as long as their limits say."""
    place = Path(os.environ["WALL_CLOCK"]).parent
    make = partial(pools.make, scene.address, scene.queue, place)
    hold = {"command": "hold", "place": str(place)}

    lasting = pools.RunningPool(WorkerPool(make, 2, max_lifetime=10 * HOUR, hard_time_limit=10 * HOUR))
    held = scene.start(scene.call, hold)
    wait_for((place / "begun").exists, "the command")
    wait_for(lambda: len(lasting.pool.children) == 2 and all(child.ready for child in lasting.pool.children))
    first = {child.pid for child in lasting.pool.children}
    for seconds in (DAY, -YEAR, YEAR):
        scene.clock.jump(seconds)
        for _ in range(STEADY_TURNS):
            assert scene.call({"command": "pid"}) in first
    assert {child.pid for child in lasting.pool.children} == first
    (place / "end").touch()
    assert error_of(held) is None
    lasting.end(LIMIT)

    passing = pools.RunningPool(WorkerPool(make, 2, max_lifetime=3))
    first = {scene.call({"command": "pid"})}
    scene.clock.jump(-YEAR)
    wait_for(lambda: scene.call({"command": "pid"}) not in first, "a new child")
    passing.end(LIMIT)
    assert lasting.error is None and passing.error is None


SCRIPTS: dict[str, Callable[[Scene], None]] = {
    each.__name__: each
    for each in (calls_go_on, calls_wait, commands_are_limited, servers_come_back, jobs_are_scheduled, pools_go_on)
}


def main(script: str, address: str, queue: str, way: str) -> None:
    """Run one of these. A program that hangs tells where, and ends."""
    faulthandler.dump_traceback_later(2 * LIMIT, exit=True)
    SCRIPTS[script](Scene(address, queue, way))
