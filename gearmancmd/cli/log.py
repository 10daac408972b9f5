"""The log of ``gearmancmd run``."""

from __future__ import annotations

import json
import logging
import math
import sys
from datetime import datetime, timezone
from types import TracebackType
from typing import NamedTuple

from ..logs import logger, one_line, text_of

#: What --log-level takes.
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

#: What --log-format takes.
FORMATS = ("text", "json")

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_FORMAT_OF_MANY = "%(asctime)s %(process)d %(levelname)s %(message)s"


class LogOptions(NamedTuple):
    """What the command line says of the log; it can be pickled."""

    #: The level where nobody has set one.
    default: int = logging.INFO
    #: Of LEVELS and FORMATS; None unless the command line has them.
    level: str | None = None
    format: str | None = None
    #: Whether several processes write it.
    many: bool = False


class SafeFormatter(logging.Formatter):
    """A formatter whose tracebacks hold no characters that steer a terminal: exceptions quote what clients send."""

    def formatException(  # noqa: N802 - logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """The traceback, each line of it made safe."""
        return "\n".join(map(one_line, super().formatException(ei).split("\n")))


#: The attributes that each record has; what else one has came as `extra`.
_OF_EACH_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JSONFormatter(logging.Formatter):
    """One object a line, in ASCII: time (ISO 8601, UTC), level, logger, process (its id), message, the fields that came
    as `extra`, and a traceback as a string where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _OF_EACH_RECORD:
                fields.setdefault(name, _plain(value))
        if record.exc_info and record.exc_info[1] is not None:
            fields["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return json.dumps(fields)


def _plain(value: object) -> object:
    """A value that JSON has; else its text."""
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return text_of(value) or type(value).__name__


def set_up_logging(options: LogOptions) -> None:
    """Log to stderr whatever the user's module, loaded before, has not provided for. The level and the format of the
    command line are for our logger whatever the module has done.

    Where the module has set up logging for us too, nothing else is done; but with a format our lines go to stderr in
    that format alone, and no more to the root's handlers. Where it has done so for loggers of its own only, ours gets a
    handler, and theirs are left alone.
    """
    if options.level is not None:
        logger.setLevel(LEVELS[options.level])
    provided = logger.hasHandlers()
    if provided and options.format is None:
        return
    target = logger if provided or _any_handler() else logging.getLogger()
    if provided:
        logger.propagate = False  # else the lines come in the module's format too
        logger.handlers = [other for other in logger.handlers if getattr(other, "stream", None) is not sys.stderr]
    target.addHandler(_handler(options))
    if not provided and target.level in (logging.NOTSET, logging.WARNING):  # what it is when nobody has set it
        target.setLevel(LEVELS[options.level] if options.level is not None else options.default)


def _handler(options: LogOptions) -> logging.Handler:
    text = SafeFormatter(_FORMAT_OF_MANY if options.many else _FORMAT)
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if options.format == "json" else text)
    return handler


def _any_handler() -> bool:
    """Whether the user's module has set up logging for some part of the program."""
    loggers = [known for known in logging.Logger.manager.loggerDict.values() if isinstance(known, logging.Logger)]
    return any(not isinstance(handler, logging.NullHandler) for known in loggers for handler in known.handlers)
