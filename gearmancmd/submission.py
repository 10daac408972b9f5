"""What a client submits: a task for a queue, checked where it enters, as the packet that travels."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from gearman import protocol as packets
from gearman.constants import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NONE

from . import arguments
from .protocol import pack, to_wire

#: SUBMIT_JOB_EPOCH of gearmand's PROTOCOL; gearman's own table does not have it.
SUBMIT_JOB_EPOCH = 36

#: gearmand takes 64 bytes and then coalesces nothing; it refuses 65 (GEARMAN_UNIQUE_SIZE).
UNIQUE_LIMIT = 63

#: The protocol's length field has 32 bits; queue, unique and separators take their share.
LARGEST_WORKLOAD = 2**32 - 1024

_PRIORITIES = {None: PRIORITY_NONE, "normal": PRIORITY_NONE, "high": PRIORITY_HIGH, "low": PRIORITY_LOW}


class Submission(NamedTuple):
    """A job as it is sent: the unique that it goes by, and its packet."""

    unique: str
    packet: bytes
    background: bool


class Submitter:
    """Makes the submissions of one queue, in one manner. TypeError or ValueError for what is not allowed.

    `priority` is "high", "normal" or "low", None for normal. `encode` makes the workload of a task.
    """

    def __init__(self, encode: Any, queue: str, *, background: bool = False, priority: str | None = None) -> None:
        self._encode = encode
        self._queue = to_wire(arguments.function_name(queue, "queue"))
        self._background = background
        self._kind = packets.submit_cmd_for_background_priority(background, _priority(priority))

    def submission(self, task: Any, unique: str | None = None) -> Submission:
        """A job for `task`. Without a `unique` it gets one of its own: see :func:`new_unique`."""
        unique = new_unique() if unique is None else checked_unique(unique)
        packet = pack(self._kind, self._queue, to_wire(unique), self.workload(task))
        return Submission(unique, packet, self._background)

    def scheduled(self, task: Any, when: datetime, unique: str | None = None) -> Submission:
        """A background job that is due at `when`, to the second (SUBMIT_JOB_EPOCH)."""
        unique = new_unique() if unique is None else checked_unique(unique)
        epoch = str(_epoch(when)).encode()
        packet = pack(SUBMIT_JOB_EPOCH, self._queue, to_wire(unique), epoch, self.workload(task))
        return Submission(unique, packet, background=True)

    def workload(self, task: Any) -> bytes:
        """The bytes of a task; TypeError or ValueError when it cannot be encoded."""
        try:
            workload: bytes = self._encode(task)
        except RecursionError as error:
            raise ValueError("task is nested too deeply to be encoded") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise type(error)(f"task cannot be encoded: {error}") from error
        if len(workload) > LARGEST_WORKLOAD:
            raise ValueError(f"task takes {len(workload)} bytes, and gearman takes {LARGEST_WORKLOAD} at most")
        return workload


def batches(
    submitter: Submitter, tasks: Iterable[Any], most: int = 500, size: int = 256 * 1024, pause: float = 0.05
) -> Iterator[list[Submission]]:
    """Submissions of tasks, packed for one write each: up to `most` of them, to `size` bytes or to what came within
    `pause` seconds. An error, of a task or of `tasks`, is raised when those before it are out.
    """
    batch: list[Submission] = []
    room, deadline = size, time.monotonic() + pause
    try:
        for task in tasks:
            submission = submitter.submission(task)
            batch.append(submission)
            room -= len(submission.packet)
            if len(batch) >= most or room <= 0 or time.monotonic() > deadline:
                yield batch
                batch = []
                room, deadline = size, time.monotonic() + pause
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def new_unique() -> str:
    """128 random bits in hex. A job always has one: gearmand's persistent queues file background jobs by function and
    unique, and those with an empty one overwrite each other.
    """
    return os.urandom(16).hex()


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
    if not isinstance(when, datetime):
        raise TypeError(f"when must be a datetime, not {when!r}")
    if when.utcoffset() is None:
        raise ValueError(f"when must have a time zone, such as datetime.timezone.utc: {when!r}")
    epoch = int(when.timestamp())
    if epoch < 0:
        raise ValueError(f"when must not be before 1970, and is {when!r}")
    return epoch
