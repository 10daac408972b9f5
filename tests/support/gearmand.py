"""A gearmand of the tests' own, on a free loopback port."""

from __future__ import annotations

import errno
import os
import random
import signal
import socket
import subprocess
from contextlib import closing

from tests.support.waiting import wait_for

#: Linux gives away ports from 32768 on; other systems begin higher.
BELOW_EPHEMERAL = (10_000, 32_768)

#: Not the generator of `random`: hypothesis seeds it, alike in each process.
CHOICE = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on just now. The system gives it to nobody who asks for any port, so that others who
    test on this machine do not get it before it is used, nor while its server is away.
    """
    while True:
        port = CHOICE.randrange(*BELOW_EPHEMERAL)
        with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


class Gearmand:
    """Started with the ``with`` block and stopped with it; in between it may be stopped, paused and started again."""

    def __init__(self, *options: str, host: str = "127.0.0.1", environment: dict[str, str] | None = None) -> None:
        self.host = host
        self.port = free_port(host)
        self._options = options
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __enter__(self) -> Gearmand:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        command = ["gearmand", "--listen", self.host, "--port", str(self.port), "--log-file", "none", *self._options]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment
        )
        wait_for(self._answers, "gearmand to listen")

    def stop(self) -> None:
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # each of its threads has stopped then, and none before

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            return bool(admin(self, "version"))
        except OSError:
            return False


def admin(server: object, command: str) -> list[str]:
    """The lines that a job server answers to an admin command."""
    host, port = getattr(server, "host"), getattr(server, "port")
    with closing(socket.create_connection((host, port), timeout=10)) as connection:
        connection.sendall(command.encode() + b"\n")
        answer = b""
        while not (answer.endswith(b".\n") or (command == "version" and answer.endswith(b"\n"))):
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError(f"the server hung up after {answer!r}")
            answer += piece
    return answer.decode().splitlines()


def counts(server: object, queue: str) -> tuple[int, int, int]:
    """How many jobs a queue has in all, how many of them are running, and how many workers it has."""
    for line in admin(server, "status")[:-1]:
        name, *figures = line.split("\t")
        if name == queue:
            total, running, workers = map(int, figures)
            return total, running, workers
    return 0, 0, 0
