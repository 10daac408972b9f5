"""Opening a socket: the look-up of the name, its addresses, connecting to one of them, and TLS."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from . import fork
from .address import Address, tls_reason

#: Seconds that opening a connection may take, over all addresses of a host name.
CONNECT_TIMEOUT = 5.0

#: Seconds after which an attempt to connect looks whether it was abandoned.
ABANDON_SECONDS = 0.05

# Seconds until an idle or mute peer is taken for dead: a first probe after 30, then three at 10 s. The same limit
# holds for data that nobody acknowledges: without it Linux would wait a quarter of an hour.
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000))


def open_socket(
    address: Address, deadline: float | None = None, abandoned: Callable[[], bool] = lambda: False
) -> socket.socket:
    """A connected socket, TLS handshake done, that does not block. OSError when none of the host's addresses, IPv6 and
    IPv4, answers by `deadline` (of the monotonic clock; by default CONNECT_TIMEOUT seconds from now), or once
    `abandoned()` is true. Each address has its share of the time that is left, so a dead one leaves some to the next.

    Only the look-up of the name may take longer, and nothing can cut it short: this is for threads for which nobody
    waits. All others use :func:`~gearmancmd._wire.reconnect.open_within`.
    """
    if deadline is None:
        deadline = time.monotonic() + CONNECT_TIMEOUT
    found = _look_up(address)
    failures: list[tuple[str, OSError]] = []
    for number, (family, kind, proto, _, target) in enumerate(found):
        share = max(deadline - time.monotonic(), 0) / (len(found) - number)
        try:
            opened = fork.new_socket(family, kind, proto)
            return _opened(opened, target, address, time.monotonic() + share, abandoned)
        except OSError as error:
            failures.append((str(target[0]), error))
        if abandoned():
            break
    raise _failure(address, failures)


def _look_up(address: Address) -> list[Any]:
    try:
        return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError:
        raise
    except Exception as error:  # a label of more than 63 characters, a NUL, a port beyond all numbers
        raise OSError(f"{address.host!r} cannot be looked up: {error}") from error


def _failure(address: Address, failures: list[tuple[str, OSError]]) -> OSError:
    """Why none of the addresses could be reached: once where the reason is the same for all."""
    if not failures:
        return OSError(f"{address.host} has no address")
    reasons = {str(error) for _, error in failures}
    if len(reasons) == 1:
        return failures[-1][1]
    return OSError("; ".join(f"{target}: {error.strerror or error}" for target, error in failures))


def _opened(
    opened: socket.socket, target: Any, address: Address, deadline: float, abandoned: Callable[[], bool]
) -> socket.socket:
    """The socket, or the one that speaks TLS over it; closed, if it cannot be connected."""
    try:
        _connect(opened, target, deadline, abandoned)
        return _shake_hands(opened, address, deadline, abandoned) if address.tls else opened
    except ssl.SSLError as error:
        opened.close()
        raise OSError(f"TLS failed: {tls_reason(error)}") from error
    except BaseException:
        opened.close()
        raise


def _connect(opened: socket.socket, target: Any, deadline: float, abandoned: Callable[[], bool]) -> None:
    opened.setblocking(False)
    tune(opened)
    try:
        opened.connect(target)
        return
    except BlockingIOError:
        _await(opened, select.POLLOUT, deadline, abandoned)
    code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


class _TLSSocket(ssl.SSLSocket):
    """Closed in a forked child from before it takes the descriptor over, so that there is no moment in between."""

    def __new__(cls, *arguments: Any, **options: Any) -> _TLSSocket:
        made = super().__new__(cls, *arguments, **options)
        fork.close_in_child(made)
        return made


def _shake_hands(
    plain: socket.socket, address: Address, deadline: float, abandoned: Callable[[], bool]
) -> ssl.SSLSocket:
    context = address.ssl_context()
    context.sslsocket_class = _TLSSocket
    opened = context.wrap_socket(plain, server_hostname=address.tls_name, do_handshake_on_connect=False)
    try:
        while True:
            try:
                opened.do_handshake()
                return opened
            except ssl.SSLWantReadError:
                _await(opened, select.POLLIN, deadline, abandoned)
            except ssl.SSLWantWriteError:
                _await(opened, select.POLLOUT, deadline, abandoned)
    except BaseException:
        opened.close()  # it has taken the descriptor over from the plain one
        raise


def _await(opened: socket.socket, event: int, deadline: float, abandoned: Callable[[], bool]) -> None:
    poll = select.poll()
    poll.register(opened, event)
    while not poll.poll(min(max(deadline - time.monotonic(), 0), ABANDON_SECONDS) * 1000):
        if abandoned():
            raise ConnectionAbortedError("nobody waits for the connection any more")
        if time.monotonic() >= deadline:
            raise TimeoutError("timed out")


def tune(opened: socket.socket) -> None:
    """Send small packets at once, and find out about a peer that is gone."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # Linux has them all, macOS some
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
