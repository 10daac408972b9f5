"""What users pass in, checked where it enters: each error names the argument and the value."""

from __future__ import annotations

import math
import re
import warnings

#: gearmand's limits in bytes (GEARMAN_FUNCTION_MAX_SIZE; client ids are cut behind the figure).
FUNCTION_LIMIT = 511
CLIENT_ID_LIMIT = 127

# C0 with NUL and line feed, DEL, C1, and Unicode's line and paragraph separators. It is not compiled before its first
# use, for an import of the library need not wait for it.
_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029]"

#: What subclasses of the library of 2014 may define, and what does that now. Nothing calls or reads these names.
_FORMER_NAMES = {
    "_process_task": "dispatch(queue, task) to choose the command, or exception_handler for what a command raises",
    "_create_thread": "the `worker` class for what happens in the background thread",
    "_thread": "the `worker` class for what happens in the background thread",
    "_queues": "`queues`, and register_task() to add to it",
    "_servers": "`servers`",
    "_command": "`command`",
    "_poll_timeout": "`poll_timeout`",
    "_exc_handler": "`exception_handler`",
}


def seconds(value: object, argument: str, least: float | None = None, most: float | None = None) -> float:
    """A time span above 0, or at least `least`; and at most `most`."""
    return amount(value, argument, "seconds", least, most)


def amount(value: object, argument: str, unit: str, least: float | None = None, most: float | None = None) -> float:
    """A number above 0, or at least `least`, and at most `most`, of whatever `unit` names."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number of {unit}, not {value!r}")
    if not (value > 0 if least is None else value >= least) or not math.isfinite(value):
        span = "above 0" if least is None else f"at least {least:g}"
        raise ValueError(f"{argument} must be {span} and finite, not {value!r}")
    if most is not None and value > most:
        raise ValueError(f"{argument} must be at most {most:g}, not {value!r}")
    return float(value)


def count(value: object, argument: str, least: int = 1) -> int:
    """A whole number, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{argument} must be at least {least}, not {value!r}")
    return value


def function_name(value: object, argument: str) -> str:
    """The name of a queue, gearman's function. It may hold spaces, as gearmand's may; a line break or another control
    character would break the lists of the admin protocol.
    """
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {value!r}")
    if not value or re.search(_CONTROL, value):
        raise ValueError(f"{argument} must be a name without control characters, not {value!r}")
    try:
        size = len(value.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise ValueError(f"{argument} must be a name that UTF-8 can hold, not {value!r}") from error
    if size > FUNCTION_LIMIT:
        raise ValueError(f"{argument} must have at most {FUNCTION_LIMIT} bytes, not {value!r}")
    return value


def word(value: object, argument: str) -> str:
    """A name without white space, which the admin protocol takes for the end of a name."""
    name = function_name(value, argument)
    if any(character.isspace() or not character.isprintable() for character in name):
        raise ValueError(f"{argument} must be a name without white space, not {value!r}")
    return name


def client_id(value: object, argument: str) -> str | None:
    """The name of a worker in gearmand's `workers`, a single word; or None."""
    if value is None:
        return None
    name = word(value, argument)
    if len(name.encode("utf-8", "surrogateescape")) > CLIENT_ID_LIMIT:
        raise ValueError(f"{argument} must have at most {CLIENT_ID_LIMIT} bytes, not {value!r}")
    return name


def flag(value: object, argument: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{argument} must be True or False, not {value!r}")
    return value


def failures(value: object, argument: str) -> str:
    """How a failed job is told of."""
    if value not in ("warning", "exception", "plain"):
        raise ValueError(f"{argument} must be 'warning', 'exception' or 'plain', not {value!r}")
    return str(value)


def warn_of_former_names(gcmd: object) -> None:
    """A warning for each name of 2014 that a GearmanCMD subclass has; for its constructor to call."""
    for name, instead in _FORMER_NAMES.items():
        if hasattr(gcmd, name):
            message = f"{type(gcmd).__name__}.{name} is not used any more: use {instead}; see docs/migrating.md"
            warnings.warn(message, stacklevel=3)
