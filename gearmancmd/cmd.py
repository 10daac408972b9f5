"""GearmanCMD: a worker in a background thread, and the dispatcher loop in the thread that called run()."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from gearman import worker as gearman_worker

from . import arguments
from ._wire.address import Server, parse_addresses
from ._wire.fork import Origin
from ._worker.job import WorkerJob, in_hand
from ._worker.run import Run, StopTrigger
from .hooks import HookCaller, Hooks, check_hooks
from .job_log import FailureLog, JobLog
from .logs import logger
from .progress import tracked
from .queue import Commands, GearmanCMDQueue
from .worker import GearmanWorker, JSONGearmanWorker, has_own_constructor, with_loop

if TYPE_CHECKING:
    from datetime import datetime

    from typing_extensions import Self

    from ._dispatch.attempts import NoPauses
    from ._dispatch.dispatcher import Dispatcher

T = TypeVar("T")


def _import_dispatcher() -> tuple[type[Dispatcher], type[NoPauses]]:
    """With what it needs it takes a fifth of the library's whole import, which need not wait for it. A constructor
    imports it, so that Ctrl+C, which may strike at any line of run(), finds it there.
    """
    from ._dispatch.attempts import NoPauses  # noqa: PLC0415
    from ._dispatch.dispatcher import Dispatcher  # noqa: PLC0415

    return Dispatcher, NoPauses


class GearmanCMD(Hooks):
    """A Gearman worker: for each task that a job server has for it, it calls the method that the task names.

    >>> gcmd = GearmanCMD(["localhost:4730"])
    >>> gcmd.register_task("queue", Queue())
    >>> gcmd.run()

    - `servers`: a list of "host:port", "host", ("host", port), or gearman's dict with host, port, keyfile, certfile
      and ca_certs.
    - `command`: the key of a task that names its command.
    - `poll_timeout`: seconds that the worker's poll of its servers and the polls on the Pipe take at most, and so the
      time between two looks at `stop_trigger`, and between two calls of the worker's after_poll(). Jobs, answers and
      stop() are noticed at once.
    - `exception_handler`: called with the exception of a command or of dispatch, and with an UnknownCommand; what it
      returns is the job's result, and the worker goes on. When it raises CommandError the job fails with that text, and
      the worker goes on too. Not for a command's own CommandError.
    - `prefetch`: how many jobs may be assigned to this worker at once, over all servers; by default as many as there
      are `threads`, else 1.
    - `client_id`: the worker's name in gearmand's list of workers.
    - `failures`: how clients hear of a failed job: "warning", "exception" or "plain"; by default what the worker
      class says, which is "warning".
    - `max_payload`: bytes that a job may have; a larger one fails; by default 256 MiB.
    - `expose_errors`: False tells clients "internal error" in the place of an unexpected exception's type and text, and
      nothing of what an encoder said; a CommandError's text, and that of an UnknownCommand, stay. By default what the
      worker class says, which is True. The log has all in any case.
    - `hooks`: objects with any of the methods of :class:`gearmancmd.Hooks`, called in this order. A subclass may
      override these methods too; its own are called first.
    - `threads`: how many threads commands run in, beside each other; by default one at a time, in the thread that
      called run(). Commands that are ``async def`` run beside each other in any case, as many as `prefetch` says.

    All are attributes too, read when run() begins; a subclass may set them before or after it calls this constructor.
    A worker class with a constructor of its own gets `servers` as they are, in whatever form it takes them.

    One that is not running can be pickled, with its queues and whatever a subclass has set, so that
    ``Process(target=gcmd.run)`` works however processes are started. In a forked child, one that ran in the parent
    counts as never started.
    """

    #: The worker class: any subclass of gearman's GearmanWorker.
    worker: type[gearman_worker.GearmanWorker] = JSONGearmanWorker
    exception_handler: Callable[[BaseException], Any] | None
    servers: Iterable[Server]
    command: str
    poll_timeout: float
    prefetch: int | None
    client_id: str | None
    failures: str | None
    max_payload: int | None
    expose_errors: bool | None
    hooks: Iterable[object]
    threads: int | None

    def __init__(
        self,
        servers: Iterable[Server],
        command: str | None = "command",
        poll_timeout: float = 0.1,
        exception_handler: Callable[[BaseException], Any] | None = None,
        *,
        prefetch: int | None = None,
        client_id: str | None = None,
        failures: str | None = None,
        max_payload: int | None = None,
        expose_errors: bool | None = None,
        hooks: Iterable[object] = (),
        threads: int | None = None,
    ) -> None:
        self._keep("servers", servers, None)
        self._keep("command", command or "command", "command")
        self._keep("poll_timeout", poll_timeout, 0.1)
        self._keep("exception_handler", exception_handler, None)
        self._keep("prefetch", prefetch, None)
        self._keep("client_id", client_id, None)
        self._keep("failures", failures, None)
        self._keep("max_payload", max_payload, None)
        self._keep("expose_errors", expose_errors, None)
        self._keep("hooks", hooks, ())
        self._keep("threads", threads, None)
        _import_dispatcher()
        self._commands = Commands()
        #: The runs under way: the first works, and those behind it wait for it to end.
        self._runs: list[Run] = []
        # A subclass's constructor may set the servers after this one.
        self._check(servers_needed=type(self).__init__ is GearmanCMD.__init__)
        arguments.warn_of_former_names(self)

    def _keep(self, name: str, given: Any, default: Any) -> None:
        """Set an attribute, but for one that a subclass has set and the caller has not given."""
        if given != default or not hasattr(self, name):
            setattr(self, name, given)

    def _check(self, servers_needed: bool = True) -> None:
        """TypeError or ValueError for an attribute that is not what it must be."""
        with_loop(self.worker)
        if not has_own_constructor(self.worker):
            self._check_servers(servers_needed)
        if not isinstance(self.command or "", str):
            raise TypeError(f"command must be a str, not {self.command!r}")
        arguments.seconds(self.poll_timeout, "poll_timeout")
        if self.exception_handler is not None and not callable(self.exception_handler):
            raise TypeError(f"exception_handler must be callable, not {self.exception_handler!r}")
        for name in ("prefetch", "max_payload", "threads"):
            if getattr(self, name) is not None:
                arguments.count(getattr(self, name), name)
        arguments.client_id(self.client_id, "client_id")
        if self.failures is not None:
            arguments.failures(self.failures, "failures")
        if self.expose_errors is not None:
            arguments.flag(self.expose_errors, "expose_errors")
        if isinstance(self.hooks, Iterator):
            self.hooks = list(self.hooks)  # each run reads them
        check_hooks(self.hooks)

    def _check_servers(self, needed: bool) -> None:
        if isinstance(self.servers, Iterator):
            self.servers = list(self.servers)  # each run reads them
        if (needed or self.servers) and not parse_addresses(self.servers):
            raise ValueError(f"servers must name at least one server, not {self.servers!r}")

    def register_task(self, queue: str, target: GearmanCMDQueue) -> Self:
        """Work on the tasks of the queue named `queue` with the commands of `target`; this GearmanCMD.

        It may be called for several queues. A queue that is registered while run() runs is worked on from the next
        run() on. TypeError when `target` is not a GearmanCMDQueue, ValueError when it has no commands, and either for
        what cannot be a name.
        """
        left_out = self._commands.add(arguments.function_name(queue, "queue"), target)
        if left_out:
            logger.info("queue %s: these methods are not commands: %s", queue, ", ".join(left_out))
        return self

    @property
    def queues(self) -> Mapping[str, GearmanCMDQueue]:
        """The registered queues by name; read-only."""
        return self._commands.targets

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy. RuntimeError while it is running."""
        if self._runs_here():
            raise RuntimeError("a GearmanCMD cannot be pickled or copied while it is running")
        return {**vars(self), "_runs": []}

    # The life of a worker.

    def run(self, stop_trigger: StopTrigger | None = None) -> None:
        """Work until stop(), or until `stop_trigger` is set. What a command raises leaves here, and so does Ctrl+C;
        either way the worker has ended then, and run() may be called again.

        `stop_trigger` is anything with ``is_set()``, such as a threading.Event or a multiprocessing.Event. It is looked
        at each `poll_timeout` seconds.

        After stop() it may be called at once, by any thread but the one in run(): it waits for the old run to end.
        RuntimeError where it is running already, or has no queue; TypeError or ValueError for an attribute that is not
        what it must be.
        """
        run = Run(stop_trigger, self.poll_timeout)
        # An exception, of Ctrl+C say, may strike at any line. So what is to be undone is undone below `finally`, and
        # once more where that was broken off.
        try:
            try:
                self._runs.append(run)
                self._work(run)
            finally:
                self._end(run)
        except BaseException:
            self._end(run)
            raise

    def stop(self, graceful: bool = False) -> None:
        """End run(); nothing happens when it is not running in this process. May be called from commands, threads and
        signal handlers.

        From within a command the job's client gets None, whatever the command returns; with `graceful` it gets the
        command's result, and jobs that are assigned already are finished too. A command that is running when another
        thread calls stop() is finished and answered.
        """
        job = self._job_here()
        with job.uninterrupted() if job is not None else nullcontext():
            if job is not None and not graceful:
                job.discard_result()
            for run in self._runs_here():
                run.stop(graceful)

    def _job_here(self) -> WorkerJob | None:
        """The job in hand, in a command of this GearmanCMD; None elsewhere, and in a forked child."""
        found = in_hand.get()
        if found is None or found[0] is not self or found[1].origin.forked:
            return None
        return found[1]

    def _runs_here(self) -> list[Run]:
        """The runs of this process: a forked child has no part in those of its parent."""
        return [run for run in self._runs if not run.origin.forked]

    def _work(self, run: Run) -> None:
        if run.trigger is not None and not callable(getattr(run.trigger, "is_set", None)):
            raise TypeError(f"stop_trigger must have is_set(), not {run.trigger!r}")
        if not self.queues:
            raise RuntimeError("no queue to work on: call register_task(queue, target) before run()")
        self._check()
        self._wait_for_turn(run)
        if run.over():
            return
        worker = self._make_worker()
        hooks = self._make_hooks(worker, run.origin)
        dispatcher = self._make_dispatcher(worker, hooks, run)
        run.at_end(dispatcher.end, hooks.stop)
        hooks.start()
        if run.over():
            return
        run.start(worker)
        dispatcher.run(run, self.threads)
        run.raise_failure()

    def _wait_for_turn(self, run: Run) -> None:
        """Wait until the runs before this one have ended. RuntimeError when one of them was not told to stop, or
        would wait for this one.
        """
        runs = self._runs_here()
        for earlier in runs[: runs.index(run)]:
            if earlier.in_this_thread() or self._job_here() is not None or not earlier.stopping:
                raise RuntimeError("run() is running already")
            while not earlier.ended.wait(run.poll_timeout) and not run.over():
                pass

    def _make_worker(self) -> GearmanWorker:
        worker = with_loop(self.worker)(self.servers)
        worker.configure(
            prefetch=self.prefetch or self.threads,
            failures=self.failures,
            max_payload=self.max_payload,
            expose_errors=self.expose_errors,
            client_id=self.client_id,
            logs_failures=False,
        )
        return worker

    def _make_hooks(self, worker: GearmanWorker, origin: Origin) -> HookCaller:
        hooks = HookCaller([self._log(worker), self, *self.hooks], origin)
        worker.configure(watcher=hooks)
        return hooks

    def _log(self, worker: GearmanWorker) -> FailureLog:
        """The hooks that log. Lines at INFO cost nothing where nobody wants them."""
        if not logger.isEnabledFor(logging.INFO):
            return FailureLog()
        return JobLog([str(connection) for connection in worker.connection_list], self._commands.names)

    def _make_dispatcher(self, worker: GearmanWorker, hooks: HookCaller, run: Run | None) -> Dispatcher:
        """What works on the jobs of a run, or on one without a run."""
        dispatcher_class, no_pauses = _import_dispatcher()
        return dispatcher_class(self, self._commands, worker, hooks, no_pauses() if run is None else run)

    def _end(self, run: Run) -> None:
        """What a run leaves behind is nothing. May be called again."""
        in_hand.set(None)
        run.end()
        if run in self._runs:
            self._runs.remove(run)
        run.ended.set()

    # One job.

    def try_job(self, make: Callable[[GearmanWorker], WorkerJob]) -> None:
        """Work on a job that no server has assigned: ``make(worker)`` makes it, for a worker as run() has it, connected
        to nothing. What leaves run() leaves here too. Of the hooks those of a job are called.

        gearmancmd.testing.call_command() stands on it, and is what tests call.
        """
        self._check(servers_needed=False)
        worker = self._make_worker()
        dispatcher = self._make_dispatcher(worker, self._make_hooks(worker, Origin()), None)
        # A command may do this too. It goes on with the job in hand that it had, and its time limit does not strike in
        # another's command.
        found = in_hand.get()
        with found[1].uninterrupted() if found is not None else nullcontext():
            copy_context().run(dispatcher.try_job, make(worker))

    def dispatch(self, queue: str, task: Any) -> Any:
        """The name of the command for a task of `queue`; or (other queue, name); or None: the task is ignored.

        Override it to choose by other means. By default the queue's own dispatch(task) is asked, else the
        task's `command` key is read. A name that is not a command of the queue leads to its `default`.
        """
        return self._commands.dispatch(queue, task, self.command or "command")

    # What a command may tell its client.

    @property
    def job(self) -> WorkerJob:
        """The job in hand, in a command of this GearmanCMD; RuntimeError elsewhere. A thread that the command starts is
        elsewhere: hand it the job, whose methods work from any thread.
        """
        found = in_hand.get()
        if found is None or found[0] is not self:
            raise RuntimeError("there is no job in hand: this is for commands, while they run, in their own thread")
        return found[1]

    def send_status(self, done: int, total: int) -> None:
        """Tell the client how far the job is: `done` of `total`, whole numbers, for gearmand keeps no others.

        As with send_data() and send_warning(), RuntimeError outside of a command, and JobEnded, which is one too, when
        the job cannot be told anything more.
        """
        self.job.send_status(done, total)

    def send_data(self, obj: Any) -> None:
        """Send the client a part of the result ahead, encoded as the result is. ResultError when it cannot be."""
        self.job.send_data(obj)

    def send_warning(self, obj: Any) -> None:
        """Send the client a warning, encoded as the result is; the job goes on. ResultError when it cannot be."""
        self.job.send_warning(obj)

    def submit(
        self,
        queue: str,
        task: Any,
        *,
        when: datetime | None = None,
        unique: str | None = None,
        priority: str | None = None,
    ) -> str:
        """Submit a background job from a command, by the worker's own connection to the server of the job in hand; the
        new job's handle, once that server has it. `when` excludes `priority`; they and `unique` are a client's own.

        JobFailed when the server refuses the job. JobTimeout when it has not answered within 30 s, ServerUnavailable
        when it is lost meanwhile; then the job may be queued.
        """
        from ._client.submission import background_packet  # noqa: PLC0415 - imported with the dispatcher
        from ._dispatch.caller import SUBMIT_SECONDS  # noqa: PLC0415

        job = self.job
        encode = self.worker.data_encoder.encode
        return job.submit(background_packet(encode, queue, task, when, unique, priority), SUBMIT_SECONDS)

    def track(self, items: Iterable[T], total: int | None = None) -> Iterator[T]:
        """Go through `items` and tell the client how far it is, at most a few times a second.

        >>> for path in gcmd.track(task["paths"]):
        ...     scale(path)

        `total` is for items that have no len(): without it, 0 is sent for the total. Errors are those of send_status().
        """
        return tracked(items, total, self.job.send_status)
