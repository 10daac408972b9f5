"""How a command ends when it does not end well: one line on stderr, and an exit status that tells of which kind."""

from __future__ import annotations

import click
from gearman.errors import GearmanError

from ..errors import GearmanCMDError, JobTimeout, ServerUnavailable
from ..logs import reason

#: The exit status after Ctrl+C, as shells have it.
INTERRUPTED = 130


class Failure(click.ClickException):
    """A command that failed: its message is all that is said on stderr."""

    exit_code = 1


class Misuse(Failure):
    """A command line that cannot be right, or input that cannot be read; click's own errors have the same status."""

    exit_code = 2


class TooLate(Failure):
    """The time was over before the job was done."""

    exit_code = 3


class NoServer(Failure):
    """No server, or not each one, answers."""

    exit_code = 4


def failure(error: Exception) -> Failure:
    """What an exception of the library, or any other one, looks like from a shell."""
    message = " ".join(str(error).split())
    if isinstance(error, ServerUnavailable):
        return NoServer(message)
    if isinstance(error, JobTimeout):
        return TooLate(message)
    if isinstance(error, ValueError):  # the library has looked at what the command line said
        return Misuse(message)
    if message and isinstance(error, (GearmanCMDError, GearmanError, OSError)):
        return Failure(message)
    return Failure(f"{reason(error)} (--debug shows the traceback)")
