"""What a WorkerPool of the tests works with: a module, so that spawned processes can import what is in it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd._pool.limits import memory_in_use
from gearmancmd.pool import WorkerPool
from tests.support.waiting import wait_for

hoard: list[bytes] = []


class Queue(GearmanCMDQueue):
    def pid(self, gcmd: Any, task: Any) -> int:
        return os.getpid()

    def hold(self, gcmd: Any, task: Any) -> str:
        """Say who has begun, in one file, and end once there is another one."""
        place = Path(task["place"])
        (place / "begun").write_text(str(os.getpid()), "utf-8")
        while not (place / "end").exists():
            time.sleep(0.01)
        return "held"

    def hang(self, gcmd: Any, task: Any) -> None:
        """Start a process, and wait for it for ever."""
        process = subprocess.Popen(["sleep", "1000"])
        with open(Path(task["place"]) / "begun", "a", encoding="utf-8") as file:
            file.write(f"{process.pid}\n")
        process.wait()

    def eat(self, gcmd: Any, task: Any) -> int:
        """Hold so much memory."""
        if not hoard:
            hoard.append(os.urandom(2**20) * task["megabytes"])
        assert memory_in_use() > task["megabytes"]
        return os.getpid()


class Noting:
    """A hook that can be pickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def on_start(self) -> None:
        (self.place / f"started-{os.getpid()}").touch()


def make(server: str, queue: str, place: Path, threads: int | None = None) -> GearmanCMD:
    """A GearmanCMD; but where there is a file that says what is to go wrong, that."""
    fault = place / "fault"
    if fault.exists():
        {
            "raises": _raise,
            "raises later": partial(_raise_later, place),
            "dies": _die,
            "returns": _return,
            "hangs": _hang,
        }[fault.read_text("utf-8")]()
    return GearmanCMD([server], threads=threads).register_task(queue, Queue())


def _raise() -> None:
    raise ValueError("no database")


def _raise_later(place: Path) -> None:
    (place / "booting").touch()
    wait_for((place / "go").exists)
    _raise()


def _die() -> None:
    os._exit(7)


def _return() -> None:
    raise SystemExit("leaving")


def _hang() -> None:
    time.sleep(600)


class RunningPool:
    """A WorkerPool whose run() is under way in a thread: `result` is what it returned, `error` what it raised."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.result: bool | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.result = self.pool.run()
        except BaseException as error:
            self.error = error

    def wait(self, limit: float) -> None:
        """Wait for run() to end by itself."""
        self.thread.join(limit)
        assert not self.thread.is_alive(), "run() does not return"

    def end(self, limit: float) -> None:
        """End it, if it has not ended."""
        self.pool.stop(graceful=False)
        self.wait(limit)
