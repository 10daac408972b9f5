"""A WorkerPool whose commands compute: HOST:PORT PROCESSES."""

from __future__ import annotations

import hashlib
import sys
from functools import partial
from typing import Any

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd.pool import WorkerPool


class Queue(GearmanCMDQueue):
    """The command that the benchmark calls."""

    def digest(self, gcmd: GearmanCMD, task: Any) -> Any:
        """As many rounds of a hash as the task says: the same work in each process, however they share the cores."""
        digest = b""
        for _ in range(task["rounds"]):
            digest = hashlib.sha256(digest).digest()
        return digest.hex()


def make(server: str) -> GearmanCMD:
    """The GearmanCMD of each process."""
    return GearmanCMD([server], prefetch=2).register_task("compute", Queue())


def main(server: str, processes: str) -> None:
    """Work until the process is killed."""
    WorkerPool(partial(make, server), int(processes)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
