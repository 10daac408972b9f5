"""One run of a GearmanCMD: the worker's two threads, and what they hand each other.

One of them is at the helm: it turns the engine. That is the dispatcher while it has nothing else to do, so a job is
worked on by the thread that read it: a hand-over between threads costs more than a short job (9,200 jobs/s with one
for each job, 11,100 without). The background thread looks every NAP seconds. When the dispatcher has been busy with the
same batch since the last look, it takes the helm: it listens, reports, reconnects, and gives the helm back when the
dispatcher wants it. With no jobs at all it sleeps.

Ctrl+C may break off the dispatcher at any bytecode. So it never takes a lock of Python's own making, such as that of a
threading.Event: broken off just after, it would leave it locked for ever, and the background thread before it.
"""

from __future__ import annotations

import threading
import time

from . import threads
from .job import WorkerJob
from .mailbox import Mailbox
from .worker import EngineWorker

#: Seconds between two looks of the background thread, while there are jobs.
NAP = 0.002

#: Seconds in which the answers to the jobs of a batch share one write: each write costs as much as a short job.
PACE = 0.001

#: Seconds that it sleeps without jobs: by then it would notice an end that a second Ctrl+C has broken off.
LONGEST_SLEEP = 1.0

#: Seconds for the background thread to end: its farewell has limits of its own, and is over long before.
LONGEST_END = 30.0


class Session:
    """Made by the thread that is to work on the jobs. It never outlives one run()."""

    def __init__(self, worker: EngineWorker, poll_timeout: float) -> None:
        self.worker = worker
        #: Jobs on their way to the dispatcher.
        self.jobs: Mailbox[WorkerJob] = Mailbox()
        #: Whether the dispatcher is to take no further job.
        self.stopped = False
        self._failure: BaseException | None = None
        self._owner = threading.get_ident()
        self._engine = worker.make_engine(alone=False)
        self._longest_wait = self._engine.longest_wait(poll_timeout)
        #: When the dispatcher last sent answers.
        self._sent_at = 0.0
        self._helm = threading.Lock()
        #: Whether the dispatcher waits for the helm.
        self._helm_wanted = False
        #: Batches that the dispatcher has begun.
        self._begun = 0
        #: Wakes the background thread.
        self._alarm = threads.Signal()
        self._asleep = False
        #: Whether the dispatcher will turn the engine no more.
        self._left = False
        #: Set once the background thread has ended the engine.
        self._ended = threads.Signal()
        self._started = False
        self._thread = threading.Thread(target=self._listen, name="gearmancmd-worker", daemon=True)

    def start(self) -> None:
        """Connect to the servers and let jobs come."""
        threads.start(self._thread)
        self._started = True

    def stop(self) -> None:
        """Take no further job; safe in a signal handler."""
        self.stopped = True
        self._engine.drain()
        self._engine.wake()
        self.jobs.wake()

    def fetch(self, wait: float) -> list[WorkerJob]:
        """The jobs that have come, after waiting for up to `wait` seconds for the first of them."""
        if self._helm.acquire(blocking=False):
            try:
                # while it has the helm nobody adds to what was left for it
                jobs = self.jobs.take_ready() or self._turn(min(wait, self._longest_wait)) or []
            finally:
                self._helm.release()
        else:
            self._helm_wanted = True
            self._engine.wake()
            jobs = self.jobs.take(wait)
        if jobs:
            self._helm_wanted = False
            self._begun += 1
            if self._asleep:
                self._asleep = False
                self._alarm.set()
        return jobs

    def fail(self, error: BaseException) -> None:
        """Stop, and have run() raise `error` once the job in hand is answered."""
        self._failure = self._failure or error
        self.stopped = True

    def work_on(self, job: WorkerJob, last: bool) -> None:
        """Work on a job, unless its server was lost and has requeued it. After the last of a batch all its answers are
        sent, and after each that took long; the others are left to that, or to the background thread, should the next
        command take long.
        """
        if job.abandoned:
            self.worker.forget(job)
        elif not self.worker.execute(job):
            self.stopped = True
        now = time.monotonic()
        if last or now - self._sent_at > PACE:
            self._engine.send()
            self._sent_at = now

    def end(self) -> None:
        """Send what was answered, hang up, and wait for the background thread to end."""
        self.stopped = True
        self._engine.let_go()
        self._left = True
        self._engine.stop()
        self._alarm.set()
        if self._started and self._ended.wait(LONGEST_END):
            self._thread.join(LONGEST_END)

    def raise_failure(self) -> None:
        """What ended the run, if it was an exception."""
        if self._failure is not None:
            raise self._failure

    def is_current_thread(self) -> bool:
        """Whether the caller is the thread that works on the jobs."""
        return threading.get_ident() == self._owner

    def _turn(self, wait: float) -> list[WorkerJob] | None:
        """Turn the engine once; the jobs that came, None when that was the last time."""
        jobs = None
        try:
            jobs = self._engine.turn(wait)
        except Exception as error:
            self.fail(error)
        if jobs is None:
            self.stopped = True
        return jobs

    def _listen(self) -> None:
        """The background thread."""
        try:
            self._share_the_helm()
        finally:
            try:
                self._engine.end()
            finally:
                self._ended.set()

    def _share_the_helm(self) -> None:
        while not self.stopped:
            self._stand_by()
        while not self._left:  # the dispatcher has a last job, and a report of it to be sent perhaps
            if self._helm.acquire(timeout=0.1) and not self._steer():
                self._helm.acquire(timeout=0.5)  # it may be about to turn once more
                return

    def _stand_by(self) -> None:
        begun = self._begun
        time.sleep(NAP)
        if self._begun != begun:
            return
        if self._helm.acquire(blocking=False):
            self._steer()
            return
        self._asleep = True  # the dispatcher has the helm: there are no jobs
        if self._begun == begun and not self.stopped:  # or it saw nobody asleep
            self._alarm.wait(LONGEST_SLEEP)
        self._asleep = False

    def _steer(self) -> bool:
        """Turn the engine until the dispatcher wants the helm; False when that was the last turn."""
        try:
            while not self._helm_wanted:
                jobs = self._turn(self._longest_wait)
                if jobs is None:
                    return False
                if jobs:
                    self.jobs.put_all(jobs)
            return True
        finally:
            self._helm.release()
            self.jobs.wake()
