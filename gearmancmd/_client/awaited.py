"""What callers of a client wait for: a job, a batch of submissions, a status.

The owner of the sockets alone moves it on; callers, in other threads or coroutines, wait until it is as they want it,
take out what has happened, and may give it up. It has no lock: each change is one step of the interpreter's, and
`ended` is set behind all others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from gearman import protocol as kinds

from .._wire.address import Address
from .._wire.packet import to_text
from ..errors import GearmanCMDError


class Waiter(NamedTuple):
    """Somebody who waits until `ready()` is true, and is woken by `wake()` then."""

    ready: Callable[[], object]
    wake: Callable[[], object]


class Awaited:
    """Something that a server owes an answer to."""

    __slots__ = ("_waiters", "address", "dropped", "ended", "error")

    def __init__(self) -> None:
        #: The server that it was sent to; None before.
        self.address: Address | None = None
        #: Why nothing more will be heard of it.
        self.error: GearmanCMDError | None = None
        #: Nothing more is to come.
        self.ended = False
        #: Its caller gave it up.
        self.dropped = False
        self._waiters: list[Waiter] = []

    def watch(self, waiter: Waiter) -> None:
        """Wake the waiter behind each change that makes it ready."""
        self._waiters.append(waiter)

    def unwatch(self, waiter: Waiter) -> None:
        """It waits no longer."""
        self._waiters.remove(waiter)

    def drop(self) -> None:
        """Give it up: nothing that still arrives is kept."""
        self.dropped = True

    # By the owner of the sockets.

    def sent(self, address: Address) -> None:
        """It leaves for this server."""
        self.address = address

    def fail(self, error: GearmanCMDError) -> None:
        """Nothing more will be heard of it. Where it has ended, such as by a time-out, that stays its end."""
        if not self.ended:
            self.error = error
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._changed()

    def _changed(self) -> None:
        for waiter in tuple(self._waiters):
            if waiter.ready():
                waiter.wake()


class Event(NamedTuple):
    """What a worker said while a job ran: the packet's kind and its data; of WORK_STATUS the numbers."""

    kind: int
    data: bytes
    done: int = 0
    total: int = 0


class PendingJob(Awaited):
    """A job on its way, from its submission to its end."""

    __slots__ = ("_told", "_warning", "background", "events", "failed", "handle", "listened", "result", "unique")

    def __init__(self, unique: str, background: bool, listened: bool = True) -> None:
        super().__init__()
        self.unique = unique
        self.background = background
        #: Whether anybody may want to hear what the worker says meanwhile.
        self.listened = listened
        #: None until the server has acknowledged the job.
        self.handle: str | None = None
        self.events: deque[Event] = deque()
        #: The warning that was the last thing heard, and whether it was told: right before WORK_FAIL it is the reason.
        self._warning: Event | None = None
        self._told = True
        #: The data of WORK_COMPLETE; of a job that `failed` the reason, None where there is none.
        self.result: bytes | None = None
        self.failed = False

    @property
    def acknowledged(self) -> bool:
        """Whether the server has answered to its submission, one way or the other."""
        return self.handle is not None or self.ended

    def drop(self) -> None:
        """Give it up: nothing that still arrives is kept."""
        super().drop()
        self.events.clear()

    def acknowledge(self, handle: bytes) -> bool:
        """The server has the job: True, for that was its one acknowledgement."""
        self.handle = to_text(handle)
        if self.background:
            self._end()
        elif not self.ended:
            self._changed()
        return True

    def refuse(self, error: GearmanCMDError) -> bool:
        """The server does not take the job."""
        self.fail(error)
        return True

    def hear(self, event: Event) -> None:
        """The worker said something. A warning is not told at once: a WORK_FAIL right behind it makes it the reason,
        and may come in a later packet of the network's.
        """
        self.release_warning()
        if event.kind == kinds.GEARMAN_COMMAND_WORK_WARNING:
            self._warning, self._told = event, False
        else:
            self._warning = None
            self._tell(event)

    def release_warning(self) -> None:
        """Tell of the last warning, unless that is done."""
        if self._warning is not None and not self._told:
            self._told = True
            self._tell(self._warning)

    def complete(self, result: bytes) -> None:
        """The job is done."""
        self.release_warning()
        if not self.dropped:
            self.result = result
        self._end()

    def give_up(self, reason: bytes | None) -> None:
        """The job failed. Without a reason of its own the warning right before is the reason."""
        if reason is not None:
            self.release_warning()
        elif self._warning is not None:
            reason = self._warning.data
        self.failed = True
        self.result = reason
        self._end()

    def fail(self, error: GearmanCMDError) -> None:
        """Nothing more will be heard of it. Where it has ended, that stays its end."""
        self.release_warning()
        super().fail(error)

    def _tell(self, event: Event) -> None:
        if self.listened and not self.dropped:
            self.events.append(event)
            self._changed()


class PendingBatch(Awaited):
    """Background submissions that leave in one write."""

    __slots__ = ("answers", "size")

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        #: A handle for each that is queued, or why it is not, in the order of submitting.
        self.answers: list[bytes | GearmanCMDError] = []

    def acknowledge(self, handle: bytes) -> bool:
        """The server has the next one; whether that was the last."""
        return self._answered(handle)

    def refuse(self, error: GearmanCMDError) -> bool:
        """The server does not take the next one; whether that was the last."""
        return self._answered(error)

    def _answered(self, answer: bytes | GearmanCMDError) -> bool:
        self.answers.append(answer)
        if len(self.answers) < self.size:
            return False
        self._end()
        return True


@dataclass(frozen=True)
class JobStatus:
    """What a server says of a job."""

    #: Whether the server has the job. It forgets a job that has ended.
    known: bool
    #: Whether a worker has it.
    running: bool
    #: What the worker last reported, of `total`; 0 before.
    done: int
    #: What the worker last reported; 0 before.
    total: int


class StatusQuery(Awaited):
    """A GET_STATUS on its way."""

    __slots__ = ("handle", "status")

    def __init__(self, handle: str) -> None:
        super().__init__()
        self.handle = handle
        self.status: JobStatus | None = None

    def answer(self, status: JobStatus) -> None:
        """The server has answered."""
        self.status = status
        self._end()
