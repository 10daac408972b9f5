"""What SIGTERM does to a command, and to that command alone."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NoReturn

from .._pool.signals import handle


class Terminated(SystemExit):
    """SIGTERM has come: terminals are restored, servers started here are stopped."""


def terminate() -> NoReturn:
    """What it does to a command, unless that has other plans: leave through all `finally` and `with` blocks."""
    raise Terminated(128 + signal.SIGTERM)


def on_sigterm(action: Callable[[], object]) -> None:
    """Have SIGTERM call `action` in this process, and not in children that are forked from it."""
    handle([signal.SIGTERM], lambda signum, frame: action())
