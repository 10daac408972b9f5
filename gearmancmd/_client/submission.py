"""What a client submits: a task for a queue, checked where it enters, as the packet that travels."""

from __future__ import annotations

import math
import os
import time
from binascii import b2a_hex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from gearman import protocol as kinds
from gearman.constants import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NONE

from .. import arguments
from .._wire.packet import pack, to_wire

if TYPE_CHECKING:
    from datetime import datetime

#: SUBMIT_JOB_EPOCH of gearmand's PROTOCOL; gearman's own table does not have it.
SUBMIT_JOB_EPOCH = 36

#: gearmand takes 64 bytes and then coalesces nothing; it refuses 65 (GEARMAN_UNIQUE_SIZE).
UNIQUE_LIMIT = 63

#: The protocol's length field has 32 bits; queue, unique and separators take their share.
LARGEST_WORKLOAD = 2**32 - 1024

#: Batches of submit_many() that are on their way before the handles of the first are waited for.
BATCHES_AHEAD = 4

_UNIQUE_BYTES = 16

_PRIORITIES = {None: PRIORITY_NONE, "normal": PRIORITY_NONE, "high": PRIORITY_HIGH, "low": PRIORITY_LOW}


class Submission(NamedTuple):
    """A job as it is sent: the unique that it goes by, and its packet."""

    unique: str
    packet: bytes
    background: bool
    #: What chooses the server, for jobs that are to meet: None where any server will do.
    key: bytes | None


class Submitter:
    """Makes the submissions of one queue, in one manner. TypeError or ValueError for what is not allowed.

    `priority` is "high", "normal" or "low", None for normal. `encode` makes the workload of a task.
    """

    def __init__(self, encode: Any, queue: str, *, background: bool = False, priority: str | None = None) -> None:
        self._encode = encode
        self._queue = to_wire(arguments.function_name(queue, "queue"))
        self._background = arguments.flag(background, "background")
        self._kind = kinds.submit_cmd_for_background_priority(background, _priority(priority))

    def submission(self, task: Any, unique: str | None = None) -> Submission:
        """A job for `task`. Without a `unique` it gets one of its own."""
        workload = self.workload(task)
        unique, key = _unique_and_key(unique, workload)
        packet = pack(self._kind, self._queue, to_wire(unique), workload)
        return Submission(unique, packet, self._background, key)

    def packets(self, tasks: Iterable[Any]) -> Iterator[bytes]:
        """The packets of jobs for `tasks`, each with a unique of its own."""
        workload = self.workload
        start = self._queue + b"\0"
        for unique, task in zip(_random_uniques(), tasks, strict=False):
            yield pack(self._kind, start + unique + b"\0" + workload(task))

    def scheduled(self, task: Any, when: datetime, unique: str | None = None) -> Submission:
        """A background job that is due at `when`, rounded up to the second (SUBMIT_JOB_EPOCH)."""
        epoch = str(_epoch(when)).encode()
        workload = self.workload(task)
        unique, key = _unique_and_key(unique, workload)
        packet = pack(SUBMIT_JOB_EPOCH, self._queue, to_wire(unique), epoch, workload)
        return Submission(unique, packet, True, key)

    def workload(self, task: Any) -> bytes:
        """The bytes of a task; TypeError or ValueError when it cannot be encoded."""
        try:
            workload = self._encode(task)
        except RecursionError as error:
            raise ValueError("task is nested too deeply to be encoded") from error
        except (ValueError, OverflowError) as error:
            raise ValueError(f"task cannot be encoded: {error}") from error
        except TypeError as error:
            raise TypeError(f"task cannot be encoded: {error}") from error
        if isinstance(workload, str):  # as encoders written for Python 2 do
            workload = to_wire(workload)
        if not isinstance(workload, bytes):
            raise TypeError(f"task cannot be encoded: the encoder returned {type(workload).__name__}, not bytes")
        if len(workload) > LARGEST_WORKLOAD:
            raise ValueError(f"task takes {len(workload)} bytes, and gearman takes {LARGEST_WORKLOAD} at most")
        return workload


