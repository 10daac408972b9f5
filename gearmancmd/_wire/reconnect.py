"""Reaching a server, and reaching it again: attempts in threads of their own, with a growing pause between them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from ..logs import logger
from . import threads
from .address import Address
from .backoff import Backoff
from .opening import CONNECT_TIMEOUT, open_socket

#: The first pause is below the first figure, each further one up to twice as long, none above the last.
RECONNECT_FIRST_SECONDS = 0.08
RECONNECT_LAST_SECONDS = 3.0


class Outage:
    """The pauses and the log lines between losing a server and hearing from it again.

    A server counts as back with its first packet, not with the connection: a proxy in front of a dead gearmand
    accepts connections too, and must neither reset the back-off nor fill the log.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._backoff = Backoff(RECONNECT_FIRST_SECONDS, RECONNECT_LAST_SECONDS)
        self._told = False
        self._met = False

    def failed(self, why: object) -> float:
        """The server could not be reached, or was lost. The seconds to wait before the next attempt."""
        if not self._told:
            logger.warning("no connection to gearmand at %s, trying again until it answers: %s", self._server, why)
            self._told = True
        return self._backoff.pause()

    def heard(self) -> None:
        """The server sent something."""
        if self._told or not self._met:
            logger.info("gearmand at %s answers%s", self._server, " again" if self._met else "")
        self._met = True
        self._backoff.reset()
        self._told = False


class Attempt:
    """One attempt to look up a name, connect and shake hands, in a thread of its own: none of that may keep the jobs of
    other servers waiting. The thread hands the socket over once, connected, and touches it no more.
    """

    def __init__(self, address: Address, done: Callable[[Attempt], None], timeout: float = CONNECT_TIMEOUT) -> None:
        #: The connected socket, or None and the reason.
        self.socket: socket.socket | None = None
        self.error: Exception | None = None
        self._address = address
        self._done = done
        self._deadline = time.monotonic() + timeout
        self._abandoned = False
        #: Whoever takes it decides: the thread hands over, or the owner abandons.
        self._decision = threads.Once()
        #: Set when the thread has done with it.
        self.ended = threads.Latch()

    def start(self) -> None:
        """Begin. `done(self)` is called from another thread unless it was abandoned; where no thread can be started,
        that is a failure like another.
        """
        threads.start(f"gearmancmd-connect-{self._address}", self._run, self._finish)

    def abandon(self) -> bool:
        """Nobody waits for the connection any more: a socket that was handed over is closed too. The thread ends within
        moments, but for a name look-up, which cannot be cut short. True when `done` will never be called.
        """
        self._abandoned = True
        if self._decision.take():
            return True
        if self.socket is not None:
            self.socket.close()
        return False

    def result(self) -> socket.socket:
        """What the attempt that has ended brought. OSError, of whatever it failed."""
        if self.socket is not None:
            return self.socket
        if isinstance(self.error, OSError):
            raise self.error
        raise OSError(str(self.error)) from self.error

    def _run(self) -> None:
        try:
            self.socket = open_socket(self._address, self._deadline, lambda: self._abandoned)
        except Exception as error:  # whatever it is, the owner must hear of it: it waits for nothing else
            self._finish(error)
        else:
            self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        self.error = error
        if self._decision.take():
            self._done(self)
        elif self.socket is not None:
            self.socket.close()
        self.ended.set()


def open_within(address: Address, timeout: float = CONNECT_TIMEOUT) -> socket.socket:
    """A connected socket, as :func:`open_socket` makes it, for a thread that waits for it: within `timeout` seconds, of
    which a look-up cannot take more either. OSError when there is none by then.

    An exception raised into the wait, such as that of Ctrl+C, leaves nothing open and nothing locked.
    """
    attempt = Attempt(address, lambda attempt: None, timeout)
    try:
        attempt.start()
        if not attempt.ended.wait(timeout):
            raise TimeoutError("timed out")
        return attempt.result()
    except BaseException:
        attempt.abandon()
        raise
