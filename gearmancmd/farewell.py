"""Closing connections so that nothing that was answered is lost."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable

from gearman.errors import GearmanError

from .connection import RECEIVE_SIZE, ServerConnection

#: Seconds for the last answers to leave and for the servers to take them.
PATIENCE = 2.0


def part(connections: Iterable[ServerConnection]) -> None:
    """Send what still waits, say that it was the last, and close when the server has closed too.

    A plain close() while a job is on its way here would reset the connection, and an answer that the server has not
    read yet would be lost with it. A server that does not react within PATIENCE seconds is left all the same.
    """
    deadline = time.monotonic() + PATIENCE
    remaining = {connection.fileno(): connection for connection in connections}
    poll = select.poll()
    for fd in remaining:
        poll.register(fd, select.POLLOUT)
    while remaining and (left := deadline - time.monotonic()) > 0:
        for fd, event in poll.poll(left * 1000):
            if not _advance(remaining[fd], event, poll):
                poll.unregister(fd)
                remaining.pop(fd).close()
    for connection in remaining.values():
        connection.close()


def _advance(connection: ServerConnection, event: int, poll: select.poll) -> bool:
    """One step towards the close; False when there is none left to take."""
    assert connection.gearman_socket is not None
    try:
        if not event & select.POLLOUT:
            return bool(connection.gearman_socket.recv(RECEIVE_SIZE))  # what comes now is of no use to us
        if connection.flush():
            connection.gearman_socket.shutdown(socket.SHUT_WR)
            poll.modify(connection.fileno(), select.POLLIN)
    except BlockingIOError:
        pass
    except (GearmanError, OSError):
        return False
    return True
