"""Waiting for a condition, with a limit that only a failure reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT = 30.0


def wait_for(condition: Callable[[], T], what: str = "the condition", limit: float = LIMIT) -> T:
    """The first true value of `condition`; AssertionError when there is none within `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {limit} s for {what}; it is still {value!r}"
        time.sleep(0.005)
