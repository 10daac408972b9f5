"""The dispatcher loop: takes jobs from the Pipe, and has each worked on, here or in threads of its own."""

from __future__ import annotations

import queue
from collections.abc import Callable
from time import perf_counter
from typing import Any

from .._wire.threads import LONGEST_WAIT_SECONDS
from .._worker.job import WorkerJob, in_hand
from .._worker.pipe import Assignment, DispatcherEnd
from .._worker.run import Run
from ..hooks import HookCaller
from ..queue import Commands
from ..worker import GearmanWorker
from .attempts import Pauses
from .caller import CommandCaller, Target
from .command_threads import CommandThreads
from .event_loop import EventLoop


class Dispatcher:
    """What works on the jobs of one worker."""

    def __init__(
        self, target: Target, commands: Commands, worker: GearmanWorker, hooks: HookCaller, pauses: Pauses
    ) -> None:
        self._target = target
        self._worker = worker
        self._hooks = hooks
        self._event_loop = EventLoop(self._failed)
        self._threads: CommandThreads | None = None
        self._pipe: DispatcherEnd | None = None
        self._stop = pauses.stop_now
        self._failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        #: Jobs in hand, by number, and a sign of life for each that has stopped the worker and ended.
        self._jobs: dict[int, WorkerJob] = {}
        self._stoppers_ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        caller = CommandCaller(
            target, commands, hooks if hooks.for_each_job else None, pauses, self._event_loop, self._conclude
        )
        for name in commands.targets:
            worker.register_task(name, caller)

    def run(self, run: Run, threads: int | None) -> None:
        """Work on what comes through the Pipe, in this thread, or in as many `threads`, until the run is over. What
        left a command is raised.
        """
        pipe = self._pipe = run.thread.pipe
        if threads is not None:
            self._threads = CommandThreads(threads, self._take_in_thread, pipe.ask_for_more, self._failed)
            self._threads.start()
        while not run.over():
            assignments = pipe.receive(run.poll_timeout)
            if assignments is None:
                break
            for assignment in assignments:
                if run.over():
                    break  # the jobs not begun go back to the queue with the connection
                if self._threads is not None:
                    self._threads.put(assignment)
                elif (job := self._begin(assignment)) is not None:
                    self.work_on(job)
            if self._event_loop.running:
                pipe.ask_for_more()
        self._wait_for_stoppers()
        self._raise_failure()

    def end(self) -> None:
        """Let no command go on that can be ended. May be called again, where that was broken off."""
        if self._threads is not None:
            self._threads.end()
        self._event_loop.end(spare=lambda job: False)

    def try_job(self, job: WorkerJob) -> None:
        """Work on a job by itself, and wait until it is answered."""
        try:
            self.work_on(job)
            self._event_loop.end(spare=lambda job: True)
        finally:
            self.end()
        self._raise_failure()

    def work_on(self, job: WorkerJob) -> None:
        """Work on one job, and answer it, unless its command goes on in the event loop. What left its command is
        raised. The run ends when the worker says that it was the last.
        """
        in_hand.set((self._target, job))
        job.begin()
        try:
            going_on = self._worker.execute(job)
        finally:
            if not job.deferred:
                self._tell_hooks(job)
        in_hand.set(None)
        if not job.deferred:
            self._leave(job, going_on)

    def _begin(self, assignment: Assignment) -> WorkerJob | None:
        """The job; None when the loop has taken it back."""
        pipe = self._pipe
        assert pipe is not None
        begun = pipe.begin(assignment.number)
        return None if begun is None else self._worker.job(assignment, begun, pipe)

    def _take_in_thread(self, assignment: Assignment) -> None:
        job = self._begin(assignment)
        assert self._pipe is not None
        assert self._threads is not None
        if not self._threads.waiting:  # other threads may be free, and the loop holds jobs back until these are begun
            self._pipe.ask_for_more()
        if job is None:
            return
        self._jobs[assignment.number] = job
        try:
            self.work_on(job)
        except BaseException as error:
            if job.origin.forked:
                raise  # it ends the thread, and with it the child
            self._failed(error)
        finally:
            del self._jobs[assignment.number]
            if job.discarded:
                self._stoppers_ended.put(None)

    def _conclude(self, job: WorkerJob, answer: Callable[[], Any]) -> None:
        """The event loop is through with a job."""
        try:
            going_on = self._worker.conclude(job, answer)
        finally:
            self._tell_hooks(job)
        self._leave(job, going_on)

    def _leave(self, job: WorkerJob, going_on: bool) -> None:
        if job.error is not None:
            raise job.error
        if not going_on:
            self._stop()

    def _tell_hooks(self, job: WorkerJob) -> None:
        if self._hooks.for_each_job or job.failure is not None:
            self._hooks.job_ends(job, perf_counter() - job.began)

    def _failed(self, error: BaseException) -> None:
        """Something left a command that runs elsewhere."""
        self._failures.put(error)
        self._stop()

    def _raise_failure(self) -> None:
        if not self._failures.empty():
            raise self._failures.get()

    def _wait_for_stoppers(self) -> None:
        """A command that has stopped the worker is answered still."""
        while any(job.discarded for job in list(self._jobs.values())):
            try:
                self._stoppers_ended.get(timeout=LONGEST_WAIT_SECONDS)
            except queue.Empty:
                pass
        self._event_loop.end(spare=lambda job: job.discarded)
