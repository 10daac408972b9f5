"""The workers of a soak: one and a pool that stay, and one that ends again and again; what they log, and hold."""

from __future__ import annotations

import re
import signal
from collections import Counter

from tests.support.commandline import Command
from tests.support.held import Held
from tests.support.soak import deadly
from tests.support.waiting import LIMIT, wait_for

PROCESSES = 2

#: Every line that a worker may log, by what it tells.
LINES = {
    "works_on": r"works on \S+ with \S+ at \S+",
    "starts": r"worker starts; servers: \S+",
    "takes_jobs": r"worker takes jobs of \S+; commands: .+",
    "ends": r"worker takes no more jobs: .+|worker has ended|SIGTERM stops the (worker|pool), which has 60 s .+",
    "child_starts": r"child (?P<child>\d+) is started",
    "child_ends": r"child \d+ ended with exit status 0",
    "loses_gearmand": r"no connection to gearmand at \S+, trying again until it answers: .+",
    "hears_gearmand": r"gearmand at \S+ answers( again)?",
    "in_vain": r"job \S+ was done in vain: its server was lost, and has requeued it",
    "echo": r"job \S+ of \S+ \(a?echo\) done in \S+ s",
    "failing": r"job \S+ of \S+ \(fail\) failed in \S+ s: on purpose",
    "private": r"job \S+ of \S+ \(-\) failed in \S+ s: queue '\S+' has no command '_fail': .+",
    "rubbish": r"job \S+ of \S+ \(-\) failed in \S+ s: the payload cannot be decoded: .+",
}
LINE = re.compile(
    r"(?:\d\S+ \d\S+ (?:\d+ )?(?:INFO|WARNING) )?"
    rf"(?:{'|'.join(f'(?P<{name}>{pattern})' for name, pattern in LINES.items())})"
)


class Worker:
    """``gearmancmd run``, and what it has logged."""

    def __init__(self, *arguments: str) -> None:
        self.command = Command("run", *arguments)
        self.told: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.children: list[int] = []
        #: Whether it was told to end.
        self.leaving = False

    @property
    def pid(self) -> int:
        return self.command.process.pid

    def read(self) -> None:
        """Sort the lines that have come, and keep only what nobody expects: there may be a million."""
        lines = self.command.stderr
        while lines:
            line = lines.pop(0)
            found = LINE.fullmatch(line)
            if found is None:
                self.unexpected.append(line)
                continue
            self.told[found.lastgroup or ""] += 1
            if found["child"]:
                self.children.append(int(found["child"]))

    def ready(self, processes: int = 1) -> bool:
        self.read()
        return self.told["takes_jobs"] >= processes

    def end(self, number: int) -> None:
        """Tell it to end, by a signal."""
        self.leaving = True
        self.command.signal(number)

    def see_end(self) -> int:
        """Wait for its end, and read its last lines; the exit status."""
        status = self.command.exit_status()
        self.read()
        return status


class Workers:
    """Processes that work on a queue. One of them also works on a queue whose jobs kill it; it is ended every few
    seconds besides, in this way and that, and whenever it has ended there is another.
    """

    def __init__(self, address: str, queue: str, end_every: float) -> None:
        self._options = (f"{queue}=tests.support.soak:Queue", "-s", address)
        self._deadly = f"{deadly(queue)}=tests.support.soak:Deadly"
        self._end_every = end_every
        self._all: list[Worker] = []
        #: The exit statuses of the one that ends; how often it was told to end.
        self.statuses: Counter[int] = Counter()
        self.ended = 0
        self.held: list[Held] = []

    def __enter__(self) -> Workers:
        self._stays = self._start("--prefetch", "4")
        self._pool = self._start("--prefetch", "2", "-p", str(PROCESSES))
        self._other = self._start(self._deadly)
        try:
            wait_for(lambda: self._stays.ready() and self._pool.ready(PROCESSES), "the workers to begin", 4 * LIMIT)
        except BaseException:
            self.__exit__()
            raise
        self.held = [Held("worker", self._stays.pid), Held("supervisor", self._pool.pid)]
        self.held += [Held(f"child {number}", pid) for number, pid in enumerate(self._pool.children, 1)]
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._all:
            worker.command.end()

    def _start(self, *arguments: str) -> Worker:
        self._all.append(Worker(*self._options, *arguments))
        return self._all[-1]

    def turn(self, passed: float) -> None:
        """Look at all of them, `passed` seconds from the beginning."""
        for held in self.held:
            held.look(passed)
        for worker in (self._stays, self._pool):
            worker.read()
        if self._other.command.process.poll() is not None:
            self.statuses[self._other.see_end()] += 1
            self._other = self._start(self._deadly)
        elif self._other.ready() and not self._other.leaving and passed > self._end_every * (self.ended + 1):
            self._other.end([signal.SIGTERM, signal.SIGKILL][self.ended % 2])
            self.ended += 1

    def stop(self) -> None:
        """End all of them gracefully."""
        wait_for(self._other.ready, "the last worker to begin", 4 * LIMIT)
        for worker in (self._stays, self._pool, self._other):
            if not worker.leaving:
                worker.end(signal.SIGTERM)
        self.statuses[self._other.see_end()] += 1
        assert [self._stays.see_end(), self._pool.see_end()] == [0, 0]

    @property
    def told(self) -> Counter[str]:
        """What all of them have logged, and how often."""
        return sum((worker.told for worker in self._all), Counter())

    @property
    def unexpected(self) -> list[str]:
        """The lines that none of them is to log."""
        return [line for worker in self._all for line in worker.unexpected]
