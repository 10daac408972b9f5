"""Every exception that the library raises on its own account.

ServerUnavailable is gearman's too (``gearman.errors``), so that code written for python-gearman goes on catching it.
The classes of gearmancmd.compat raise gearman's other errors as they are.
"""

from __future__ import annotations

import gearman.errors


class GearmanCMDError(Exception):
    """Base of the library's own exceptions: whoever catches it catches all of them."""


class CommandError(GearmanCMDError):
    """Raise it in a command to fail that job: the client gets the text, and the worker goes on.

    >>> raise CommandError("out of paper")
    """


class JobRejected(CommandError):
    """A job that failed before or after its command: its task cannot be read, or its result cannot be sent. The
    worker goes on. `detail` is what an encoder, or Python, said of it: clients are not told it where errors are hidden.
    """

    #: The text without the detail.
    message: str = ""

    def __init__(self, message: str = "", detail: str = "") -> None:
        super().__init__(f"{message}: {detail}" if detail else message)
        self.message = message


class PayloadError(JobRejected):
    """The payload of a job cannot be decoded, or is larger than `max_payload`."""


class ResultError(JobRejected):
    """The result of a command cannot be encoded, or is larger than a packet can be."""


class CommandTimeout(CommandError):
    """A command took longer than its `time_limit`. Raised in the command, and the job's failure."""


class UnexpectedError(CommandError):
    """For an `exception_handler`: ``raise UnexpectedError("text") from error`` fails the job with that text. The worker
    goes on, and the log has the traceback of `error`.
    """


class JobEnded(CommandError, RuntimeError):
    """A report comes too late, in a thread that a command started, say: its job is answered, the server was lost, or
    the worker ends.
    """


class UnknownCommand(JobRejected, NotImplementedError):
    """A task asked for a command that its queue does not have. An `exception_handler` is asked what to answer."""


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
    """A job server or a worker did not answer a client in time. The job may be done all the same."""


class AdminError(GearmanCMDError):
    """A job server refused an admin command, or does not know it."""


class BootError(GearmanCMDError):
    """A process of a WorkerPool cannot begin to work.

    A factory may raise it with a text for people; whatever else it raises is told with its type. The traceback in the
    child, where there is one, is the cause.
    """


class MissingExtra(GearmanCMDError, ImportError):
    """A part of the library needs a package that only an extra installs; the text says which: ``pip install
    'gearmancmd[embedded]'``.
    """


def leaves_worker(error: BaseException) -> bool:
    """Whether an exception of a command is not the job's but the process's: Ctrl+C or sys.exit(), in a group too."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return True
    members = getattr(error, "exceptions", None)  # of an exception group
    return isinstance(members, tuple) and any(
        leaves_worker(member) for member in members if isinstance(member, BaseException)
    )
