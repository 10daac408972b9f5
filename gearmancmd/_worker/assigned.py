"""The jobs that are assigned to a worker and not ended: which server each came from, and which the dispatcher has."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from .._wire.packet import to_text
from .pipe import Assignment, Payloads
from .server import Server

#: Jobs in one message of the Pipe.
BATCH_JOBS = 32

_NO_JOB: tuple[Server | None, Assignment | None] = (None, None)


class AssignedJobs:
    """In the order in which they came. `payloads` holds those that nobody has begun; the dispatcher takes them out."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads
        #: Each with its server; None once that is lost.
        self._jobs: dict[int, tuple[Server | None, Assignment]] = {}
        self._last_number = 0
        #: Jobs that wait to be handed over, and the size of the last batch that was.
        self.waiting: deque[Assignment] = deque()
        self._last_batch = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[int]:
        return iter(self._jobs)

    def add(self, server: Server, queue: bytes, handle: bytes, unique: bytes, payload: bytes) -> None:
        """A server has assigned one."""
        self._last_number += 1
        assignment = Assignment(self._last_number, queue, handle, unique)
        self._jobs[self._last_number] = (server, assignment)
        self._payloads[self._last_number] = (server.connection, payload)
        self.waiting.append(assignment)

    def find(self, number: int) -> tuple[Server | None, Assignment | None]:
        """Its server, None when that is lost, and its names; Nones when it has ended."""
        return self._jobs.get(number, _NO_JOB)

    def begin(self, number: int) -> tuple[Any, bytes] | None:
        """Begin one: its connection and payload; None when it was taken back."""
        return self._payloads.pop(number, None)

    def has_begun(self, number: int) -> bool:
        """Whether somebody works on it."""
        return number not in self._payloads

    def not_begun(self) -> int:
        """How many nobody works on."""
        return len(self._payloads)

    def forget(self, number: int) -> None:
        """One has ended."""
        del self._jobs[number]

    def take_back(self) -> None:
        """Let nobody begin another."""
        self.waiting.clear()
        self._payloads.clear()

    def lose(self, server: Server) -> list[int]:
        """A server is lost. The jobs of it that nobody had begun: they are the server's again. One that has begun holds
        its slot until it ends.
        """
        taken_back = []
        for number, (its_server, assignment) in list(self._jobs.items()):
            if its_server is not server:
                continue
            if self._payloads.pop(number, None) is None:
                self._jobs[number] = (None, assignment)
            else:
                taken_back.append(number)
        gone = set(taken_back)
        self.waiting = deque(job for job in self.waiting if job.number not in gone)
        return taken_back

    def servers(self) -> set[Server | None]:
        """The servers that have a job here."""
        return {server for server, _ in self._jobs.values()}

    def queues(self) -> set[str]:
        """The queues that have a job here."""
        return {to_text(assignment.queue) for _, assignment in self._jobs.values()}

    # Handing over.

    def take_all(self) -> list[Assignment]:
        """All that wait."""
        jobs = list(self.waiting)
        self.waiting.clear()
        return jobs

    def next_batch(self) -> list[Assignment]:
        """What is to be handed over next: nothing, unless the dispatcher has begun all but one batch of what it got."""
        waiting = self.waiting
        if not waiting or len(self._payloads) - len(waiting) > self._last_batch:
            return []
        batch = [waiting.popleft() for _ in range(min(BATCH_JOBS, len(waiting)))]
        self._last_batch = len(batch)
        return batch
