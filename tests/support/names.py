"""Host names of the tests' own, and addresses at which nothing ever answers."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest


class DeadAddress:
    """For the time of the ``with`` block, a loopback port where connecting neither succeeds nor fails: its backlog is
    full, so the kernel drops what arrives.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self._listener = socket.socket()
        self._fillers = [socket.socket() for _ in range(4)]

    def __enter__(self) -> DeadAddress:
        self._listener.bind((self.host, 0))
        self._listener.listen(0)
        self.port = self._listener.getsockname()[1]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
        return self

    def __exit__(self, *error: object) -> None:
        for each in (*self._fillers, self._listener):
            each.close()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def target(self) -> tuple[str, int]:
        """What a look-up of it finds."""
        return self.host, self.port


class Names:
    """Stands in front of socket.getaddrinfo(): knows some names by itself, and asks it for all others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._known: dict[Any, Any] = {}
        self._over = threading.Event()
        self._real = socket.getaddrinfo
        self.asked: list[Any] = []
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def add(self, name: str, *targets: tuple[str, int]) -> None:
        """`name` has these addresses, each with a port, whatever port is asked for."""
        self._known[name] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", target) for target in targets]

    def hang(self, name: str) -> None:
        """The look-up of `name` does not end before the test does."""
        self._known[name] = self._over

    def fail(self, name: str, error: Exception) -> None:
        """The look-up of `name` raises `error`."""
        self._known[name] = error

    def release(self) -> None:
        """End the look-ups that hang."""
        self._over.set()

    def _look_up(self, host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        self.asked.append(host)
        found = self._known.get(host)
        if found is None:
            return self._real(host, port, *arguments, **options)
        if found is self._over:
            self._over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "the test is over")
        if isinstance(found, Exception):
            raise found
        return found
