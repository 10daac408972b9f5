"""A job, as a worker's callback and ``gcmd.job`` see it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from gearman import protocol as kinds
from gearman.job import GearmanJob

from .. import arguments
from .._wire import fork
from .._wire.connection import ServerConnection
from .._wire.packet import Omitted, pack_work, to_text
from ..errors import JobEnded, JobFailed, JobTimeout, PayloadError, ServerUnavailable
from ..logs import text_of
from .pipe import Assignment, Update
from .receipt import Acknowledgement, Receipt

if TYPE_CHECKING:
    from .time_limit import TimeLimit

#: Bytes of reports that a job may send ahead of the network before their sender waits.
REPORTS_AHEAD_BYTES = 4 * 1024 * 1024

#: Stands for the result of a job that is not to be answered, for now or at all.
NO_ANSWER = object()

_UNDECODED = object()


_NOTHING = nullcontext()


class Sink(Protocol):
    """Takes what is to be sent for jobs: the dispatcher's end of the Pipe, or a loop that has none."""

    #: Where the worker runs; in a child that was forked since, nothing can be sent.
    origin: fork.Origin
    #: Whether nothing can be sent any more.
    over: bool

    def put(self, update: Update) -> None:
        """Have something sent, from whatever thread. RuntimeError in a forked child."""


