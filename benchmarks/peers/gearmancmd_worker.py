"""gearmancmd's worker: HOST:PORT [PREFETCH [QUEUES]]. QUEUES further queues are registered beside the two."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from gearmancmd import GearmanCMD, GearmanCMDQueue


class Queue(GearmanCMDQueue):
    """The commands that the benchmarks call."""

    def reverse(self, gcmd: GearmanCMD, task: Any) -> Any:
        """The job of 40 bytes."""
        return task["message"][::-1]

    def echo(self, gcmd: GearmanCMD, task: Any) -> Any:
        """The large one."""
        return task["message"]

    def sleep(self, gcmd: GearmanCMD, task: Any) -> Any:
        """50 ms of waiting; the result is when it ended."""
        time.sleep(0.05)
        return repr(time.time())

    def compute(self, gcmd: GearmanCMD, task: Any) -> Any:
        """50 ms of computing; the result is when it ended."""
        end = time.perf_counter() + 0.05
        while time.perf_counter() < end:
            pass
        return repr(time.time())

    async def nap(self, gcmd: GearmanCMD, task: Any) -> None:
        """A second of waiting, in the event loop."""
        await asyncio.sleep(1)


def main(server: str, prefetch: str = "1", queues: str = "0") -> None:
    """Work until the process is killed."""
    gcmd = GearmanCMD([server], prefetch=int(prefetch))
    for name in ("reverse", "echo", "wait"):
        gcmd.register_task(name, Queue())
    for number in range(int(queues)):
        gcmd.register_task(f"idle-{number}", Queue())
    gcmd.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
