"""Which job server a client turns to: one that works, and those that failed again after a rest."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

#: Seconds that a server is passed over after it could not be reached, while there are others.
REST_SECONDS = 3.0


class ServerChoice(Generic[T]):
    """The order in which the servers are tried."""

    def __init__(self, servers: Sequence[T]) -> None:
        self._servers = list(servers)
        self._resting: dict[int, float] = {}
        self._next = random.randrange(len(self._servers))

    def order(self, now: float, key: bytes | None = None) -> list[T]:
        """The servers, the best first.

        They take turns. With a `key` the first is always the same: only one server can see that two jobs are the same.
        Those that rest come last: when all do, one may be back.
        """
        count = len(self._servers)
        if count == 1:
            return self._servers
        if key is None:
            first = self._next
            self._next = (first + 1) % count
        else:
            first = zlib.crc32(key) % count
        turn = [(first + step) % count for step in range(count)]
        turn.sort(key=lambda index: max(self._resting.get(index, 0.0), now))
        return [self._servers[index] for index in turn]

    def failed(self, server: T, now: float) -> None:
        """It could not be reached."""
        self._resting[self._servers.index(server)] = now + REST_SECONDS

    def reached(self, server: T) -> None:
        """It could."""
        self._resting.pop(self._servers.index(server), None)
