"""Metrics of a worker for Prometheus, as a hook: ``GearmanCMD(servers, hooks=[Metrics()])``.

They are prometheus_client's, which comes with the extra: ``pip install 'gearmancmd[metrics]'``. Labels are names of
queues, commands, servers and outcomes, all of which the worker's program chooses: nothing that a client sends becomes
one, so that the number of time series is bounded.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .errors import MissingExtra
from .hooks import Hooks
from .job_log import level_of
from .logs import one_line

if TYPE_CHECKING:
    from ._worker.job import WorkerJob

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    raise MissingExtra(
        f"metrics need the package prometheus_client: pip install 'gearmancmd[metrics]' ({error})"
    ) from error

#: Upper bounds of the durations, in seconds: from what a small command takes to an hour.
DURATIONS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600)

#: The outcomes of failed jobs, by the level at which the log has them.
_OUTCOMES = {logging.INFO: "command_error", logging.WARNING: "rejected", logging.ERROR: "exception"}


class Metrics(Hooks):
    """Counts what a worker does, in a registry of prometheus_client, by default its global one.

    - ``gearmancmd_jobs_total{queue, command, outcome}``: jobs that were answered. The outcome is "done";
      "command_error" for a CommandError; "rejected" for what cannot be decoded, encoded or dispatched; or "exception".
      A job without a command has "-" in its place.
    - ``gearmancmd_job_duration_seconds{queue, command}``: a histogram of the time from a job's beginning to its answer.
    - ``gearmancmd_attempts_total{queue, command}``: attempts at those jobs; more than the jobs where some were retried.
    - ``gearmancmd_jobs_in_flight{queue}``: jobs that are being worked on.
    - ``gearmancmd_busy_seconds_total``: the time in which there was at least one such job.
    - ``gearmancmd_workers``: workers that run.
    - ``gearmancmd_server_connections{server}``: workers that are connected to a server, "host:port".
    - ``gearmancmd_reconnects_total{server}``: connections to a server that had been lost.

    Each GearmanCMD needs an object of its own; those with the same registry count together. One with the global
    registry can be pickled, with its GearmanCMD; the copy counts in the process that it comes to.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._series = _series_of(registry)
        # Several threads may work on jobs, and the background thread tells of connections.
        self._lock = threading.Lock()
        self._in_flight: set[WorkerJob] = set()
        #: When the time was last counted in which there were jobs; seconds of the monotonic clock.
        self._busy_since = 0.0
        #: How often it is connected to each server, and the servers that it has lost.
        self._connections: defaultdict[str, int] = defaultdict(int)
        self._lost: set[str] = set()

    def __reduce__(self) -> tuple[type[Metrics], tuple[()]]:
        if self._registry is not REGISTRY:
            raise TypeError("Metrics with a registry of their own cannot be pickled or copied")
        return type(self), ()

    def on_start(self) -> None:
        """Count the worker."""
        self._series.workers.inc()

    def on_connect(self, server: str) -> None:
        """Count the connection."""
        server = one_line(server)
        with self._lock:
            self._connections[server] += 1
            was_lost = server in self._lost
            self._lost.discard(server)
        self._series.connections.labels(server).inc()
        # By 0 too: a rate needs a series that is there before the first event.
        self._series.reconnects.labels(server).inc(1 if was_lost else 0)

    def on_disconnect(self, server: str) -> None:
        """Count it no more."""
        server = one_line(server)
        with self._lock:
            self._connections[server] -= 1
            self._lost.add(server)
        self._series.connections.labels(server).dec()

    def on_job(self, job: WorkerJob, task: Any) -> None:
        """A job is in flight."""
        with self._lock:
            self._count_busy()
            self._in_flight.add(job)
        self._series.in_flight.labels(one_line(job.queue)).inc()

    def on_done(self, job: WorkerJob, result: Any, seconds: float) -> None:
        """Count a job that is done."""
        self._count(job, "done", seconds)

    def on_failure(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """Count a job that failed."""
        self._count(job, _OUTCOMES[level_of(error)], seconds)

    def on_stop(self) -> None:
        """The worker is gone, and so are its connections; jobs that are still in flight go back to their queues."""
        with self._lock:
            self._count_busy()
            jobs, connections = list(self._in_flight), dict(self._connections)
            self._in_flight.clear()
            self._connections.clear()
            self._lost.clear()
        for job in jobs:
            self._series.in_flight.labels(one_line(job.queue)).dec()
        for server, count in connections.items():
            self._series.connections.labels(server).dec(count)
        self._series.workers.dec()

    def _count(self, job: WorkerJob, outcome: str, seconds: float) -> None:
        queue, command = one_line(job.queue), one_line(job.command or "-")
        with self._lock:
            known = job in self._in_flight  # on_job is not called for what cannot be decoded
            if known:
                self._count_busy()
                self._in_flight.remove(job)
        if known:
            self._series.in_flight.labels(queue).dec()
        self._series.jobs.labels(queue, command, outcome).inc()
        self._series.attempts.labels(queue, command).inc(job.attempt)
        self._series.durations.labels(queue, command).observe(seconds)

    def _count_busy(self) -> None:
        """Count the time since the last event as busy, if there were jobs; for who holds the lock."""
        now = monotonic()
        if self._in_flight:
            self._series.busy.inc(now - self._busy_since)
        self._busy_since = now


class _Series:
    """The time series in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_command = ["queue", "command"]
        # The modes say how the gauges of a pool's processes become one figure: the sum over those that live.
        self.jobs = Counter("gearmancmd_jobs", "Jobs answered.", [*by_command, "outcome"], registry=registry)
        self.attempts = Counter("gearmancmd_attempts", "Attempts at answered jobs.", by_command, registry=registry)
        self.durations = Histogram(
            "gearmancmd_job_duration_seconds",
            "Seconds from a job's beginning to its answer.",
            by_command,
            buckets=DURATIONS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "gearmancmd_jobs_in_flight",
            "Jobs that are being worked on.",
            ["queue"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.busy = Counter("gearmancmd_busy_seconds", "Seconds with at least one job in flight.", registry=registry)
        self.workers = Gauge("gearmancmd_workers", "Workers that run.", registry=registry, multiprocess_mode="livesum")
        self.connections = Gauge(
            "gearmancmd_server_connections",
            "Workers that are connected to the server.",
            ["server"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.reconnects = Counter(
            "gearmancmd_reconnects", "Connections to a server that had been lost.", ["server"], registry=registry
        )


#: A registry takes each name once.
_made: WeakKeyDictionary[CollectorRegistry, _Series] = WeakKeyDictionary()
_making = threading.Lock()


def _series_of(registry: CollectorRegistry) -> _Series:
    """The time series in a registry, made when they are first asked for."""
    if not isinstance(registry, CollectorRegistry):
        raise TypeError(f"registry must be a CollectorRegistry, not {registry!r}")
    with _making:
        series = _made.get(registry)
        if series is None:
            series = _made[registry] = _Series(registry)
        return series
