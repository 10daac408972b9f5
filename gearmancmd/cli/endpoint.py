"""The HTTP endpoint beside a worker: /metrics, /healthz and /readyz, each bounded in time and number."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from .failure import Failure

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: Requests that are worked on at once; further ones are hung up on.
REQUESTS_AT_ONCE = 16

#: Seconds that a client may take to send or to take the next piece of a request.
CLIENT_SECONDS = 5.0


class Endpoint(socketserver.ThreadingMixIn, WSGIServer):
    """Listens on a port. Each request has a thread, which the end of the process does not wait for."""

    daemon_threads = True
    request_queue_size = REQUESTS_AT_ONCE

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = threading.Semaphore(REQUESTS_AT_ONCE)
        super().__init__((host, port), _Request)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind, without the look-up of the host's name that the base class makes: it may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Work on a request in a thread, if there are not too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """What the thread does."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or is too slow, is not worth a traceback on stderr."""


class _Request(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the log is the worker's."""


def application(metrics: WSGIApplication, checks: dict[str, Callable[[], bool]]) -> WSGIApplication:
    """Routes /metrics to prometheus_client's application, and each path of `checks` to what it asks: 200 or 503."""

    def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        check = checks.get(path)
        if check is None:
            status, text = "404 Not Found", "there are /metrics, /healthz and /readyz\n"
        else:
            status, text = ("200 OK", "yes\n") if check() else ("503 Service Unavailable", "no\n")
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [text.encode()]

    return respond


def listen(host: str, port: int, application: WSGIApplication) -> str:
    """Serve in a thread, for the rest of the process; the address. Failure when it cannot listen."""
    try:
        endpoint = Endpoint(host, port, application)
    except OSError as error:
        raise Failure(f"--metrics-port: cannot listen on {host}:{port}: {error.strerror or error}") from error
    threading.Thread(target=endpoint.serve_forever, name="gearmancmd-metrics", daemon=True).start()
    return f"[{host}]:{endpoint.server_port}" if ":" in host else f"{host}:{endpoint.server_port}"
