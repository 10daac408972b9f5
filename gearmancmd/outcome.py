"""What a client makes of what a worker sent: results, reasons and reports, decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gearman import protocol as packets

from .errors import JobFailed
from .inflight import Event, Pending
from .protocol import to_text

#: An encoder's decode(): a payload to an object, with a ValueError for what is none.
Decode = Callable[[bytes], Any]


class Listeners(NamedTuple):
    """Whom to tell what a worker reports: ``on_status(done, total)``, ``on_data(data)``, ``on_warning(data)``."""

    on_status: Callable[[int, int], object] | None = None
    on_data: Callable[[Any], object] | None = None
    on_warning: Callable[[Any], object] | None = None

    def tell(self, event: Event, decode: Decode) -> None:
        """Call whoever asked for an event of this kind."""
        if event.kind == packets.GEARMAN_COMMAND_WORK_STATUS:
            if self.on_status is not None:
                self.on_status(event.done, event.total)
            return
        listener = self.on_data if event.kind == packets.GEARMAN_COMMAND_WORK_DATA else self.on_warning
        if listener is not None:
            listener(said(event.data, decode))


def checked_listeners(**listeners: Any) -> Listeners:
    """The listeners a user gave; TypeError for one that cannot be called."""
    for argument, listener in listeners.items():
        if listener is not None and not callable(listener):
            raise TypeError(f"{argument} must be callable, not {listener!r}")
    return Listeners(**listeners)


def said(data: bytes, decode: Decode) -> Any:
    """What a worker said beside its result: decoded, or as text when it cannot be: workers in other languages send
    their warnings and exceptions as plain text.
    """
    try:
        return decode(data)
    except (ValueError, RecursionError):
        return to_text(data)


def result_of(job: Pending, decode: Decode) -> Any:
    """The result of a job that ended. JobFailed when it has none, or whatever kept it from being heard."""
    if job.error is not None:
        raise job.error
    if job.failed:
        reason = None if job.result is None else said(job.result, decode)
        told = "the worker gave no reason" if reason is None else reason
        raise JobFailed(f"job {job.handle} failed: {told}", job.handle, reason)
    assert job.result is not None
    try:
        return decode(job.result)
    except (ValueError, RecursionError) as error:
        reason = f"its result cannot be decoded: {error}"
        raise JobFailed(f"job {job.handle}: {reason}: {job.result[:80]!r}", job.handle, reason) from error
