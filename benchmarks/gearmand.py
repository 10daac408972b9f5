"""A gearmand of the benchmarks' own, with its default threads."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple


class Server(NamedTuple):
    """Where it listens."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """The form in which workers take it: "host:port"."""
        return f"{self.host}:{self.port}"


@contextmanager
def gearmand() -> Iterator[Server]:
    """A gearmand on a free loopback port, for the time of the block."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        server = Server(*probe.getsockname())
    command = ["gearmand", "--listen", server.host, "--port", str(server.port), "--log-file", "none"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_for(server: Server) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(server).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


class Admin:
    """One admin connection, kept open: asking for the status costs gearmand some 0.1 ms."""

    def __init__(self, server: Server) -> None:
        self._connection = socket.create_connection(server)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def jobs(self, function: str) -> int:
        """How many jobs of a function are in the server, running ones too."""
        return next((int(total) for name, total, _, _ in self._status() if name == function), 0)

    def workers(self) -> int:
        """How many workers the function with the most of them has."""
        return max((int(workers) for _, _, _, workers in self._status()), default=0)

    def _status(self) -> list[list[str]]:
        self._connection.sendall(b"status\n")
        answer = b""
        while not answer.endswith(b".\n"):
            answer += self._connection.recv(65536)
        return [line.split("\t") for line in answer.decode().splitlines()[:-1]]
