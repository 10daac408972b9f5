"""gearmand's text protocol: a command to several servers at once, and the lines that each of them answers.

The calling thread owns the sockets. Each is brought by an Attempt, for whose thread nobody waits, and closed at the
end.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial

from .address import Address
from .connection import NOT_NOW, RECEIVE_SIZE
from .packet import to_text
from .reconnect import Attempt
from .threads import LONGEST_WAIT_SECONDS
from .waker import Waker

#: Seconds that an attempt may take from its last word to the end of its thread.
_POST_SECONDS = 0.1


class Answer:
    """What one server has answered so far: whole when `ended` is true and `error` is None."""

    def __init__(self, address: Address, request: bytes, ends: Callable[[list[str]], bool]) -> None:
        self.address = address
        self.lines: list[str] = []
        #: Why it will never be whole; TimeoutError when the time was up.
        self.error: OSError | None = None
        #: Whether nothing more is to come.
        self.ended = False
        self._unsent = request
        self._ends = ends
        self._rest = bytearray()
        self._attempt: Attempt | None = None
        self._socket: socket.socket | None = None

    def connect(self, timeout: float, waker: Waker) -> None:
        """Begin to connect; the owner of the waker goes on with it."""
        self._attempt = Attempt(self.address, lambda attempt: waker.post(partial(self._connected, attempt)), timeout)
        self._attempt.start()

    def _connected(self, attempt: Attempt) -> None:
        try:
            self._socket = attempt.result()
        except OSError as error:
            self.fail(error)

    def watch(self, poll: select.poll) -> int | None:
        """Have the poll wait for it; the descriptor, None when there is nothing to wait for."""
        if self._socket is None or self.ended:
            return None
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        return self._socket.fileno()

    def proceed(self) -> None:
        """Send and receive what can be without waiting."""
        assert self._socket is not None
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            data = self._socket.recv(RECEIVE_SIZE)
        except NOT_NOW:
            return
        except OSError as error:
            self.fail(error)
            return
        if data:
            self._take(data)
        else:
            self.fail(ConnectionError("the server closed the connection"))

    def _take(self, data: bytes) -> None:
        """Lines may end with LF or CRLF. What follows the last one is not looked at."""
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._rest += data
            return
        lines = (bytes(self._rest) + whole).split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            self.lines.append(to_text(line.rstrip(b"\r")))
            if self._ends(self.lines):
                self.ended = True
                return

    def fail(self, error: OSError) -> None:
        """It will never be whole."""
        self.error = error
        self.ended = True

    def close(self) -> bool:
        """Close the socket, or have the attempt that is under way close it. Whether the waker is used no more."""
        attempt, self._attempt = self._attempt, None  # which has a reference to this
        return attempt is None or attempt.abandon() or attempt.ended.wait(_POST_SECONDS)


def ask(
    addresses: Iterable[Address], request: bytes, deadline: float, ends: Callable[[list[str]], bool]
) -> list[Answer]:
    """Send a request to all servers at once; their answers by `deadline`, of the monotonic clock, in the same order.

    `ends` says of an answer's lines so far whether the last of them ends it. Nothing takes longer: neither a look-up
    nor connecting nor an answer without an end.
    """
    answers = [Answer(address, request, ends) for address in addresses]
    waker = Waker()
    try:
        for answer in answers:
            answer.connect(max(deadline - time.monotonic(), 0), waker)
        while not all(answer.ended for answer in answers):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            _proceed(answers, waker, min(left, LONGEST_WAIT_SECONDS))
    finally:
        closed = [answer.close() for answer in answers]
        waker.close(for_good=all(closed))
    for answer in answers:
        if not answer.ended:
            answer.fail(TimeoutError("timed out"))
    return answers


def _proceed(answers: Iterable[Answer], waker: Waker, seconds: float) -> None:
    """Wait until something happens, and go on with the answers that it concerns."""
    poll = select.poll()
    poll.register(waker.fileno(), select.POLLIN)
    watched = {answer.watch(poll): answer for answer in answers}
    for fd, _ in poll.poll(seconds * 1000 + 1):
        if fd == waker.fileno():
            waker.run()
        else:
            watched[fd].proceed()
