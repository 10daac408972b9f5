"""GearmanCMD: takes jobs off the background worker and works on them in the thread that called run()."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from gearman.worker import GearmanWorker

from . import arguments
from .address import Server, parse_addresses
from .dispatch import Routines
from .errors import CommandError
from .job import WorkerJob
from .poll import LONGEST_WAIT
from .progress import tracked
from .queue import GearmanCMDQueue
from .session import Session
from .worker import EngineWorker, JSONGearmanWorker

T = TypeVar("T")


class StopTrigger(Protocol):
    """Anything that can be asked whether it is set, such as threading.Event or multiprocessing.Event."""

    def is_set(self) -> bool: ...


class GearmanCMD:
    """A Gearman worker whose tasks name commands: ``GearmanCMD(servers).register_task(queue, Queue()).run()``.

    - `servers`: a list of "host:port", "host", ("host", port), or gearman's dict with host, port, keyfile, certfile
      and ca_certs.
    - `command`: the key of a task that names its command.
    - `poll_timeout`: seconds between two looks at `stop_trigger`, and between two calls of the worker's after_poll().
    - `exception_handler`: called with the exception of a command; what it returns is the job's result, and the
      worker goes on.
    - `prefetch`: how many jobs may be assigned to this worker at once, over all servers.
    - `client_id`: the worker's name in gearmand's list of workers.
    """

    #: The worker class: any subclass of gearman's GearmanWorker.
    worker: type[GearmanWorker] = JSONGearmanWorker

    def __init__(
        self,
        servers: Iterable[Server],
        command: str = "command",
        poll_timeout: float = 0.1,
        exception_handler: Callable[[Exception], Any] | None = None,
        *,
        prefetch: int = 1,
        client_id: str | None = None,
    ) -> None:
        servers = list(servers) if isinstance(servers, Iterator) else servers
        if not parse_addresses(servers):
            raise ValueError(f"servers must name at least one server, not {servers!r}")
        if not isinstance(command, str):
            raise TypeError(f"command must be a str, not {command!r}")
        if exception_handler is not None and not callable(exception_handler):
            raise TypeError(f"exception_handler must be callable, not {exception_handler!r}")
        self.servers = list(servers)
        self.command = command
        self.poll_timeout = arguments.seconds(poll_timeout, "poll_timeout")
        self.prefetch = arguments.count(prefetch, "prefetch")
        self.client_id = arguments.client_id(client_id, "client_id")
        self._exception_handler = exception_handler
        self._worker_class = _on_engine(self.worker)
        self._routines = Routines()
        self._session: Session | None = None
        self._starting = threading.Lock()
        #: The job in hand, with `handle`, `unique` and `queue`; None between jobs.
        self.job: WorkerJob | None = None

    def register_task(self, queue: str, target: GearmanCMDQueue) -> GearmanCMD:
        """Work on the tasks of `queue` with the commands of `target`; while run() runs, from the next run() on."""
        self._routines.add(arguments.function_name(queue, "queue"), target)
        return self

    # The life of a worker.

    def run(self, stop_trigger: StopTrigger | None = None) -> None:
        """Work until stop(), or until `stop_trigger` is set. What a command raises leaves here, and so does Ctrl+C;
        either way the worker has ended then, and run() may be called again.
        """
        if stop_trigger is not None and not callable(getattr(stop_trigger, "is_set", None)):
            raise TypeError(f"stop_trigger must have is_set(), not {stop_trigger!r}")
        if not self._routines.queues:
            raise RuntimeError("no queue to work on: call register_task(queue, target) before run()")
        session = self._open()
        try:
            session.start()
            self._work(session, stop_trigger)
        finally:
            self.job = None
            try:
                session.end()
            finally:  # a second Ctrl+C may come just then
                self._session = None
        session.raise_failure()

    def stop(self, graceful: bool = False) -> None:
        """End run(); nothing happens when it is not running. May be called from commands, threads and signal handlers.

        From within a command the job's client gets None, whatever the command returns; with `graceful` it gets the
        command's result. A command that is running when another thread calls stop() is finished and answered.
        """
        session, job = self._session, self.job
        if session is None:
            return
        if job is not None and session.is_current_thread() and not graceful:
            job.discard_result = True
        session.stop()

    def _open(self) -> Session:
        with self._starting:
            if self._session is not None:
                raise RuntimeError("run() is running already")
            self._session = Session(self._make_worker(), self.poll_timeout)
            return self._session

    def _make_worker(self) -> EngineWorker:
        worker: EngineWorker = self._worker_class(self.servers)
        worker.prefetch = self.prefetch
        if self.client_id is not None:
            worker.set_client_id(self.client_id)
        for queue in self._routines.queues:
            worker.register_task(queue, self._perform)
        return worker

    def _work(self, session: Session, stop_trigger: StopTrigger | None) -> None:
        # stop() and the end of the background thread wake this one; only a trigger has to be looked at.
        wait = min(self.poll_timeout, LONGEST_WAIT) if stop_trigger is not None else LONGEST_WAIT
        while not (session.stopped or (stop_trigger is not None and stop_trigger.is_set())):
            jobs = session.fetch(wait)
            for job in jobs:
                if session.stopped or (stop_trigger is not None and stop_trigger.is_set()):
                    return  # the jobs not begun go back to the queue with the connection
                session.work_on(job, last=job is jobs[-1])

    # One job.

    def _perform(self, worker: EngineWorker, job: WorkerJob) -> Any:
        """The worker's callback: decode, dispatch, call the command."""
        self.job = job
        try:
            task = job.data
            routine = self._routines.find(self.dispatch(job.task, task), job.task)
            result = routine(self, task) if routine is not None else None
        except CommandError:
            raise
        except Exception as error:
            result = self._handle(error)
        finally:
            self.job = None
        return None if job.discard_result else result

    def _handle(self, error: Exception) -> Any:
        """The exception handler's result, or the exception on its way out of run()."""
        try:
            if self._exception_handler is None:
                raise error
            return self._exception_handler(error)
        except Exception as failure:
            self._current().fail(failure)
            raise

    def dispatch(self, queue: str, task: Any) -> Any:
        """The name of the command for a task of `queue`; or (other queue, name); or None: the task is ignored.

        Override it to choose by other means. By default the queue's own dispatch(task) is asked, else the
        task's `command` key is read. A name that is no command of the queue leads to its `default`.
        """
        return self._routines.dispatch(queue, task, self.command)

    # What a command may tell its client.

    def send_status(self, done: int, total: int) -> None:
        """Tell how far the job is: whole numbers, for gearmand keeps no others."""
        figures = arguments.count(done, "done", least=0), arguments.count(total, "total", least=0)
        self._current().worker.send_job_status(self._job_in_hand(), *figures)

    def send_data(self, obj: Any) -> None:
        """Send a part of the result ahead, encoded as the result is."""
        self._current().worker.send_job_data(self._job_in_hand(), obj)

    def send_warning(self, obj: Any) -> None:
        """Send a warning, encoded as the result is; the job goes on."""
        self._current().worker.send_job_warning(self._job_in_hand(), obj)

    def track(self, items: Iterable[T], total: int | None = None) -> Iterator[T]:
        """Go through `items` and tell the client how far it is, at most a few times a second. `total` is for items
        that have no len(): without it, 0 is sent for the total.
        """
        return tracked(items, total, self.send_status)

    def _job_in_hand(self) -> WorkerJob:
        if self.job is None:
            raise RuntimeError("there is no job in hand: this is for commands, while they run")
        return self.job

    def _current(self) -> Session:
        if self._session is None:
            raise RuntimeError("there is no job in hand: run() is not running")
        return self._session


def _on_engine(worker: object) -> type[EngineWorker]:
    """The user's worker class with the engine behind it; its own overrides come first."""
    if not (isinstance(worker, type) and issubclass(worker, GearmanWorker)):
        raise TypeError(f"worker must be a subclass of gearman.worker.GearmanWorker, not {worker!r}")
    if issubclass(worker, EngineWorker):
        return worker
    if issubclass(EngineWorker, worker):
        return EngineWorker
    return type(worker.__name__, (worker, EngineWorker), {})
