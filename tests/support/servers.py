"""Job servers that are no job servers: bytes by hand."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable


def packet(kind: int, body: bytes = b"") -> bytes:
    """What a server sends."""
    return b"\0RES" + struct.pack("!II", kind, len(body)) + body


def request(kind: int, body: bytes = b"") -> bytes:
    """What a worker or a client sends."""
    return b"\0REQ" + struct.pack("!II", kind, len(body)) + body


def assignment(number: int, queue: str, task: object) -> bytes:
    """JOB_ASSIGN_UNIQ with a handle of that number."""
    return packet(31, b"\0".join([b"H:x:%d" % number, queue.encode(), b"u", json.dumps(task).encode()]))


class LastWords(bytes):
    """What a Scripted server sends before it ends the connection, by a RST in the place of a FIN if `reset` is set."""

    reset = False


class Scripted:
    """A job server whose every word the test writes: ``answer(kind, body)`` is called with each request, and returns
    what is sent, which may be nothing; None hangs up, and so does the server after LastWords. `requests` are all that
    came.
    """

    def __init__(self, answer: Callable[[int, bytes], bytes | None]) -> None:
        self.requests: list[tuple[int, bytes]] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Scripted:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while header := stream.read(12):
                kind, size = struct.unpack("!II", header[4:])
                self.requests.append((kind, stream.read(size)))
                answer = self._answer(*self.requests[-1])
                if answer is None:
                    return
                connection.sendall(answer)
                if isinstance(answer, LastWords):
                    self._end(connection, answer.reset)
                    return

    def _end(self, connection: socket.socket, reset: bool) -> None:
        if reset:  # by closing it
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # or closing it would send a RST
            pass


class StatusServer:
    """Answers the admin command `status` with the figures of the test: {queue: (total, running, workers)}."""

    def __init__(self, queues: dict[str, tuple[int, int, int]]) -> None:
        lines = ["\t".join([name, *map(str, figures)]) for name, figures in queues.items()]
        answers = {b"status\n": "".join(f"{line}\n" for line in [*lines, "."]).encode()}

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # who asked has left
                    for line in self.rfile:
                        self.wfile.write(answers.get(line, b"ERR UNKNOWN_JOB\n"))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.address = "{}:{}".format(*self._server.server_address)

    def __enter__(self) -> StatusServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