def background_packet(
    encode: Any, queue: str, task: Any, when: datetime | None, unique: str | None, priority: str | None
) -> bytes:
    """The packet of one background job, which is due at `when` if that is given."""
    if when is not None and priority is not None:
        raise ValueError(f"priority must not be given together with when, and is {priority!r}")
    submitter = Submitter(encode, queue, background=True, priority=priority)
    submission = submitter.submission(task, unique) if when is None else submitter.scheduled(task, when, unique)
    return submission.packet


class Batch(NamedTuple):
    """Background submissions that leave in one write."""

    packets: bytes
    size: int


def batches(
    submitter: Submitter, tasks: Iterable[Any], most: int = 400, size: int = 256 * 1024, pause: float = 0.05
) -> Iterator[Batch]:
    """Submissions of tasks, packed for one write each: up to `most` of them, to `size` bytes or to what came within
    `pause` seconds. An error, of a task or of `tasks`, is raised when those before it are out.
    """
    batch: list[bytes] = []
    room, deadline = size, time.monotonic() + pause
    try:
        for packet in submitter.packets(tasks):
            batch.append(packet)
            room -= len(packet)
            if len(batch) >= most or room <= 0 or time.monotonic() > deadline:
                yield Batch(b"".join(batch), len(batch))
                batch = []
                room, deadline = size, time.monotonic() + pause
    except Exception:
        if batch:
            yield Batch(b"".join(batch), len(batch))
        raise
    if batch:
        yield Batch(b"".join(batch), len(batch))


def _random_hex() -> bytes:
    """128 random bits. A job always has a unique: gearmand's persistent queues file background jobs by function and
    unique, and those with an empty one overwrite each other.
    """
    return b2a_hex(os.urandom(_UNIQUE_BYTES))


def _random_uniques() -> Iterator[bytes]:
    """The same, without end, and with fewer system calls."""
    while True:
        digits = b2a_hex(os.urandom(64 * _UNIQUE_BYTES))
        for start in range(0, len(digits), 2 * _UNIQUE_BYTES):
            yield digits[start : start + 2 * _UNIQUE_BYTES]


def _unique_and_key(unique: str | None, workload: bytes) -> tuple[str, bytes | None]:
    """The unique of a job, and what chooses its server: two jobs that are the same must meet at one. "-" makes
    gearmand take a hash of the workload, so the workload chooses.
    """
    if unique is None:
        return _random_hex().decode(), None
    checked_unique(unique)
    return unique, workload if unique == "-" else to_wire(unique)


def checked_unique(unique: object) -> str:
    """A unique that the user gave. "-" makes gearmand take a hash of the workload."""
    if not isinstance(unique, str):
        raise TypeError(f"unique must be a str, not {unique!r}")
    if not unique or any(character.isspace() or not character.isprintable() for character in unique):
        raise ValueError(f"unique must be a text without white space, not {unique!r}")
    size = len(to_wire(unique))
    if size > UNIQUE_LIMIT:
        raise ValueError(f"unique must have at most {UNIQUE_LIMIT} bytes, not {size}: {unique!r}")
    return unique


def _priority(priority: object) -> str | None:
    name = priority.lower() if isinstance(priority, str) else priority
    if name is not None and not isinstance(name, str):
        raise TypeError(f"priority must be 'high', 'normal' or 'low', not {priority!r}")
    if name not in _PRIORITIES:
        raise ValueError(f"priority must be 'high', 'normal' or 'low', not {priority!r}")
    return _PRIORITIES[name]


def _epoch(when: object) -> int:
    from datetime import datetime  # noqa: PLC0415 - 1.5 ms that an import of the library need not wait for

    if not isinstance(when, datetime):
        raise TypeError(f"when must be a datetime, not {when!r}")
    if when.utcoffset() is None:
        raise ValueError(f"when must have a time zone, such as datetime.timezone.utc: {when!r}")
    epoch = math.ceil(when.timestamp())  # gearmand counts whole seconds, and no job may run early
    if epoch < 0:
        raise ValueError(f"when must not be before 1970, and is {when!r}")
    return epoch
