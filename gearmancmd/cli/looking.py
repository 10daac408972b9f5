"""One look at all servers: what those say that answer, and which ones do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import click

from ..admin import Admin
from ..errors import ServerUnavailable
from .failure import NoServer

T = TypeVar("T")

#: The time-out, in seconds, of looks that are repeated: a server that does not answer must not stop the picture.
SHORT_TIMEOUT = 1.0


@dataclass(frozen=True)
class Look(Generic[T]):
    """The rows of the servers that answered, and the errors of the others."""

    rows: list[T]
    errors: list[ServerUnavailable]

    def report(self) -> int:
        """Say which servers did not answer; the exit status."""
        for error in self.errors:
            click.echo(f"gearmancmd: {error}", err=True)
        return NoServer.exit_code if self.errors else 0


def look(servers: list[str], question: Callable[[Admin], list[T]], timeout: float = 5.0) -> Look[T]:
    """Ask all servers at once; one that is down holds nobody up for longer than `timeout` seconds."""
    errors: list[ServerUnavailable] = []
    return Look(question(Admin(servers, timeout, errors.append)), errors)
