"""Every exception that the library raises on its own account.

Connection and protocol failures keep gearman's own classes (``gearman.errors``), so that code written for
python-gearman goes on catching them.
"""

from __future__ import annotations

import gearman.errors

#: A reason crosses the wire and lands in one log line: longer ones are cut.
REASON_LIMIT = 1000


class GearmanCMDError(Exception):
    """Base of the library's own exceptions."""


class CommandError(GearmanCMDError):
    """Raise it in a command to fail that job: the client gets the text, the worker goes on."""


class JobRejected(CommandError):
    """A job that failed through what came from the wire or through a result that cannot be sent."""


class PayloadError(JobRejected):
    """The payload of a job cannot be decoded."""


class ResultError(JobRejected):
    """The result of a command cannot be encoded."""


class UnknownCommand(JobRejected):
    """A task asked for a command that its queue does not have."""


class ServerUnavailable(GearmanCMDError, gearman.errors.ServerUnavailable):
    """No job server could be reached, or the one that a client dealt with was lost."""


class JobFailed(GearmanCMDError):
    """A client's job failed, or a server refused it.

    `reason` is what the worker or the server said of it, None when it said nothing; `handle` is None for a job that
    was refused.
    """

    def __init__(self, message: str, handle: str | None = None, reason: object = None) -> None:
        super().__init__(message)
        self.handle = handle
        self.reason = reason


class JobTimeout(GearmanCMDError, TimeoutError):
    """A job server or a worker did not answer a client in time. The job itself may still be done."""


class AdminError(GearmanCMDError):
    """A job server refused an admin command, or does not know it."""


class MissingExtra(GearmanCMDError, ImportError):
    """A part of the library needs a package that only an extra installs."""


def reason(error: BaseException) -> str:
    """One line that tells a client, or a log, why a job failed."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception of the user's own, with a __str__ that fails
        text = ""
    if not isinstance(error, CommandError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= REASON_LIMIT else text[: REASON_LIMIT - 3] + "..."
