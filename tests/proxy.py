"""A TCP proxy in front of a job server, which can speak TLS, cut the stream anywhere, and break it off."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any

from tests.gearmand import free_port


class Proxy:
    """Listens on a loopback port for the time of the ``with`` block. `chunk` bytes at most are passed on at a time."""

    def __init__(self, server: Any, chunk: int = 65536, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"):
        self.host = host
        self.port = free_port(host)
        self.connections = 0
        self._target = (server.host, server.port)
        self._chunk = chunk
        self._tls = tls
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((host, self.port))

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._close(self._listener)
        self.break_off()

    def break_off(self) -> None:
        """Close every connection that is open now."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            self._close(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        self._sockets.append(accepted)
        try:
            near = self._tls.wrap_socket(accepted, server_side=True) if self._tls else accepted
            far = socket.create_connection(self._target)
        except OSError:
            self._close(accepted)
            return
        self._sockets += [near, far]
        for pair in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := source.recv(65536):
                for start in range(0, len(data), self._chunk):
                    sink.sendall(data[start : start + self._chunk])
        self._close(sink)
        self._close(source)

    def _close(self, each: socket.socket) -> None:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
