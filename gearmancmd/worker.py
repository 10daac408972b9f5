"""Gearman workers: python-gearman's GearmanWorker as its users know it, working on Python 3."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Union

from gearman import protocol as kinds
from gearman import worker as gearman_worker
from gearman.errors import InvalidWorkerState

from . import arguments
from ._wire.address import Address, Server, parse_address, parse_addresses
from ._wire.connection import ServerConnection
from ._wire.packet import MAX_PAYLOAD, pack, to_wire
from ._wire.waker import Waker
from ._worker.encoding import encode_reason, encode_result
from ._worker.hooks import ConnectionWatcher
from ._worker.job import NO_ANSWER, Sink, WorkerJob
from ._worker.loop import Loop
from ._worker.pipe import Assignment
from .encoder import JSONDataEncoder, TextDataEncoder
from .errors import CommandError, JobRejected, ResultError, leaves_worker
from .logs import Flood, logger, reason, told

ExcInfo = Union[tuple[type[BaseException], BaseException, TracebackType], tuple[None, None, None]]

#: What a user's class may not replace: the loop is ours.
_REPLACED = {
    "poll_connections_until_stopped": "after_poll() to look at something between polls, shutdown() to end",
    "establish_worker_connections": "servers in the constructor; lost ones are connected to again by themselves",
}


class GearmanWorker(gearman_worker.GearmanWorker):
    """python-gearman's GearmanWorker on a loop that reconnects, prefetches, and survives whatever a job brings.

    >>> worker = GearmanWorker(["localhost:4730"])
    >>> worker.register_task("reverse", lambda worker, job: job.data[::-1])
    >>> worker.work()

    Use it by itself, or put it behind a worker class of your own: ``class Worker(MyWorker, gearmancmd.GearmanWorker)``.
    The API is that of python-gearman 2.x. Names, handles and uniques are str; ``job.data`` is str, or what the class's
    `data_encoder` decodes. Lost servers are connected to again for ever: ``work()`` raises no ServerUnavailable.

    - `host_list`: a list of "host:port", "host", ("host", port), or gearman's dict for TLS.
    - `prefetch`: how many jobs may be assigned to this worker at once, over all servers.
    - `failures`: how clients hear of a failed job: "warning" (WORK_WARNING with the reason, then WORK_FAIL, which
      every client survives), "exception" (WORK_EXCEPTION) or "plain" (WORK_FAIL alone).
    - `max_payload`: bytes that a job's packet may declare; a larger job fails with its size as the reason.
    - `expose_errors`, an attribute: whether clients are told type and text of an unexpected exception.

    The `poll_timeout` of the methods that send is python-gearman's, and is ignored: the loop sends.
    """

    connection_class = ServerConnection  # type: ignore[assignment]  # gearman allows a connection without a host
    connection_list: list[ServerConnection]
    data_encoder: Any = TextDataEncoder
    prefetch = 1
    failures = "warning"
    max_payload = MAX_PAYLOAD
    expose_errors = True
    #: Whether on_job_exception() logs a line. A GearmanCMD has hooks for that.
    logs_failures = True
    #: Is told of connections, in the loop's thread.
    watcher = ConnectionWatcher()
    # One for the process, whose log it is.
    _errors = Flood()
    # The running loop with its waker, and where answers go; None while it does not run.
    _loop: Loop | None = None
    _waker: Waker | None = None
    # How results are encoded and payloads decoded: looked up once a run.
    _encoding: tuple[Callable[[Any], bytes], Callable[[bytes], Any]] | None = None

    def __init__(
        self,
        host_list: Iterable[Server] | None = None,
        prefetch: int | None = None,
        *,
        failures: str | None = None,
        max_payload: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.configure(prefetch=prefetch, failures=failures, max_payload=max_payload)
        for address in parse_addresses(host_list or [], "host_list"):
            self._add_address(address)

    def configure(
        self,
        *,
        prefetch: int | None = None,
        failures: str | None = None,
        max_payload: int | None = None,
        client_id: str | None = None,
        expose_errors: bool | None = None,
        logs_failures: bool | None = None,
        watcher: ConnectionWatcher | None = None,
    ) -> None:
        """Set what is not None, each checked; for the next work()."""
        if prefetch is not None:
            self.prefetch = arguments.count(prefetch, "prefetch")
        if failures is not None:
            self.failures = arguments.failures(failures, "failures")
        if max_payload is not None:
            self.max_payload = arguments.count(max_payload, "max_payload")
        if client_id is not None:
            self.set_client_id(client_id)
        if expose_errors is not None:
            self.expose_errors = arguments.flag(expose_errors, "expose_errors")
        if logs_failures is not None:
            self.logs_failures = logs_failures
        if watcher is not None:
            self.watcher = watcher

    def add_connection(self, hostport_tuple: Server) -> ServerConnection:
        """Add a server, in any of the forms that `host_list` takes; used from the next work() on."""
        return self._add_address(parse_address(hostport_tuple))

    def _add_address(self, address: Address) -> ServerConnection:
        connection = self.connection_class(
            address.host, address.port, address.keyfile, address.certfile, address.ca_certs
        )
        self.connection_list.append(connection)
        return connection

    # Functions.

    def register_task(self, task: str | bytes, callback_function: Callable[[Any, Any], Any]) -> str:
        """Take jobs of the function `task`: ``callback_function(worker, job)`` works on them and returns the result.

        TypeError or ValueError for what cannot be a name, or cannot be called.
        """
        name = arguments.function_name(_text(task), "task")
        if not callable(callback_function):
            raise TypeError(f"callback_function must be callable, not {callback_function!r}")
        known = name in self.worker_abilities
        super().register_task(name, callback_function)  # type: ignore[no-untyped-call]
        if not known:
            self._tell_loop(lambda loop: loop.announce(pack(kinds.GEARMAN_COMMAND_CAN_DO, to_wire(name))))
        return name

    def unregister_task(self, task: str | bytes) -> str:
        """Take no more jobs of the function; one in hand is finished and answered."""
        name = _text(task)
        known = name in self.worker_abilities
        super().unregister_task(name)  # type: ignore[no-untyped-call]
        if known:
            self._tell_loop(lambda loop: loop.retire(name))
        return name

    def set_client_id(self, client_id: str | bytes | None) -> str | None:
        """Name this worker in gearmand's list of workers: at most 127 bytes without white space."""
        name = arguments.client_id(_text(client_id) if client_id is not None else None, "client_id")
        super().set_client_id(name)  # type: ignore[no-untyped-call]
        if name is not None:
            self._tell_loop(lambda loop: loop.announce(pack(kinds.GEARMAN_COMMAND_SET_CLIENT_ID, to_wire(name))))
        return name

    def _tell_loop(self, order: Callable[[Loop], object]) -> None:
        """Have the loop's thread do something, if it runs."""
        loop, waker = self._loop, self._waker
        if loop is not None and waker is not None:
            waker.post(partial(order, loop))

    # Working.

    def work(self, poll_timeout: float = gearman_worker.POLL_TIMEOUT_IN_SECONDS) -> None:
        """Work on jobs in this thread until shutdown(), or until after_poll() or after_job() returns False.

        after_poll() is called at least once in `poll_timeout` seconds.
        """
        seconds = arguments.seconds(poll_timeout, "poll_timeout")
        waker = Waker()
        loop = Loop(self, waker)
        self.attach(loop, waker)
        try:
            while loop.run_once(seconds):
                for assignment in loop.take_jobs():
                    self._work_on(loop, assignment)
        finally:
            self.detach()
            loop.end()

    def attach(self, loop: Loop, waker: Waker) -> None:
        """Its loop begins to run, in whatever thread. RuntimeError when another one does."""
        refuse_replaced(type(self))
        if self._loop is not None and not self._loop.origin.forked:
            raise RuntimeError("this worker is working already")
        self._loop, self._waker = loop, waker
        self._encoding = self._coders()

    def detach(self) -> None:
        """Its loop runs no more."""
        self._loop = self._waker = None

    def _work_on(self, loop: Loop, assignment: Assignment) -> None:
        begun = loop.begin(assignment.number)
        if begun is not None and not self.execute(self.job(assignment, begun, loop)):
            loop.stop()

    def job(self, assignment: Assignment, begun: tuple[Any, bytes], sink: Sink) -> WorkerJob:
        """The job that callbacks see, for one that was begun."""
        connection, payload = begun
        return WorkerJob(assignment, connection, payload, self._encoding or self._coders(), sink)

    def _coders(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        return self._encode, self.data_encoder.decode

    def execute(self, job: WorkerJob) -> bool:
        """Work on one job in this thread, and answer it, unless its callback defers that; False when after_job() says
        that it was the last. RuntimeError in a child that was forked meanwhile.
        """
        try:
            job.require_payload()
            self.on_job_execute(job)
        except JobRejected as error:
            self._reject(job, error)
        return True if job.deferred else self._leave(job)

    def conclude(self, job: WorkerJob, call: Callable[[], Any]) -> bool:
        """End a job that was deferred, with what `call` returns or raises; the rest as execute() has it."""
        try:
            self._answer(job, call)
        except JobRejected as error:
            self._reject(job, error)
        return self._leave(job)

    def _reject(self, job: WorkerJob, error: JobRejected) -> None:
        if job.origin.forked:
            raise error
        job.failed(error)
        self.on_job_exception(job, sys.exc_info())

    def _leave(self, job: WorkerJob) -> bool:
        job.leave()
        going_on = bool(self.after_job())
        if job.origin.forked:
            raise job.origin.error()
        return going_on

    def shutdown(self) -> None:
        """Make work() return after the job in hand; callable from callbacks, other threads and signal handlers."""
        self._tell_loop(lambda loop: loop.stop())

    def poll_connections_until_stopped(self, *arguments: Any, **options: Any) -> bool:
        """Gearman's own loop, which this class replaces. TypeError."""
        raise TypeError(
            "gearman.GearmanWorker.work(self) was called by name; call super().work(): the loop is gearmancmd's"
        )

    def establish_worker_connections(self) -> list[Any]:
        """Gearman's own way to connect, which this class replaces. TypeError."""
        return [self.poll_connections_until_stopped()]

    # Hooks, to be overridden as in python-gearman (with after_poll and after_job, which are as they were).

    def on_job_execute(self, current_job: WorkerJob) -> bool:
        """Call the function's callback, and on with the result or the exception."""
        callback = self.worker_abilities.get(current_job.task)
        if callback is None:
            return False  # unregistered since it was assigned: the CANT_DO that follows requeues it
        return self._answer(current_job, callback, self, current_job)

    def _answer(self, job: WorkerJob, call: Callable[..., Any], *arguments: Any) -> bool:
        try:
            result = call(*arguments)
            if job.origin.forked:
                raise job.origin.error()
        except BaseException as error:
            if leaves_worker(error) or job.origin.forked:
                raise
            if not isinstance(error, CommandError):
                job.raised(error)
            return bool(self.on_job_exception(job, sys.exc_info()))
        return result is NO_ANSWER or bool(self.on_job_complete(job, result))

    def on_job_exception(self, current_job: WorkerJob, exc_info: ExcInfo) -> bool:
        """The callback raised: fail the job, with the reason as `failures` has it."""
        error = exc_info[1]
        assert error is not None
        deliberate = isinstance(error, CommandError) and not isinstance(error, JobRejected)
        if self.logs_failures:
            level = logging.INFO if deliberate else logging.WARNING
            logger.log(level, "job %s of %s failed: %s", current_job.handle, current_job.task, reason(error))
        self.send_job_exception(current_job, told(error, self.expose_errors))
        return False

    def on_gearman_error(self, error_code: str, error_text: str) -> bool:
        """A server sent ERROR: it is logged, and what follows is read. A flood makes a few lines and a count."""
        self._errors.warning("a job server sent an error: %s: %s", error_code, error_text)
        return True

    def on_job_complete(self, current_job: WorkerJob, job_result: Any) -> bool:
        """The callback returned: send the result."""
        self.send_job_complete(current_job, job_result)
        return True

    # What a job may send. The job itself knows where to.

    def send_job_status(
        self, current_job: WorkerJob, numerator: float, denominator: float, poll_timeout: float | None = None
    ) -> None:
        """Tell how far the job is; the server keeps whole numbers only, so fractions are cut off."""
        figures = [str(int(figure)).encode() for figure in (numerator, denominator)]
        _running(current_job).report(kinds.GEARMAN_COMMAND_WORK_STATUS, *figures)

    def send_job_data(self, current_job: WorkerJob, data: Any, poll_timeout: float | None = None) -> None:
        """Send a part of the result ahead. Not for background jobs: nobody would get it."""
        _running(current_job).send_data(data)

    def send_job_warning(self, current_job: WorkerJob, data: Any, poll_timeout: float | None = None) -> None:
        """Send a warning; the job goes on."""
        _running(current_job).send_warning(data)

    def send_job_complete(self, current_job: WorkerJob, data: Any, poll_timeout: float | None = None) -> None:
        """Answer the job with its result. ResultError when it cannot be encoded."""
        encoded = self._encode(data)
        try:
            _running(current_job).answer((kinds.GEARMAN_COMMAND_WORK_COMPLETE, encoded))
        except MemoryError as error:
            raise ResultError(f"there is no memory to send the {len(encoded)} bytes of the result") from error

    def send_job_failure(self, current_job: WorkerJob, poll_timeout: float | None = None) -> None:
        """Answer the job with WORK_FAIL."""
        _running(current_job).answer((kinds.GEARMAN_COMMAND_WORK_FAIL,))

    def send_job_exception(self, current_job: WorkerJob, data: Any, poll_timeout: float | None = None) -> None:
        """Answer the job as failed, with a reason of at most 64 KiB, by the packets that `failures` names."""
        job = _running(current_job)
        if self.failures == "plain":
            job.answer((kinds.GEARMAN_COMMAND_WORK_FAIL,))
        elif self.failures == "exception":
            job.answer((kinds.GEARMAN_COMMAND_WORK_EXCEPTION, encode_reason(self.data_encoder, data)))
        else:
            warning = (kinds.GEARMAN_COMMAND_WORK_WARNING, encode_reason(self.data_encoder, data))
            job.answer(warning, (kinds.GEARMAN_COMMAND_WORK_FAIL,))

    def wait_until_updates_sent(
        self, multiple_gearman_jobs: Iterable[WorkerJob], poll_timeout: float | None = None
    ) -> None:
        """Wait until all that was sent for these jobs has left, for each of them up to `poll_timeout` seconds. JobEnded
        when it never will.
        """
        for job in multiple_gearman_jobs:
            job.wait_until_sent(poll_timeout)

    def _encode(self, data: Any) -> bytes:
        return encode_result(self.data_encoder, data)


class JSONGearmanWorker(GearmanWorker):
    """A GearmanWorker whose payloads and results are JSON."""

    data_encoder = JSONDataEncoder


def _running(job: object) -> WorkerJob:
    if not isinstance(job, WorkerJob):
        raise InvalidWorkerState(f"{job!r} is not a job that this worker works on")
    return job


def refuse_replaced(worker: type) -> None:
    """TypeError when a worker class replaces the loop, which would never be noticed otherwise."""
    ours = {GearmanWorker, *gearman_worker.GearmanWorker.__mro__}
    for name, instead in _REPLACED.items():
        owner = next(cls for cls in worker.__mro__ if name in vars(cls))
        if owner not in ours:
            raise TypeError(f"{owner.__name__}.{name}() is never called: the loop is gearmancmd's; use {instead}")


def _text(name: str | bytes) -> str:
    """gearman3 wanted names as bytes."""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name


def with_loop(worker: object) -> type[GearmanWorker]:
    """The user's worker class with our loop behind it; its own overrides come first."""
    if not (isinstance(worker, type) and issubclass(worker, gearman_worker.GearmanWorker)):
        raise TypeError(f"worker must be a subclass of gearman.worker.GearmanWorker, not {worker!r}")
    refuse_replaced(worker)
    if issubclass(worker, GearmanWorker):
        return worker
    if issubclass(GearmanWorker, worker):
        return GearmanWorker
    return type(worker.__name__, (worker, GearmanWorker), {})


def has_own_constructor(worker: type[gearman_worker.GearmanWorker]) -> bool:
    """Whether the class takes its servers in a way of its own."""
    owner = next(cls for cls in worker.__mro__ if "__init__" in vars(cls))
    return owner not in {GearmanWorker, *gearman_worker.GearmanWorker.__mro__}
