"""A TCP proxy in front of a job server, which can speak TLS, cut the stream anywhere, hold it, and break it off."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from typing import Any

from tests.support.gearmand import free_port


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
        self._flows: list[threading.Event] = []
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
        self.flow()

    def break_off(self) -> None:
        """Close every connection that is open now."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            self._close(each)

    def hold(self) -> None:
        """Pass on nothing more either way on the connections that are open now, and keep them open."""
        for each in self._flows:
            each.clear()

    def flow(self) -> None:
        """Pass on what was held, and all that comes."""
        for each in self._flows:
            each.set()

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
            for each in (near, far):  # or a packet that comes in two pieces waits 40 ms for its second one
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._close(accepted)
            return
        self._sockets += [near, far]
        flowing = threading.Event()
        flowing.set()
        self._flows.append(flowing)
        if isinstance(near, ssl.SSLSocket):
            self._relay(near, far, flowing)  # in this thread alone: OpenSSL crashes where two use one connection
            return
        for pair in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=(*pair, flowing), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, flowing: threading.Event) -> None:
        with contextlib.suppress(OSError, ValueError):
            while self._pass_on(source, sink, flowing):
                pass
        self._close(sink)
        self._close(source)

    def _relay(self, near: ssl.SSLSocket, far: socket.socket, flowing: threading.Event) -> None:
        """Both ways in one thread."""
        with contextlib.suppress(OSError, ValueError):
            open_still = True
            while open_still:
                readable = [near] if near.pending() else select.select([near, far], [], [])[0]
                open_still = all(self._pass_on(each, far if each is near else near, flowing) for each in readable)
        self._close(near)
        self._close(far)

    def _pass_on(self, source: socket.socket, sink: socket.socket, flowing: threading.Event) -> bool:
        """Pass on what comes next; False at the end."""
        data = source.recv(65536)
        flowing.wait()
        for start in range(0, len(data), self._chunk):
            sink.sendall(data[start : start + self._chunk])
        return bool(data)

    def _close(self, each: socket.socket) -> None:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
