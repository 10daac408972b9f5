"""For tests of your own queues: a command called without a server, and servers and workers for the time of a test.

>>> call_command(Queue(), {"command": "reverse", "message": "Hello"}).result
'olleH'

It needs no test framework. pytest finds fixtures that are built on it by itself: `gearman_server`, `gearman_client` and
`gearman_worker`.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from gearman import protocol as kinds

from ._client.awaited import PendingJob
from ._client.inflight import Inflight
from ._client.result import result_of, said
from ._client.submission import Submitter, checked_unique
from ._wire import fork
from ._wire.connection import ServerConnection
from ._wire.packet import PacketReader, as_responses, pack, to_wire
from ._worker.job import WorkerJob
from ._worker.pipe import Assignment, Update
from .admin import Admin
from .cmd import GearmanCMD
from .errors import JobFailed, MissingExtra, ServerUnavailable
from .queue import GearmanCMDQueue
from .worker import GearmanWorker

G = TypeVar("G", bound=GearmanCMD)

#: The handle of each job that no server has seen.
HANDLE = "H:testing:1"

#: Seconds for what takes a few milliseconds: a server that starts, a worker that stops.
_LIMIT_SECONDS = 20.0

#: How often a port is chosen for a gearmand: another process may take it before gearmand does.
_PORTS_TRIED = 3


class Report(NamedTuple):
    """What a command told its client on the way, decoded: equal to ("status", (1, 2)) or ("data", {"so": "far"})."""

    #: "status", "data" or "warning".
    kind: Literal["status", "data", "warning"]
    #: Of a status (done, total); else the object.
    value: Any


@dataclass(frozen=True)
class CommandResult:
    """What a client would have got from a task."""

    #: The command's result, decoded; None when it failed.
    result: Any = None
    #: What gcmd.send_status(), send_data(), send_warning() and track() sent, in order.
    reports: list[Report] = field(default_factory=list)
    #: Why the job failed; None when it did not.
    failure: str | None = None


def call_command(
    target: GearmanCMDQueue | GearmanCMD,
    task: Any,
    *,
    queue: str | None = None,
    command: str | None = None,
    exception_handler: Callable[[BaseException], Any] | None = None,
    unique: str = "testing",
) -> CommandResult:
    """What a client would get from `task`, without a server and in this thread: it is encoded, decoded, dispatched,
    the command called, and its result encoded and decoded, by the code that a running worker has.

    - `target`: the queue; or a GearmanCMD with queues, for one that has a dispatch, a worker class or options of its
      own. It connects to nothing, whatever its servers are.
    - `queue`: the name of the queue, by default "queue". Of a GearmanCMD the one that is registered; ValueError when
      there are several and none is named.
    - `command` and `exception_handler`: as GearmanCMD takes them; a GearmanCMD has its own.
    - `unique`: what ``gcmd.job.unique`` is.

    What fails a job and lets the worker go on is the `failure`: CommandError, an unknown command, a result that cannot
    be encoded. Any other exception of a command, or of dispatch, is raised here, as it would leave run(), unless there
    is an exception handler. TypeError or ValueError, as from a client, for a task that cannot be encoded.
    """
    gcmd, name = _gcmd_and_queue(target, queue, command, exception_handler)
    checked_unique(unique)
    sent = _Sent()
    workers: list[GearmanWorker] = []

    def make(worker: GearmanWorker) -> WorkerJob:
        workers.append(worker)
        workload = Submitter(worker.data_encoder.encode, name).workload(task)
        return _assigned(worker, name, unique, workload, sent)

    gcmd.try_job(make)
    return _heard(sent.packets, workers[0].data_encoder.decode)


def _gcmd_and_queue(
    target: object, queue: str | None, command: str | None, handler: Callable[[BaseException], Any] | None
) -> tuple[GearmanCMD, str]:
    """What runs the command, and the name of the queue that the task comes from."""
    if isinstance(target, GearmanCMDQueue):
        name = "queue" if queue is None else queue
        gcmd = GearmanCMD(["localhost:4730"], command, exception_handler=handler)
        return gcmd.register_task(name, target), name
    if not isinstance(target, GearmanCMD):
        raise TypeError(f"target must be a GearmanCMDQueue or a GearmanCMD, not {target!r}")
    for argument, value in (("command", command), ("exception_handler", handler)):
        if value is not None:
            raise TypeError(f"{argument} is for a queue: a GearmanCMD has its own, so it must not be {value!r}")
    names = list(target.queues)
    if queue is None and len(names) == 1:
        return target, names[0]
    if queue not in names:
        raise ValueError(f"queue must be one that the GearmanCMD has, of {names!r}, not {queue!r}")
    return target, str(queue)


class _Sent:
    """Takes what a job sends, in the place of a connection."""

    def __init__(self) -> None:
        self.origin = fork.Origin()
        self.over = False
        self.packets: list[bytes] = []

    def put(self, update: Update) -> None:
        """Keep what is sent, from whatever thread. RuntimeError in a forked child."""
        if self.origin.forked:
            raise self.origin.error()
        self.packets.append(b"".join(update.packets))
        if update.receipt is not None:
            update.receipt.settle()


def _assigned(worker: GearmanWorker, queue: str, unique: str, workload: bytes, sent: _Sent) -> WorkerJob:
    """The job, as a worker reads it from its server."""
    names = [to_wire(name) for name in (HANDLE, queue, unique)]
    packet = as_responses(pack(kinds.GEARMAN_COMMAND_JOB_ASSIGN_UNIQ, *names, workload))
    [(_, (*_, payload))] = PacketReader(worker.max_payload).feed(packet)
    handle, function, job_unique = names
    begun = ServerConnection("localhost"), payload
    return worker.job(Assignment(1, function, handle, job_unique), begun, sent)


def _heard(packets: list[bytes], decode: Callable[[bytes], Any]) -> CommandResult:
    """What a client makes of the packets of a job. RuntimeError when they do not end it."""
    pending = PendingJob("", background=False)
    inflight = Inflight("the server")
    inflight.add(pending)
    inflight.receive([(kinds.GEARMAN_COMMAND_JOB_CREATED, [to_wire(HANDLE)])], 0.0)
    inflight.receive(PacketReader().feed(as_responses(b"".join(packets))), 0.0)
    if not pending.ended:
        raise RuntimeError("the job was not answered: the worker class has let it go, and a server would requeue it")
    reports = []
    for event in pending.events:
        if event.kind == kinds.GEARMAN_COMMAND_WORK_STATUS:
            reports.append(Report("status", (event.done, event.total)))
        elif event.kind == kinds.GEARMAN_COMMAND_WORK_DATA:
            reports.append(Report("data", said(event.data, decode)))
        else:
            reports.append(Report("warning", said(event.data, decode)))
    try:
        return CommandResult(result_of(pending, decode), reports)
    except JobFailed as error:
        reason = "the worker gave no reason" if error.reason is None else str(error.reason)
        return CommandResult(None, reports, reason)


# Servers and workers for the time of a test.


class JobServer(NamedTuple):
    """A job server that was started."""

    #: What it is: "gearmand" or "the embedded server".
    name: str
    #: "host:port".
    address: str


@contextmanager
def job_server() -> Iterator[JobServer]:
    """A job server on a free loopback port, for the time of the block: gearmand where it is on PATH, else the embedded
    one. MissingExtra when neither is there, ServerUnavailable when gearmand does not start.
    """
    program = shutil.which("gearmand")
    if program is not None:
        process, address = _started(program)
        try:
            yield JobServer("gearmand", address)
        finally:
            _end(process)
        return
    try:
        from .server import EmbeddedServer  # noqa: PLC0415 - it needs an extra of its own
    except ImportError as error:
        raise MissingExtra(f"no gearmand on PATH, and {error}") from error
    with EmbeddedServer() as server:
        yield JobServer("the embedded server", server.address)


def _started(program: str) -> tuple[subprocess.Popen[bytes], str]:
    """A gearmand that answers, and its address."""
    for _ in range(_PORTS_TRIED):
        port = str(_free_port())
        options = ["--listen", "127.0.0.1", "--port", port, "--log-file", "none"]
        process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if _answers(process, f"127.0.0.1:{port}"):
                return process, f"127.0.0.1:{port}"
        except BaseException:
            _end(process)
            raise
    raise ServerUnavailable(f"gearmand does not start: {program} ended with status {process.returncode}")


def _answers(process: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until gearmand answers; False when it has ended. ServerUnavailable when it takes too long."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    admin = Admin([address], timeout=_LIMIT_SECONDS)
    while process.poll() is None:
        try:
            admin.version()
        except ServerUnavailable as error:
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"gearmand does not start: {error}") from error
            time.sleep(0.005)
        else:
            return process.poll() is None  # else somebody else's has answered
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # it holds nothing that anybody wants
    process.wait()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def working(gcmd: G) -> Iterator[G]:
    """A GearmanCMD that works in a background thread, for the time of the block. What left its run() is raised at the
    end, whatever the block has raised; RuntimeError when a command keeps it from stopping within 20 s.
    """
    stopping = threading.Event()
    left: list[BaseException] = []

    def run() -> None:
        try:
            gcmd.run(stopping)
        except BaseException as error:
            left.append(error)

    thread = threading.Thread(target=run, name="gearmancmd-testing", daemon=True)
    thread.start()
    try:
        yield gcmd
    finally:
        stopping.set()
        gcmd.stop()
        thread.join(_LIMIT_SECONDS)
        if left:
            raise left[0]
        if thread.is_alive():
            raise RuntimeError(f"the worker of {', '.join(gcmd.queues)} has not stopped: a command is running still")
