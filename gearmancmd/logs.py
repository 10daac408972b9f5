"""The library's logger, and how text that somebody else chose becomes one harmless line.

Names, reasons and errors come from servers, clients and the exceptions of commands. A line break in one would forge a
log line, an escape sequence would steer a terminal, a megabyte would bury the rest. So there is one rule,
:func:`one_line`, and every string argument of a line of this logger goes through it.
"""

from __future__ import annotations

import logging
import re
import time

from .errors import CommandError, JobEnded, JobRejected, UnexpectedError

#: Characters of a log line's argument, and of a reason that is not the command's own text.
LINE_LIMIT = 1000

#: What clients are told of an unexpected exception where errors are hidden.
INTERNAL_ERROR = "internal error"

#: Bytes of a reason on the wire.
REASON_LIMIT_BYTES = 64 * 1024

# Unicode's categories Cc (C0, DEL, C1), Zl, Zp, Cs (halves of surrogate pairs) and Cf (marks that reorder or hide).
# It is not compiled before its first use, for an import of the library need not wait for it.
_UNSAFE = (
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def one_line(text: str, limit: int = LINE_LIMIT) -> str:
    """The text as one printable line: unsafe characters as escape sequences, cut at `limit` characters."""
    escaped = re.sub(_UNSAFE, _escape, text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[: limit - 3] + "..."


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def text_of(error: object) -> str:
    """What an exception, or another object, says, whatever its ``__str__`` does; "" when that fails."""
    try:
        return str.__str__(str(error))  # a subclass of str may do anything
    except KeyboardInterrupt:
        raise
    except BaseException:
        return ""


def reason(error: BaseException) -> str:
    """One line that tells a client, or a log, why a job failed: type and text, of a CommandError the text alone."""
    text = one_line(" ".join(text_of(error)[: 2 * LINE_LIMIT].split()))
    if isinstance(error, CommandError) and text:
        return text
    name = one_line(type(error).__name__)
    return one_line(f"{name}: {text}") if text else name


def exit_call(error: SystemExit) -> str:
    """The call that has raised it: "sys.exit(3)"."""
    return f"sys.exit({'' if error.code is None else repr(error.code)})"


def told(error: BaseException, expose_errors: bool = True) -> str:
    """What a client is told of a failure: of a CommandError the command's own text, of any other one its reason. Where
    errors are not exposed, nothing that a command has not written for its client, but for why a job was not taken.
    """
    if isinstance(error, JobRejected):
        return reason(error) if expose_errors else one_line(text_of(error.message)) or INTERNAL_ERROR
    if isinstance(error, CommandError) and (expose_errors or not isinstance(error, (JobEnded, UnexpectedError))):
        text = text_of(error)
        if text:
            return text
    return reason(error) if expose_errors else INTERNAL_ERROR


class _Cleaner(logging.Filter):
    """Cleans the string arguments of each record, and leaves numbers alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record; True, for it is to be logged."""
        if isinstance(record.args, tuple):
            record.args = tuple(_clean(argument) for argument in record.args)
        return True


def _clean(argument: object) -> object:
    if isinstance(argument, (int, float)) or argument is None:
        return argument
    text = one_line(text_of(argument))
    return text if text or isinstance(argument, str) else one_line(type(argument).__name__)


logger = logging.getLogger("gearmancmd")
logger.addFilter(_Cleaner())


class Flood:
    """Lets a few lines through and counts the rest, so that a server that sends nothing but errors fills no disk."""

    #: Lines within as many seconds; what is over is counted, and told when they are over.
    LINES = 5
    SECONDS = 10.0

    def __init__(self) -> None:
        self._since = float("-inf")
        self._lines = 0

    def warning(self, message: str, *arguments: object) -> None:
        """Log a warning, unless there were too many just now."""
        now = time.monotonic()
        if now - self._since >= self.SECONDS:
            if self._lines > self.LINES:
                logger.warning("%d more such lines were left out", self._lines - self.LINES)
            self._since, self._lines = now, 0
        self._lines += 1
        if self._lines <= self.LINES:
            logger.warning(message, *arguments)
        elif self._lines == self.LINES + 1:
            logger.warning("more such lines within %d s are only counted", int(self.SECONDS))
