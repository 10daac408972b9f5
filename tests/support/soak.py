"""What a soak sends, and what answers it: jobs of all kinds, clients that send them, and the queues of the workers."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from gearmancmd import CommandError, GearmanCMDQueue, JobFailed, JobTimeout, JSONDataEncoder, ServerUnavailable
from tests.support.plain import PlainClient
from tests.support.waiting import LIMIT

#: Seconds until clients that were refused try again.
PAUSE_SECONDS = 0.05


class Queue(GearmanCMDQueue):
    def echo(self, gcmd: Any, task: Any) -> Any:
        return task["message"]

    async def aecho(self, gcmd: Any, task: Any) -> Any:
        return task["message"]

    def fail(self, gcmd: Any, task: Any) -> Any:
        raise CommandError("on purpose")


class Deadly(GearmanCMDQueue):
    def die(self, gcmd: Any, task: Any) -> None:
        """End as a process does for which there is no memory."""
        os.kill(os.getpid(), signal.SIGKILL)


def deadly(queue: str) -> str:
    """The name of the queue whose jobs kill their workers."""
    return f"{queue}-deadly"


class Job(NamedTuple):
    """What is sent, and what is to become of it: its result, or what the reason of its failure begins with."""

    kind: str
    payload: bytes
    result: str | None = None
    reason: str | None = None

    def is_right(self, answer: Any) -> bool:
        if isinstance(answer, JobFailed):
            return self.reason is not None and (answer.reason or "").startswith(self.reason)
        return self.reason is None and bool(answer == self.result)


def a_job(chance: random.Random, queue: str) -> Job:
    """One of a hundred fails, one is poison, and the others have 10 bytes to 1 MiB."""
    kind = chance.random()
    if kind < 0.01:
        return Job("failing", encoded("fail"), reason="on purpose")
    if kind < 0.015:
        return Job("private", encoded("_fail", "\0\ud800"), reason=f"queue '{queue}' has no command '_fail'")
    if kind < 0.02:
        return Job("rubbish", rubbish(chance), reason="the payload cannot be decoded: ")
    message = "x" * size(chance, 2**20 if kind < 0.05 else 1000)
    return Job("echo", encoded(chance.choice(["echo", "aecho"]), message), result=message)


def size(chance: random.Random, most: int) -> int:
    """From 10 on; small ones are as frequent as large ones."""
    return int(10 * (most / 10) ** chance.random())


def encoded(command: str, message: str = "") -> bytes:
    return JSONDataEncoder.encode({"command": command, "message": message})


def rubbish(chance: random.Random) -> bytes:
    """What nobody can decode."""
    return chance.choice([b"", b"\xff" + chance.randbytes(size(chance, 2**20)), encoded("echo", "x" * 100)[:-2]])


def jobs_of_all_kinds(queue: str, seed: int) -> Iterator[list[Job]]:
    """Some alone, and some in bulk."""
    chance = random.Random(seed)
    while True:
        yield [a_job(chance, queue) for _ in range(chance.choice([1, 1, 1, 30]))]


#: gearmand gives it up when it has killed some workers, and nobody has told a reason.
DEADLY = Job("deadly", encoded("die"), reason="")


class Client(threading.Thread):
    """Sends jobs until there were `count` or the time is `end`, of time.monotonic(); each until it is answered."""

    def __init__(self, address: str, queue: str, jobs: Iterator[list[Job]], *, count: int, end: float) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._queue = queue
        self._jobs = jobs
        self._count = count
        self._end = end
        #: How many of each kind were sent, and how many of them were answered; what else was met with.
        self.sent: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        with PlainClient([self._address], timeout=LIMIT) as client:
            while self.sent.total() < self._count and time.monotonic() < self._end:
                jobs = next(self._jobs)
                self.sent.update(job.kind for job in jobs)
                self._await(client, jobs)

    def _await(self, client: PlainClient, jobs: list[Job]) -> None:
        while jobs and time.monotonic() < self._end + LIMIT:
            answers = client.map(self._queue, [job.payload for job in jobs], return_exceptions=True)
            jobs = [job for job, answer in zip(jobs, answers, strict=True) if not self._settles(job, answer)]
            if jobs:
                time.sleep(PAUSE_SECONDS)

    def _settles(self, job: Job, answer: Any) -> bool:
        """Whether it is the job's answer, and not that the server was lost."""
        if isinstance(answer, (ServerUnavailable, JobTimeout)):
            self.lost[type(answer).__name__] += 1
            return False
        if not job.is_right(answer):
            self.wrong.append(f"{job.kind} {job.payload[:80]!r}: {answer!r:.200}")
        self.answered[job.kind] += 1
        return True
