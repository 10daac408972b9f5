"""The yardstick: what one CPython thread can do on this machine. ``bare_worker.py HOST PORT PREFETCH``.

One blocking socket, one loop, and no more: no threads, no library of ours, nothing for the case that anything fails.
All jobs of one receive are done in a row, and answered in one write together with the next grabs.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

import simplejson

_CAN_DO, _PRE_SLEEP, _NOOP, _NO_JOB, _WORK_COMPLETE, _GRAB_JOB_UNIQ, _JOB_ASSIGN_UNIQ = 1, 4, 6, 10, 13, 30, 31

_HEADER = struct.Struct("!4sII")

#: Bytes: the largest packet, and with small jobs far more than arrives at once.
_ROOM = 4 << 20

# As our library makes them: the same JSON is asked of both.
_encode = simplejson.JSONEncoder(
    use_decimal=True, namedtuple_as_object=False, encoding=None, allow_nan=False, separators=(",", ":")
).encode
_decode = simplejson.JSONDecoder().decode

_FUNCTIONS: dict[bytes, Callable[[Any], Any]] = {
    b"reverse": lambda task: task["message"][::-1],
    b"echo": lambda task: task["message"],
}


def _packet(kind: int, body: bytes = b"") -> bytes:
    return _HEADER.pack(b"\0REQ", kind, len(body)) + body


def _answer(body: bytes) -> bytes:
    handle, function, _, payload = body.split(b"\0", 3)
    result = _encode(_FUNCTIONS[function](_decode(payload.decode())))
    header = _HEADER.pack(b"\0REQ", _WORK_COMPLETE, len(handle) + 1 + len(result))
    return b"".join((header, handle, b"\0", result.encode()))


def main(host: str, port: int, prefetch: int) -> None:
    """Work until the process is killed or the server gone."""
    bytes(16 << 20)  # freed at once: glibc then keeps what is freed, where each 1 MiB job faulted in 1,500 pages anew
    connection = socket.create_connection((host, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    grab, sleep = _packet(_GRAB_JOB_UNIQ), _packet(_PRE_SLEEP)
    connection.sendall(b"".join(_packet(_CAN_DO, function) for function in _FUNCTIONS) + grab * prefetch)
    grabs = prefetch
    view = memoryview(bytearray(_ROOM))
    filled, needed = 0, _HEADER.size
    while received := connection.recv_into(view[filled:]):
        filled += received
        if filled < needed:
            continue
        start, needed, awake = 0, _HEADER.size, False
        out: list[bytes] = []
        while start + _HEADER.size <= filled:
            _, kind, size = _HEADER.unpack_from(view, start)
            end = start + _HEADER.size + size
            if end > filled:
                needed += size
                break
            if kind == _JOB_ASSIGN_UNIQ:
                out.append(_answer(bytes(view[start + _HEADER.size : end])))
                grabs -= 1
            elif kind == _NO_JOB:
                grabs -= 1
            elif kind == _NOOP:
                awake = True
            start = end
        if start:
            view[: filled - start] = bytes(view[start:filled])
            filled -= start
        if out or awake:
            out.append(grab * (prefetch - grabs))
            grabs = prefetch
        elif grabs == 0:
            out.append(sleep)
        if out:
            connection.sendall(b"".join(out))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
