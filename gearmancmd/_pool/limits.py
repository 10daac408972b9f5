"""The limits at which a process leaves, to be replaced by a fresh one."""

from __future__ import annotations

import os
import random
import resource
import sys
from pathlib import Path
from typing import NamedTuple

from .. import arguments

#: Each process has limits of its own, lower than those that were asked for by up to this share: processes that were
#: started together do not leave together.
SPLAY = 0.1

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Limits(NamedTuple):
    """What a process may have done, hold and live before it leaves; None: as much as it likes."""

    max_jobs: int | None = None
    #: Megabytes (of 2**20 bytes) of memory in use: the resident set.
    max_memory: float | None = None
    #: Seconds.
    max_lifetime: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self != (None, None, None)

    def check(self) -> None:
        """TypeError or ValueError for a limit that cannot be one."""
        if self.max_jobs is not None:
            arguments.count(self.max_jobs, "max_jobs")
        if self.max_memory is not None:
            arguments.amount(self.max_memory, "max_memory", "megabytes")
        if self.max_lifetime is not None:
            arguments.seconds(self.max_lifetime, "max_lifetime")

    def splayed(self) -> Limits:
        """The limits of one process."""
        return Limits(
            None if self.max_jobs is None else max(1, round(self.max_jobs * _share())),
            None if self.max_memory is None else self.max_memory * _share(),
            None if self.max_lifetime is None else self.max_lifetime * _share(),
        )

    def jobs_reached(self, jobs: int) -> str | None:
        """The reason to leave with as many jobs, if it is one."""
        if self.max_jobs is None or jobs < self.max_jobs:
            return None
        return f"it has had {jobs} jobs"

    def reached(self, lifetime: float, jobs: int) -> str | None:
        """The reason to leave after as many seconds and jobs, with the memory that is in use now, if there is one.

        Memory does not count before the first job: a fresh process would have as much.
        """
        if self.max_lifetime is not None and lifetime >= self.max_lifetime:
            return f"it has lived for {lifetime:.0f} s"
        if self.max_memory is not None and jobs and (used := memory_in_use()) >= self.max_memory:
            return f"it holds {used:.0f} MB of memory"
        return None


def _share() -> float:
    return random.uniform(1 - SPLAY, 1)


def memory_in_use() -> float:
    """The resident set of this process, in megabytes of 2**20 bytes; where /proc does not tell, the largest it had."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return pages * _PAGE / 2**20
