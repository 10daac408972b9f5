"""Gearman workers on the engine: python-gearman's GearmanWorker as its users know it, working on Python 3."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Union

from gearman import protocol as packets
from gearman.errors import InvalidWorkerState
from gearman.worker import POLL_TIMEOUT_IN_SECONDS, GearmanWorker

from . import arguments
from .address import Address, Server, parse_address, parse_addresses
from .connection import ServerConnection
from .encoder import JSONDataEncoder, TextDataEncoder
from .engine import Engine
from .errors import CommandError, JobRejected, ResultError, reason
from .job import WorkerJob
from .protocol import pack, to_wire

logger = logging.getLogger("gearmancmd")

ExcInfo = Union[tuple[type[BaseException], BaseException, TracebackType], tuple[None, None, None]]

#: The protocol's length field has 32 bits (PROTOCOL); handle and separator take their share.
_LARGEST_RESULT = 2**32 - 1024


class EngineWorker(GearmanWorker):
    """A GearmanWorker with gearmancmd's engine in place of python-gearman's transport.

    Use it by itself, or put it behind a worker class of your own: ``class Worker(MyGearmanWorker, EngineWorker)``.
    The API is that of python-gearman 2.x. Names, handles and uniques are str; ``job.data`` is str, or what the class's
    `data_encoder` decodes. Lost servers are dialled again for ever: ``work()`` raises no ServerUnavailable.

    `prefetch` is how many jobs may be assigned to this worker at once, over all servers.
    """

    connection_class = ServerConnection  # type: ignore[assignment]  # gearman allows a connection without a host
    connection_list: list[ServerConnection]
    data_encoder: Any = TextDataEncoder
    prefetch = 1
    _engine: Engine | None = None

    def __init__(self, host_list: Iterable[Server] | None = None, prefetch: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.prefetch = arguments.count(prefetch, "prefetch")
        for address in parse_addresses(host_list or [], "host_list"):
            self._add_address(address)

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
        """Take jobs of the function `task`: ``callback_function(worker, job)`` works on them and returns the result."""
        name = arguments.function_name(_text(task), "task")
        if not callable(callback_function):
            raise TypeError(f"callback_function must be callable, not {callback_function!r}")
        known = name in self.worker_abilities
        super().register_task(name, callback_function)  # type: ignore[no-untyped-call]
        if self._engine is not None and not known:
            self._engine.announce(pack(packets.GEARMAN_COMMAND_CAN_DO, to_wire(name)))
        return name

    def unregister_task(self, task: str | bytes) -> str:
        """Take no more jobs of the function; one in hand is finished and answered."""
        name = _text(task)
        known = name in self.worker_abilities
        super().unregister_task(name)  # type: ignore[no-untyped-call]
        if self._engine is not None and known:
            self._engine.retire(name)
        return name

    def set_client_id(self, client_id: str | bytes | None) -> str | None:
        """Name this worker in gearmand's list of workers: at most 127 bytes without white space."""
        name = arguments.client_id(_text(client_id) if client_id is not None else None, "client_id")
        super().set_client_id(name)  # type: ignore[no-untyped-call]
        if self._engine is not None and name is not None:
            self._engine.announce(pack(packets.GEARMAN_COMMAND_SET_CLIENT_ID, to_wire(name)))
        return name

    # Working.

    def work(self, poll_timeout: float = POLL_TIMEOUT_IN_SECONDS) -> None:
        """Work on jobs in this thread until shutdown(), or until after_poll() or after_job() returns False.

        after_poll() is called at least once in `poll_timeout` seconds.
        """
        seconds = arguments.seconds(poll_timeout, "poll_timeout")
        engine = self.make_engine(alone=True)
        wait = engine.longest_wait(seconds)
        try:
            while (jobs := engine.turn(wait)) is not None:
                self._work_off(engine, jobs)
        finally:
            engine.end()
            self._engine = None

    def make_engine(self, alone: bool) -> Engine:
        """An engine for this worker, made by the thread that is to work on its jobs; `alone` if no other turns it."""
        if self._engine is not None:
            raise RuntimeError("this worker is working already")
        self._engine = Engine(self, alone)
        return self._engine

    def _work_off(self, engine: Engine, jobs: list[WorkerJob]) -> None:
        for job in jobs:
            if engine.stopping:
                return
            if job.abandoned:
                self.forget(job)
            elif not self.execute(job):
                engine.stop()

    def execute(self, job: WorkerJob) -> bool:
        """Work on one job in this thread, and answer it; False when after_job() says that it was the last."""
        try:
            self.on_job_execute(job)
        except JobRejected:
            self.on_job_exception(job, sys.exc_info())
        if not job.answered:
            self._running().release(job)
        return bool(self.after_job())

    def forget(self, job: WorkerJob) -> None:
        """Have done with a job that nobody worked on."""
        self._running().release(job)

    def shutdown(self) -> None:
        """Make work() return after the job in hand; callable from callbacks, other threads and signal handlers."""
        if self._engine is not None:
            self._engine.stop()

    # Hooks, to be overridden as in python-gearman (with after_poll and after_job, which are as they were).

    def on_job_execute(self, current_job: WorkerJob) -> bool:
        """Call the function's callback, and on with the result or the exception."""
        callback = self.worker_abilities.get(current_job.task)
        if callback is None:
            return False  # unregistered since it was assigned: the CANT_DO that follows requeues it
        try:
            result = callback(self, current_job)
        except Exception:
            return bool(self.on_job_exception(current_job, sys.exc_info()))
        return bool(self.on_job_complete(current_job, result))

    def on_job_exception(self, current_job: WorkerJob, exc_info: ExcInfo) -> bool:
        """The callback raised: fail the job, with the reason for clients that asked for exceptions."""
        error = exc_info[1]
        assert error is not None
        deliberate = isinstance(error, CommandError) and not isinstance(error, JobRejected)
        level = logging.DEBUG if deliberate else logging.WARNING
        logger.log(level, "job %s of %s failed: %s", current_job.handle, current_job.task, reason(error))
        self.send_job_exception(current_job, str(error) if deliberate else reason(error))
        return False

    def on_job_complete(self, current_job: WorkerJob, job_result: Any) -> bool:
        """The callback returned: send the result."""
        self.send_job_complete(current_job, job_result)
        return True

    # What a job may send.

    def send_job_status(
        self, current_job: WorkerJob, numerator: float, denominator: float, poll_timeout: float | None = None
    ) -> None:
        """Tell how far the job is; the server keeps whole numbers only, so fractions are cut off."""
        figures = [str(int(figure)).encode() for figure in (numerator, denominator)]
        self._update(current_job, poll_timeout, packets.GEARMAN_COMMAND_WORK_STATUS, *figures)

    def send_job_data(self, current_job: WorkerJob, data: Any, poll_timeout: float | None = None) -> None:
        """Send a part of the result ahead. Not for background jobs: nobody would get it."""
        self._update(current_job, poll_timeout, packets.GEARMAN_COMMAND_WORK_DATA, self._encode(data))

    def send_job_warning(self, current_job: WorkerJob, data: Any, poll_timeout: float | None = None) -> None:
        """Send a warning; the job goes on."""
        self._update(current_job, poll_timeout, packets.GEARMAN_COMMAND_WORK_WARNING, self._encode(data))

    def send_job_complete(self, current_job: WorkerJob, data: Any, poll_timeout: float | None = None) -> None:
        """Answer the job with its result. ResultError when it cannot be encoded."""
        self._running().answer(current_job, packets.GEARMAN_COMMAND_WORK_COMPLETE, self._encode(data))

    def send_job_failure(self, current_job: WorkerJob, poll_timeout: float | None = None) -> None:
        """Answer the job with WORK_FAIL."""
        self._running().answer(current_job, packets.GEARMAN_COMMAND_WORK_FAIL)

    def send_job_exception(self, current_job: WorkerJob, data: Any, poll_timeout: float | None = None) -> None:
        """Answer the job with WORK_EXCEPTION. Clients that did not ask for exceptions get WORK_FAIL from the server."""
        try:
            encoded = self._encode(data)
        except ResultError:  # an encoder that cannot hold a text: the client gets it bare
            encoded = to_wire(str(data))
        self._running().answer(current_job, packets.GEARMAN_COMMAND_WORK_EXCEPTION, encoded)

    def wait_until_updates_sent(
        self, multiple_gearman_jobs: Iterable[WorkerJob], poll_timeout: float | None = None
    ) -> None:
        """Wait until all that was sent for these jobs has left."""
        for job in multiple_gearman_jobs:
            self._running().wait_until_sent(job, poll_timeout)

    def _update(self, job: WorkerJob, timeout: float | None, kind: int, *arguments: bytes) -> None:
        engine = self._running()
        engine.update(job, kind, *arguments)
        if engine.alone:  # else the network may take its time while the job goes on
            engine.wait_until_sent(job, timeout)

    def _running(self) -> Engine:
        if self._engine is None:
            raise InvalidWorkerState("the worker is not working, so there is no job to send anything for")
        return self._engine

    def _encode(self, data: Any) -> bytes:
        try:
            encoded = self.data_encoder.encode(data)
            if isinstance(encoded, str):
                encoded = to_wire(encoded)  # an encoder written for Python 2
        except Exception as error:
            raise ResultError(f"the result cannot be encoded: {type(error).__name__}: {error}") from error
        if not isinstance(encoded, (bytes, bytearray, memoryview)):
            raise ResultError(f"the result cannot be encoded: the encoder returned {type(encoded).__name__}, not bytes")
        if len(encoded) > _LARGEST_RESULT:
            raise ResultError(f"the result cannot be sent: {len(encoded)} bytes are more than a packet holds")
        return bytes(encoded)


class JSONGearmanWorker(EngineWorker):
    """An EngineWorker whose payloads and results are JSON."""

    data_encoder = JSONDataEncoder


def _text(name: str | bytes) -> str:
    """gearman3 wanted names as bytes."""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
