"""One child, as its supervisor sees it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.context import SpawnProcess
from typing import Any

from .._wire.fork import close_in_child, keep_in_child
from .child import Setup, main
from .messages import Booted, Ended, JobInHand, Leaving, LogStacks, NotBooted, State, Stop

_SPAWN = multiprocessing.get_context("spawn")


class ChildProcess:
    """Started by its constructor. All of it is for the supervisor's thread, but what is read: that changes in one
    step.
    """

    def __init__(self, setup: Setup) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        close_in_child(self._connection)
        self._process: SpawnProcess = _SPAWN.Process(target=main, args=(setup, theirs))
        try:
            self._process.start()
        finally:
            theirs.close()  # or its end would not be heard of
        assert self._process.pid is not None
        #: Its process id.
        self.pid: int = self._process.pid
        #: When it was started, by time.monotonic().
        self.since = time.monotonic()
        self.booted = False
        self.state = State()
        #: Why it could not boot.
        self.not_booted: NotBooted | None = None
        #: Why it takes no more jobs, and why it has ended, in its own words.
        self.leaving: str | None = None
        self.ended: str | None = None
        #: When it is killed, by time.monotonic(), if it has not ended.
        self.deadline: float | None = None
        #: Whether the supervisor has told it to end, and whether it has killed it.
        self.dismissed = False
        self.killed = False
        self._heard_all = False

    @property
    def ready(self) -> bool:
        """Whether it is connected to at least one server, and takes jobs."""
        return bool(self.state.servers) and self.leaving is None

    @property
    def exit_status(self) -> int | None:
        """None while it lives; below 0 the signal that killed it."""
        return self._process.exitcode

    def sources(self) -> list[Any]:
        """What the supervisor's wait watches."""
        return [self._process.sentinel] if self._heard_all else [self._connection, self._process.sentinel]

    def hear(self) -> None:
        """Take in what it has told."""
        try:
            while not self._heard_all and self._connection.poll():
                self._take(self._connection.recv())
        except (EOFError, OSError):
            self._heard_all = True

    def _take(self, report: object) -> None:
        if isinstance(report, State):
            self.state = report
        elif isinstance(report, Booted):
            self.booted = True
        elif isinstance(report, NotBooted):
            self.not_booted = report
        elif isinstance(report, Leaving):
            self.leaving = report.why
        elif isinstance(report, Ended):
            self.ended = report.why

    def dismiss(self, why: str) -> None:
        """Have it finish the jobs that it has, and end."""
        if not self.dismissed:
            self.dismissed = True
            self.leaving = self.leaving or why
            self._send(Stop())

    def end_within(self, seconds: float) -> None:
        """Have a deadline, unless there is one."""
        if self.deadline is None:
            self.deadline = time.monotonic() + seconds

    def log_stacks(self) -> None:
        """Have it log what its threads are at."""
        self._send(LogStacks())

    def _send(self, message: Stop | LogStacks) -> None:
        try:
            self._connection.send(message)
        except OSError:
            pass  # it is gone, or about to go

    def kill(self) -> None:
        """End it at once, and with it what its commands have started in its process group."""
        self.killed = True
        if self.exit_status is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._process.kill()  # it has no group of its own yet

    def end_text(self) -> str:
        """How it has ended, for a log: "ended with exit status 3 (ValueError: a bug)"."""
        status = self.exit_status or 0
        text = f"ended with exit status {status}" if status >= 0 else f"was killed by {_signal_name(-status)}"
        if self.ended is not None:
            text += f" ({self.ended})"
        return text + "".join(f"; it had in hand {job}" for job in self.state.jobs)

    def overdue(self, seconds: float, now: float) -> JobInHand | None:
        """The job that it has had for longer, if there is one."""
        return next((job for job in self.state.jobs if now - job.since > seconds), None)

    def bury(self) -> None:
        """It has ended: leave nothing of it."""
        self._process.join()
        self._process.close()
        keep_in_child(self._connection)
        self._connection.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
