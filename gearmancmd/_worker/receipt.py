"""Waiting until something has left for a server, or until the server has acknowledged it."""

from __future__ import annotations

from .._wire.threads import Latch


class Receipt:
    """Settled by the loop once all that was written before it has left, or never will; then `error` says why."""

    def __init__(self) -> None:
        self.error = ""
        self._settled = Latch()

    def settle(self, error: str = "") -> None:
        """It has left; or `error`."""
        self.error = error
        self._settled.set()

    def wait(self, seconds: float | None) -> bool:
        """Whether it is settled, after waiting for up to `seconds`; None waits for ever."""
        if seconds is not None:
            return self._settled.wait(seconds)
        while not self._settled.wait(1.0):
            pass
        return True


class Acknowledgement(Receipt):
    """Of a job that is submitted: settled with the `handle` that its server has given it, or with an `error`; `refused`
    when that is the server's own word.
    """

    def __init__(self) -> None:
        super().__init__()
        self.handle = b""
        self.refused = False

    def accept(self, handle: bytes) -> None:
        """The server has it."""
        self.handle = handle
        self.settle()

    def refuse(self, reason: str) -> None:
        """The server does not take it."""
        self.refused = True
        self.settle(reason)
