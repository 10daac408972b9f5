"""What a client makes of what a worker sent: results, reasons and reports, decoded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from gearman import protocol as kinds

from .._wire.packet import Omitted, to_text
from ..errors import JobFailed
from ..logs import reason as reason_of
from .awaited import Event, PendingJob

#: An encoder's decode(): a payload to an object. Whatever it raises says that the payload is none.
Decode = Callable[[bytes], Any]

#: Bytes of a payload that an error shows.
_SHOWN = 80


class Listeners(NamedTuple):
    """Whom to tell what a worker reports: ``on_status(done, total)``, ``on_data(data)``, ``on_warning(data)``."""

    on_status: Callable[[int, int], object] | None = None
    on_data: Callable[[Any], object] | None = None
    on_warning: Callable[[Any], object] | None = None

    def tell(self, event: Event, decode: Decode) -> object:
        """Call whoever asked for an event of this kind; what that returned."""
        if event.kind == kinds.GEARMAN_COMMAND_WORK_STATUS:
            return None if self.on_status is None else self.on_status(event.done, event.total)
        listener = self.on_data if event.kind == kinds.GEARMAN_COMMAND_WORK_DATA else self.on_warning
        if listener is None:
            return None
        if isinstance(event.data, Omitted):
            raise JobFailed(f"what the worker sent before its result cannot be had: {event.data.reason}")
        return listener(said(event.data, decode))


def said(data: bytes, decode: Decode) -> Any:
    """What a worker said beside its result: decoded, or as text when it cannot be: workers in other languages send
    their warnings and exceptions as plain text.
    """
    if isinstance(data, Omitted):
        return data.reason
    try:
        return _decoded(data, decode)
    except _UndecodableError:
        return to_text(data)


def result_of(job: PendingJob, decode: Decode) -> Any:
    """The result of a job that ended. JobFailed when it has none, or whatever kept it from being heard."""
    if job.error is not None:
        raise job.error.with_traceback(None)  # several callers may ask
    if job.failed:
        reason = None if job.result is None else said(job.result, decode)
        told = "the worker gave no reason" if reason is None else reason
        raise JobFailed(f"job {job.handle} failed: {told}", job.handle, reason)
    result = job.result
    assert result is not None
    if isinstance(result, Omitted):
        raise JobFailed(f"the result of job {job.handle} cannot be had: {result.reason}", job.handle, result.reason)
    try:
        return _decoded(result, decode)
    except _UndecodableError as error:
        why = f"its result cannot be decoded: {error}"
        raise JobFailed(f"job {job.handle}: {why}: {result[:_SHOWN]!r}", job.handle, why) from error.__cause__


class _UndecodableError(Exception):
    """A decoder refuses a payload, with this reason."""


def _decoded(data: bytes, decode: Decode) -> Any:
    """A payload as an object. Whatever the decoder raises says that it is none. But a signal handler, such as that of a
    time limit, may have raised it in the middle of the decoder: then the decoder does not raise it again.
    """
    try:
        return decode(data)
    except Exception as error:
        try:
            decode(data)
        except Exception:
            raise _UndecodableError(reason_of(error)) from error
        raise


def checked_listeners(**listeners: Any) -> Listeners:
    """The listeners a user gave; TypeError for one that cannot be called."""
    for argument, listener in listeners.items():
        if listener is not None and not callable(listener):
            raise TypeError(f"{argument} must be callable, not {listener!r}")
    return Listeners(**listeners)


def plain_listeners(**listeners: Any) -> Listeners:
    """The same where nobody can await a coroutine: TypeError for a listener that returns one."""
    for argument, listener in listeners.items():
        if inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(type(listener).__call__):
            raise TypeError(
                f"{argument} must be a plain function, not {listener!r}: AsyncJSONGearmanClient awaits coroutines"
            )
    return checked_listeners(**listeners)
