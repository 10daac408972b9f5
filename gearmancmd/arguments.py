"""What users pass in, checked where it enters: each error names the argument and the value."""

from __future__ import annotations

import math

#: gearmand's limits in bytes (GEARMAN_FUNCTION_MAX_SIZE; client ids are cut behind the figure).
FUNCTION_LIMIT = 511
CLIENT_ID_LIMIT = 127


def seconds(value: object, argument: str) -> float:
    """A time span above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number of seconds, not {value!r}")
    if not value > 0 or not math.isfinite(value):
        raise ValueError(f"{argument} must be above 0 and finite, not {value!r}")
    return float(value)


def count(value: object, argument: str, least: int = 1) -> int:
    """A whole number, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{argument} must be at least {least}, not {value!r}")
    return value


def function_name(value: object, argument: str) -> str:
    """The name of a queue, gearman's function: no white space or control characters, as the admin protocol has it."""
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {value!r}")
    if not value or any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError(f"{argument} must be a name without white space, not {value!r}")
    if len(value.encode("utf-8", "surrogateescape")) > FUNCTION_LIMIT:
        raise ValueError(f"{argument} must have at most {FUNCTION_LIMIT} bytes, not {value!r}")
    return value


def client_id(value: object, argument: str) -> str | None:
    """The name of a worker in gearmand's `workers`, or None: the same characters as in a function name."""
    if value is None:
        return None
    name = function_name(value, argument)
    if len(name.encode("utf-8", "surrogateescape")) > CLIENT_ID_LIMIT:
        raise ValueError(f"{argument} must have at most {CLIENT_ID_LIMIT} bytes, not {value!r}")
    return name
