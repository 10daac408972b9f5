"""Calls by gear's Client, a program that is not ours, with what it saw of each job."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Any

import gear

from tests.support.gearmand import Gearmand
from tests.support.waiting import LIMIT, wait_for


@dataclass(frozen=True)
class Outcome:
    """How a job ended: `state` is "complete", "failed" or "exception"; `data` is every data packet in order; `said`
    is what the worker said last, before a failure or in an exception.
    """

    state: str
    data: bytes
    said: bytes | None

    @property
    def result(self) -> Any:
        assert self.state == "complete", self
        return json.loads(self.data)

    @property
    def reason(self) -> Any:
        """Why it failed, as a worker with a JSON encoder tells it."""
        assert self.state in {"failed", "exception"}, self
        return json.loads(self.said or b"")


class Caller(gear.Client):  # type: ignore[misc]
    """gear's client on one server."""

    def __init__(self, server: Any) -> None:
        super().__init__()
        self._status = threading.Condition()
        self.statuses: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self.addServer(server.host, server.port)
        self.waitForServer()
        if isinstance(server, Gearmand):  # the embedded server does not answer, and needs no asking
            assert self.setOption("exceptions")

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()

    def handleWorkStatus(self, packet: Any) -> Any:
        job = super().handleWorkStatus(packet)
        self.statuses.setdefault(job.handle, []).append((job.numerator, job.denominator))
        return job

    def send(self, queue: str, task: Any, background: bool = False, unique: str | None = None) -> Any:
        """Submit a task: bytes as they are, anything else as JSON."""
        payload = task if isinstance(task, bytes) else json.dumps(task).encode()
        job = gear.Job(queue.encode(), payload, unique.encode() if unique else None)
        self.submitJob(job, background=background, timeout=LIMIT)
        return job

    def outcome(self, job: Any, limit: float = LIMIT) -> Outcome:
        """Wait for the end of a job."""
        wait_for(lambda: job.complete, f"the end of {job}", limit)
        state = "complete" if not job.failure else "failed" if job.exception is None else "exception"
        warned = job.data[-1] if state == "failed" and job.warning else None
        return Outcome(state, b"".join(job.data), job.exception or warned)

    def call(self, queue: str, task: Any, limit: float = LIMIT) -> Outcome:
        """Submit a task and wait for its end."""
        return self.outcome(self.send(queue, task), limit)
