"""One question to all servers: what those say that answer, and which ones do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .._wire.address import Address
from ..admin import Admin
from ..errors import ServerUnavailable
from .failure import NoServer
from .output import complain

T = TypeVar("T")

#: The time-out of questions that are repeated: a server that does not answer must not stop the picture.
SHORT_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class Answers(Generic[T]):
    """The rows of the servers that answered, and the errors of the others."""

    rows: list[T]
    errors: list[ServerUnavailable]

    def report(self) -> int:
        """Say which servers did not answer; the exit status."""
        for error in self.errors:
            complain(str(error))
        return NoServer.exit_code if self.errors else 0


def ask(servers: Sequence[Address], question: Callable[[Admin], list[T]], timeout: float = 5.0) -> Answers[T]:
    """Ask all servers at once; one that is down holds nobody up for longer than `timeout` seconds."""
    errors: list[ServerUnavailable] = []
    return Answers(question(Admin(servers, timeout, errors.append)), errors)
