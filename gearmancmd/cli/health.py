"""Whether a worker lives and is ready: what /healthz, /readyz and systemd are told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..hooks import Hooks
from ..pool import WorkerPool
from .systemd import Systemd

if TYPE_CHECKING:
    from .._worker.job import WorkerJob

#: Seconds without a turn of its loop after which a process counts as stuck.
STUCK_SECONDS = 10.0


class Health:
    """What a process knows of its own loop. systemd hears when it is ready, that it lives, and when it stops."""

    def __init__(self) -> None:
        self._systemd = Systemd()
        #: When the loop turned last, by time.monotonic(); None before it begins.
        self._turned_at: float | None = None
        self._ready = self._was_ready = self._stopping = False

    def start(self) -> None:
        """Have systemd told from now on that it lives."""
        self._systemd.watch(self.is_alive)

    def is_alive(self) -> bool:
        """Whether the loop turns, or has not begun."""
        return self._turned_at is None or time.monotonic() - self._turned_at < STUCK_SECONDS

    def is_ready(self) -> bool:
        """Whether it takes jobs, from one server at least."""
        return self._ready and not self._stopping

    def turn(self) -> None:
        """The loop turns."""
        self._turned_at = time.monotonic()

    def set_ready(self, ready: bool) -> None:
        """Whether it is connected, as jobs need it."""
        self._ready = ready
        if ready and not self._was_ready:
            self._was_ready = True
            self._systemd.ready()

    def stop(self, again: bool = False) -> None:
        """It takes no more jobs, and ends; or, where it starts `again` as the same process, systemd need not know: it
        would kill a unit that has said that it stops, and does not.
        """
        self._stopping = True
        if not again:
            self._systemd.stopping()


class PoolHealth(Health):
    """The health of a WorkerPool's supervisor: its `on_turn`."""

    def __call__(self, pool: WorkerPool) -> None:
        """Look at the pool."""
        self.turn()
        self.set_ready(pool.ready)
        if pool.stopping and not self._stopping:
            self.stop()


class WorkerHealth(Health, Hooks):
    """The health of a GearmanCMD in this process: one of its hooks, and its stop trigger, for which the dispatcher asks
    at each of its turns. It has none while a command runs, which may take as long as it likes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._servers: set[str] = set()
        self._jobs: set[WorkerJob] = set()

    def is_alive(self) -> bool:
        """Whether the dispatcher turns, or a command runs."""
        return bool(self._jobs) or super().is_alive()

    def is_set(self) -> bool:
        """The dispatcher turns; it is not this that stops it."""
        self.turn()
        return False

    def on_connect(self, server: str) -> None:
        """A server is there."""
        self._servers.add(server)
        self.set_ready(True)

    def on_disconnect(self, server: str) -> None:
        """A server is lost."""
        self._servers.discard(server)
        self.set_ready(bool(self._servers))

    def on_job(self, job: WorkerJob, task: Any) -> None:
        """A command is about to run."""
        self._jobs.add(job)

    def on_done(self, job: WorkerJob, result: Any, seconds: float) -> None:
        """It has run."""
        self._end(job)

    def on_failure(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """It has failed, or never ran."""
        self._end(job)

    def on_stop(self) -> None:
        """The run has ended."""
        self._jobs.clear()
        if not self._stopping:
            self.stop()

    def _end(self, job: WorkerJob) -> None:
        self.turn()
        self._jobs.discard(job)
