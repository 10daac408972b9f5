"""One run of a GearmanCMD: the worker's background thread, and what the two threads hand each other."""

from __future__ import annotations

import threading

from .job import WorkerJob
from .mailbox import Mailbox
from .worker import EngineWorker


class Session:
    """Made by the thread that is to work on the jobs. It never outlives one run()."""

    def __init__(self, worker: EngineWorker, poll_timeout: float) -> None:
        self.worker = worker
        #: Jobs on their way to the dispatcher.
        self.jobs: Mailbox[WorkerJob] = Mailbox()
        #: Whether the dispatcher is to take no further job.
        self.stopped = False
        #: Whether the command in hand has stopped the worker: its client gets None.
        self.discard_result = False
        self._failure: BaseException | None = None
        self._owner = threading.get_ident()
        self._poll_timeout = poll_timeout
        self._engine = worker.make_engine(self.jobs.put_all)
        self._engine.sender = self._owner
        self._thread = threading.Thread(target=self._listen, name="gearmancmd-worker", daemon=True)

    def start(self) -> None:
        """Connect to the servers and let jobs come."""
        self._thread.start()

    def stop(self, discard_result: bool) -> None:
        """Take no further job; safe in a signal handler."""
        self.discard_result = self.discard_result or discard_result
        self.stopped = True
        self._engine.drain()
        self.jobs.wake()

    def fail(self, error: BaseException) -> None:
        """Stop, and have run() raise `error` once the job in hand is answered."""
        self._failure = self._failure or error
        self.stopped = True

    def work_on(self, job: WorkerJob, last: bool) -> None:
        """Work on a job, unless its server was lost and has requeued it. After the last of a batch everything is sent
        from here; an answer before that is left to the background thread, for the next command may be a long one.
        """
        self._work_on(job)
        if last:
            self._engine.send()

    def _work_on(self, job: WorkerJob) -> None:
        if job.abandoned:
            self.worker.forget(job)
        elif not self.worker.execute(job):
            self.stopped = True

    def end(self) -> None:
        """Send what was answered, hang up, and wait for the background thread to end."""
        self.stopped = True
        self._engine.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def raise_failure(self) -> None:
        """What ended the run, if it was an exception."""
        if self._failure is not None:
            raise self._failure

    def is_current_thread(self) -> bool:
        """Whether the caller is the thread that works on the jobs."""
        return threading.get_ident() == self._owner

    def _listen(self) -> None:
        try:
            self._engine.run(self._poll_timeout)
        except BaseException as error:  # it must surface in run(), not end in a thread that nobody watches
            self.fail(error)
        self.stopped = True
        self.jobs.wake()
