"""Progress on stderr, where that is a terminal. Nothing here touches stdout, which may be a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .terminal import console

#: Seconds between two pictures of a meter: more often than that nobody sees.
_INTERVAL = 0.1


class JobProgress:
    """A bar for what a job reports; it appears with the first report."""

    def __init__(self) -> None:
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console(sys.stderr),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> JobProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, done: int, total: int) -> None:
        """The job has done so many of so many; a `total` of 0 means that it does not know."""
        if self._task is None:
            self._task = self._progress.add_task("")
            self._progress.start()
        self._progress.update(self._task, completed=done, total=total or None)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Out of the way of a line that is printed meanwhile."""
        self._progress.stop()
        try:
            yield
        finally:
            if self._task is not None:
                self._progress.start()


class SubmitMeter:
    """Counts tasks, and shows their number and rate; with the `size` of the input in bytes, a bar too."""

    def __init__(self, size: int | None) -> None:
        self.tasks = 0
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.fields[tasks]:,} tasks, {task.fields[rate]:,.0f}/s"),
            console=console(sys.stderr),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("", total=size, tasks=0, rate=0.0)
        self._started = time.monotonic()
        self._next_picture = 0.0

    def __enter__(self) -> SubmitMeter:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def rate(self) -> float:
        """Tasks a second since the start."""
        return self.tasks / max(time.monotonic() - self._started, 1e-9)

    def add(self, position: int) -> None:
        """One more task was accepted; `position` bytes of the input are read."""
        self.tasks += 1
        now = time.monotonic()
        if now >= self._next_picture:
            self._next_picture = now + _INTERVAL
            self._progress.update(self._task, completed=position, tasks=self.tasks, rate=self.rate)
