"""Many processes: a WorkerPool starts them, replaces those that end, and stops them.

>>> def make() -> GearmanCMD:
...     return GearmanCMD(["localhost:4730"]).register_task("queue", Queue())
>>> if __name__ == "__main__":
...     WorkerPool(make, processes=4).run()
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from . import arguments
from ._pool.child import Setup
from ._pool.limits import Limits
from ._pool.messages import JobInHand, NotBooted
from ._pool.orphans import reap_orphans
from ._pool.process import ChildProcess
from ._pool.rolling import RollingRestart
from ._wire.backoff import Backoff
from ._wire.waker import Waker
from .cmd import GearmanCMD
from .errors import BootError
from .hooks import check_hooks
from .logs import logger

__all__ = ["BootError", "Child", "JobInHand", "WorkerPool", "cores"]

#: Seconds between two looks at what nobody tells the supervisor of.
TURN_SECONDS = 0.2

#: The pauses before a child that has died is replaced, as :class:`Backoff` has them; and how long the youngest child
#: must live for the next pause to be the first again.
RESTART_FIRST_SECONDS = 0.2
RESTART_LAST_SECONDS = 30.0
STEADY_SECONDS = 10.0

#: Seconds over the hard time limit: a command that ends in time is heard of before it is killed.
HEARING_SECONDS = 0.5


def cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Child:
    """A child process, as it was when it was asked for. Times are those of time.monotonic()."""

    pid: int
    #: When it was started.
    since: float
    #: Whether it is connected to at least one server, and takes jobs.
    ready: bool
    #: Whether it takes no more jobs, and ends when it has answered those that it has.
    leaving: bool
    #: The jobs that it works on, a tenth of a second ago.
    jobs: tuple[JobInHand, ...]
    #: How many it has done, well or not.
    jobs_done: int


class WorkerPool:
    """Child processes, each with a GearmanCMD and connections of its own: ``WorkerPool(factory, processes=4).run()``.

    - `factory`: a function that returns the GearmanCMD, called in each child; a function of a module, or a
      functools.partial of one, since it is pickled. Children are spawned: they import its module anew, and the script
      that starts the pool too, which therefore needs ``if __name__ == "__main__"``.
    - `processes`: how many; by default one for each core that this process may use.
    - `grace_seconds`: how long the jobs in hand may take after stop(). Then their children are killed, and the jobs go
      back to their queues.
    - `max_jobs`, `max_memory` (the resident set, in megabytes of 2**20 bytes) and `max_lifetime` (seconds): a child
      that has reached one takes no more jobs, finishes those that it has, and is replaced. Each child has limits of its
      own, lower by up to a tenth, so that not all of them leave together.
    - `hard_time_limit`: seconds that a job may take. A child that has one for longer is killed, and replaced; the job
      goes back to its queue, and so do others that the child has.
    - `hooks`: for each child's GearmanCMD, behind its own; they are pickled too.
    - `on_turn`: called with the pool in the thread of run(), some five times a second, as long as the pool works.

    A child whose supervisor is gone takes no more jobs, finishes those that it has within `grace_seconds`, and ends.
    """

    def __init__(
        self,
        factory: Callable[[], GearmanCMD],
        processes: int | None = None,
        *,
        grace_seconds: float = 60.0,
        max_jobs: int | None = None,
        max_memory: float | None = None,
        max_lifetime: float | None = None,
        hard_time_limit: float | None = None,
        hooks: Iterable[object] = (),
        on_turn: Callable[[WorkerPool], object] | None = None,
    ) -> None:
        limits = Limits(max_jobs, max_memory, max_lifetime)
        limits.check()
        self._processes = cores() if processes is None else arguments.count(processes, "processes")
        #: How long the jobs in hand may take after stop().
        self.grace_seconds = arguments.seconds(grace_seconds, "grace_seconds")
        self._hard_limit = hard_time_limit
        if hard_time_limit is not None:
            arguments.seconds(hard_time_limit, "hard_time_limit")
        self._setup = Setup(_pickled(factory, list(hooks)), limits, self.grace_seconds)
        self._on_turn = on_turn
        self._waker = Waker()
        self._children: list[ChildProcess] = []
        self._reset()

    def _reset(self) -> None:
        self._running = self._stopping = False
        #: Whether stop() had to kill nobody.
        self._graceful = True
        self._failure: NotBooted | None = None
        self._backoff = Backoff(RESTART_FIRST_SECONDS, RESTART_LAST_SECONDS)
        self._next_start = time.monotonic()
        self._rolling = RollingRestart()
        #: Whether one has booted: until then there is only one.
        self._proven = False

    @property
    def children(self) -> tuple[Child, ...]:
        """The children that live, those that are leaving included. From any thread."""
        return tuple(
            Child(each.pid, each.since, each.ready, each.leaving is not None, each.state.jobs, each.state.jobs_done)
            for each in list(self._children)
        )

    @property
    def ready(self) -> bool:
        """Whether as many children as there are to be are connected to at least one server, and take jobs."""
        return sum(child.ready for child in list(self._children)) >= self._processes

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop."""
        return self._stopping

    def run(self) -> bool:
        """Work until stop(). Whether all children have ended gracefully then, and none had to be killed. BootError when
        a child cannot begin to work, once the others have stopped gracefully.

        The first child has to boot before others are started, so that what is wrong with all of them is told once. Any
        other exception, such as that of Ctrl+C, kills the children: their jobs go back to their queues.
        """
        if self._running:
            raise RuntimeError("run() is running already")
        self._running = True
        try:
            while self._turn():
                pass
            failure, graceful = self._failure, self._graceful
        finally:
            self._end()
        if failure is not None:
            raise BootError(failure.why) from (ChildTraceback(failure.trace) if failure.trace else None)
        return graceful

    # From any thread, and from signal handlers. What is asked for before run() is done when that begins.

    def stop(self, graceful: bool = True) -> None:
        """End run(): no child takes another job, and those in hand have `grace_seconds`. When not `graceful`, they are
        killed at once, and the jobs go back to their queues.
        """
        self._waker.post(self._stop if graceful else self._kill)

    def restart(self) -> None:
        """Replace all children, one after the other, with the code as it is now: when a new one is ready, an old one
        finishes its jobs, and ends. When a new one cannot boot, the old ones stay.
        """
        self._waker.post(self._restart)

    def log_stacks(self) -> None:
        """Have each child log the stack of each of its threads, and the jobs that it works on."""
        self._waker.post(self._log_stacks)

    # In the thread of run().

    def _turn(self) -> bool:
        """Wait for something to happen, and do what is due; False when all is over."""
        sources: list[Any] = [self._waker, *(source for child in self._children for source in child.sources())]
        ready: list[Any] = wait(sources, self._pause())
        if self._waker in ready:
            self._waker.run()
        for child in list(self._children):
            self._look_at(child)
        reap_orphans()
        if not self._stopping:
            self._rolling.go_on(self._children, self._start)
        while self._missing() and self._start() is not None:
            pass
        if self._on_turn is not None:
            self._on_turn(self)
        return bool(self._children) or not self._stopping

    def _pause(self) -> float:
        """Seconds to wait: until the next start, or for a turn."""
        due = self._next_start - time.monotonic() if self._missing() else TURN_SECONDS
        return min(max(due, 0), TURN_SECONDS)

    def _missing(self) -> int:
        """How many children are to be started."""
        if self._stopping:
            return 0
        wanted = self._processes + self._rolling.extra if self._proven else 1
        return max(0, wanted - sum(child.leaving is None for child in self._children))

    def _start(self) -> ChildProcess | None:
        """Start a child; None while that has to wait, for too many have died."""
        if time.monotonic() < self._next_start:
            return None
        try:
            child = ChildProcess(self._setup)
        except OSError as error:  # too many processes, or too little memory
            if not self._proven:
                raise
            logger.error("no child can be started, trying again: %s", error)
            self._back_off(lived=0)
            return None
        self._children.append(child)
        logger.info("child %d is started", child.pid)
        return child

    def _back_off(self, lived: float) -> float:
        """Start nothing for some time, now that a child has ended which lived for so many seconds; how long."""
        if lived >= STEADY_SECONDS:
            self._backoff.reset()
        pause = self._backoff.pause()
        self._next_start = time.monotonic() + pause
        return pause

    def _look_at(self, child: ChildProcess) -> None:
        """See what has become of a child, and whether its time is over."""
        child.hear()
        self._proven = self._proven or child.booted
        if child.exit_status is not None:
            child.hear()  # its last words
            self._children.remove(child)
            self._ended(child)
            child.bury()
            return
        self._check_time(child)

    def _check_time(self, child: ChildProcess) -> None:
        now = time.monotonic()
        if child.killed:
            return
        if child.deadline is not None and now >= child.deadline:
            jobs = "".join(f"; {job} goes back to its queue" for job in child.state.jobs)
            self._kill_child(child, f"it has not ended within {self.grace_seconds:g} s{jobs}")
        elif self._hard_limit is not None and (job := child.overdue(self._hard_limit + HEARING_SECONDS, now)):
            self._kill_child(child, f"{job} takes longer than {self._hard_limit:g} s, and goes back to its queue")

    def _kill_child(self, child: ChildProcess, why: str) -> None:
        logger.error("child %d is killed: %s", child.pid, why)
        child.kill()

    def _ended(self, child: ChildProcess) -> None:
        """A child has ended: what follows from that. Its place is taken by another one, unless it was the last."""
        text = child.end_text()
        if not child.booted and not self._stopping and (child.leaving is None or self._rolling.is_new(child)):
            self._boot_failed(child, text)
        elif child.leaving is not None or child.killed or self._stopping:
            logger.info("child %d %s", child.pid, text)
            self._graceful = self._graceful and not (self._stopping and child.killed)
        else:
            pause = self._back_off(time.monotonic() - child.since)
            logger.warning("child %d %s; another one is started in %.1f s", child.pid, text, pause)

    def _boot_failed(self, child: ChildProcess, text: str) -> None:
        """A child has ended before it could work. The pool stops where that is so with the first one, and where its
        factory says so. But new code that does not work leaves the old in place.
        """
        failure = child.not_booted or NotBooted(f"child {child.pid} {text} before it could work", "")
        if self._rolling.is_new(child):
            self._rolling.break_off(failure.why)
        elif child.not_booted is not None or not self._proven:
            self._failure = failure
            self._stop()
        else:
            self._back_off(lived=0)
            logger.warning("%s; another one is started soon", failure.why)

    def _stop(self) -> None:
        self._stopping = True
        for child in self._children:
            child.dismiss("the pool stops")
            child.end_within(self.grace_seconds)

    def _kill(self) -> None:
        self._stopping = True
        for child in self._children:
            child.kill()

    def _restart(self) -> None:
        if self._proven and not self._stopping:  # else they are new, or nobody needs them
            self._rolling.begin(self._children)

    def _log_stacks(self) -> None:
        for child in self._children:
            child.log_stacks()

    def _end(self) -> None:
        """However it came to that, leave no child. May be broken off, and called again."""
        self._kill()
        while self._children:
            self._children[-1].bury()
            self._children.pop()
        self._waker.run()  # what is asked for now is not for the next run()
        self._reset()


class ChildTraceback(Exception):
    """The traceback of what was raised in a child, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _pickled(factory: Callable[[], GearmanCMD], hooks: list[object]) -> bytes:
    """What a child makes its GearmanCMD of. TypeError for what it cannot be made of."""
    if not callable(factory):
        raise TypeError(f"factory must be a function that returns a GearmanCMD, not {factory!r}")
    check_hooks(hooks)
    try:
        return pickle.dumps((factory, hooks))
    except Exception as error:
        raise TypeError(
            f"factory and hooks must be what pickle takes, as functions of a module are: {error}"
        ) from error