class WorkerJob(GearmanJob):
    """A gearman job that decodes what the server sent when it is first asked for it.

    So the payload is decoded in the thread that works on the job, and one that cannot be decoded fails that job only.
    Whatever thread calls :meth:`send_status`, :meth:`send_data` and :meth:`send_warning`, they are about this job and
    no other; once it is answered they raise JobEnded, which is a RuntimeError.
    """

    #: Whether it was answered, so that nothing more can be sent for it.
    answered = False
    #: Whether its answer was handed over to be sent: otherwise it goes back to the queue.
    handed_over = False
    #: Whether the event loop will answer it.
    deferred = False
    #: Which attempt of this worker at its command this is, from 1 on.
    attempt = 1
    #: Of the attempt under way; None without one.
    limit: TimeLimit | None = None
    #: When its worker began with it, by the clock of perf_counter().
    began = 0.0
    #: The name of the command that it was dispatched to; None before that, and for a task that dispatch ignores.
    command: str | None = None
    #: What its callback raised, but for a CommandError.
    error: BaseException | None = None
    #: What failed it, a CommandError too, until take_end().
    failure: BaseException | None = None
    _result: Any = None
    #: Whether its command has stopped the worker, so that the client gets None.
    discarded = False
    _ahead = 0
    _data: Any = _UNDECODED

    def __init__(
        self,
        assignment: Assignment,
        connection: ServerConnection,
        payload: bytes,
        encoding: tuple[Callable[[Any], bytes], Callable[[bytes], Any]],
        sink: Sink,
    ) -> None:
        self._number, queue, self._wire_handle, self._wire_unique = assignment
        #: The gearman function, which is the queue's name.
        self.task = queue.decode("utf-8", "surrogateescape")
        #: The connection that it came by.
        self.connection = connection
        self._payload = payload
        self._encode, self._decode = encoding
        self._sink = sink
        #: Where its worker runs: a child that was forked meanwhile has no part in it.
        self.origin = sink.origin

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle} of {self.task}>"

    @property
    def handle(self) -> str:
        """The server's name for the job, such as "H:host:42"."""
        return to_text(self._wire_handle)

    @property
    def unique(self) -> str:
        """The client's name for the job."""
        return to_text(self._wire_unique)

    @property
    def queue(self) -> str:
        """The queue's name: gearman's function."""
        return str(self.task)

    @property
    def payload(self) -> bytes:
        """The bytes that the client sent. PayloadError when they were not taken, being too many."""
        self.require_payload()
        return self._payload

    def require_payload(self) -> None:
        """PayloadError when the payload was not taken."""
        if isinstance(self._payload, Omitted):
            raise PayloadError(f"the payload was not taken: {self._payload.reason}")

    @property
    def data(self) -> Any:
        """The decoded payload. PayloadError when it cannot be decoded; RuntimeError in a child forked meanwhile."""
        if self._data is _UNDECODED:
            payload = self.payload
            try:
                self._data = self._decode(payload)
            except Exception as error:
                detail = f"{type(error).__name__}: {text_of(error)}"
                raise PayloadError("the payload cannot be decoded", detail) from error
            if self.origin.forked:
                raise self.origin.error()  # nothing is to be done with it
        return self._data

    def begin(self) -> None:
        """Its worker begins with it."""
        self.began = perf_counter()

    def limit_to(self, limit: TimeLimit | None) -> None:
        """The attempt under way has this limit, or none."""
        self.limit = limit

    def next_attempt(self) -> None:
        """Another attempt at its command begins, with the task as the client sent it."""
        self.attempt += 1
        self.decode_again()

    def decode_again(self) -> None:
        """Decode the payload once more: a command may have changed what it got."""
        self._data = _UNDECODED

    # Reports, from any thread.

    def send_status(self, done: int, total: int) -> None:
        """Tell the client how far the job is: whole numbers, for gearmand keeps no others."""
        figures = arguments.count(done, "done", least=0), arguments.count(total, "total", least=0)
        self.report(kinds.GEARMAN_COMMAND_WORK_STATUS, *(b"%d" % figure for figure in figures))

    def send_data(self, obj: Any) -> None:
        """Send a part of the result ahead, encoded as the result is. Some clients (PHP's doNormal, C, the gearman tool)
        put it in front of the result; those of gearmancmd give it to on_data.
        """
        self.report(kinds.GEARMAN_COMMAND_WORK_DATA, self._encode(obj))

    def send_warning(self, obj: Any) -> None:
        """Send a warning, encoded as the result is; the job goes on."""
        self.report(kinds.GEARMAN_COMMAND_WORK_WARNING, self._encode(obj))

    def report(self, kind: int, *arguments: bytes) -> None:
        """Send one packet about the job, which goes on. Now and then it waits until the network has taken what was sent
        before, so that a job that streams does not fill the memory. JobEnded when the job is answered, when stop() or
        the loss of the server ends that wait, and in a forked child.
        """
        with self.uninterrupted():
            self._check_unanswered()
            packet = pack_work(kind, self._wire_handle, *arguments)
            self._ahead += sum(map(len, packet))
            if self._ahead < REPORTS_AHEAD_BYTES:
                self._sink.put(Update(self._number, packet, ends=False))
            else:
                self._wait(packet, None)

    def is_ahead(self) -> bool:
        """Whether a report of some size would wait for the network."""
        return self._ahead >= REPORTS_AHEAD_BYTES // 2

    def uninterrupted(self) -> AbstractContextManager[None]:
        """A block that the time limit of the command does not break off; only its end."""
        return self.limit if self.limit is not None else _NOTHING

    def submit(self, packet: bytes, seconds: float) -> str:
        """Submit another job to the server of this one; its handle, once the server has acknowledged it. JobFailed when
        the server refuses it; JobTimeout when it has not answered within `seconds`, and ServerUnavailable when it was
        lost before: then it may be queued.
        """
        acknowledgement = Acknowledgement()
        with self.uninterrupted():
            self._check_unanswered()
            self._sink.put(Update(self._number, (packet,), ends=False, receipt=acknowledgement))
            acknowledged = acknowledgement.wait(seconds)
        if not acknowledged:
            raise JobTimeout(f"{self.connection} did not acknowledge the job within {seconds:g} s; it may be queued")
        if acknowledgement.refused:
            raise JobFailed(f"{self.connection} refused the job: {acknowledgement.error}", reason=acknowledgement.error)
        if acknowledgement.error:
            raise ServerUnavailable(f"the job was not acknowledged, and may be queued: {acknowledgement.error}")
        return to_text(acknowledgement.handle)

    def _check_unanswered(self) -> None:
        if self.origin.forked:
            raise JobEnded(str(self.origin.error()))
        if self._sink.over:
            raise JobEnded(f"job {self.handle} can be told nothing more: its worker has ended")
        if self.answered:
            raise JobEnded(f"job {self.handle} is answered: nothing more can be sent for it")

    def wait_until_sent(self, seconds: float | None) -> None:
        """Wait until all reports so far have left, for up to `seconds`. JobEnded when they never will."""
        self._wait((), seconds)

    def _wait(self, packet: tuple[bytes, ...], seconds: float | None) -> None:
        self._ahead = 0
        receipt = Receipt()
        self._sink.put(Update(self._number, packet, ends=False, receipt=receipt))
        if receipt.wait(seconds) and receipt.error:
            raise JobEnded(f"job {self.handle} can be told nothing more: {receipt.error}")

    def dispatched(self, command: str | None) -> None:
        """Its command is chosen."""
        self.command = command

    def defer(self) -> None:
        """Its command goes on in the event loop."""
        self.deferred = True

    # The end.

    def raised(self, error: BaseException) -> None:
        """Its callback raised something. A GearmanCMD raises it out of run(), once the job is answered."""
        self.error = error

    def failed(self, error: BaseException) -> None:
        """It fails with this error."""
        self.failure = error

    def keep_result(self, result: Any) -> None:
        """Keep the result until take_end()."""
        self._result = result

    def take_end(self) -> tuple[Any, BaseException | None]:
        """The result that was kept, and the error that it failed with. They are kept no longer: an error's traceback
        leads back to the job.
        """
        end = self._result, self.failure
        self._result = self.failure = None
        return end

    def discard_result(self) -> None:
        """Its command has stopped the worker: the client gets None, whatever the command returns."""
        self.discarded = True

    def result(self, returned: Any) -> Any:
        """What the client gets for what the command returned."""
        return None if self.discarded else returned

    def answer(self, *packets: tuple[Any, ...]) -> bool:
        """End the job with packets, each of a kind and the arguments behind the handle; False when it was answered
        before: the server would call a second answer an error (JOB_NOT_FOUND).
        """
        if self.answered:
            return False
        whole = pack_work(packets[0][0], self._wire_handle, *packets[0][1:])
        for kind, *rest in packets[1:]:
            whole += pack_work(kind, self._wire_handle, *rest)
        self.answered = True
        if self._sink.over:
            return False  # a command in a thread has outlived its run: the job is in its queue again
        self._sink.put(Update(self._number, whole, ends=True))
        self.handed_over = True
        return True

    def leave(self) -> None:
        """Nobody works on it any more, and it has no answer: its slot is free, and the job goes back to the queue
        with the connection.
        """
        if not self.answered and not self._sink.over:
            self.answered = True
            self._sink.put(Update(self._number, (), ends=True))


#: The job in hand, with the GearmanCMD that works on it: a command's own context has it, other threads do not.
in_hand: ContextVar[tuple[object, WorkerJob] | None] = ContextVar("gearmancmd-job", default=None)
