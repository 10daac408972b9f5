"""Gearman's binary packets to bytes and back: no sockets here, so every rule is tested without a network.

A packet is a 12-byte header (magic, kind, size of the body; big-endian) and a body of NUL-separated arguments, the
last of which may hold NULs itself. Source: gearmand's PROTOCOL file; the kinds' numbers are in ``gearman.protocol``.
"""

from __future__ import annotations

import struct

from gearman.errors import ProtocolError
from gearman.protocol import COMMAND_HEADER_SIZE, GEARMAN_PARAMS_FOR_COMMAND

REQUEST = b"\0REQ"
RESPONSE = b"\0RES"

#: A packet taken apart: its kind and its arguments.
Packet = tuple[int, list[bytes]]

_HEADER = struct.Struct("!4sII")

#: How often a body of each kind is split: one time less than it has arguments.
_SPLITS = {kind: len(names) - 1 for kind, names in GEARMAN_PARAMS_FOR_COMMAND.items()}


def pack(kind: int, *arguments: bytes) -> bytes:
    """One request, ready to be sent. ValueError for a NUL in any argument but the last: it would split there."""
    for argument in arguments[:-1]:
        if b"\0" in argument:
            raise ValueError(f"NUL byte in an argument of packet {kind}: {arguments[:-1]!r}")
    body = b"\0".join(arguments)
    return _HEADER.pack(REQUEST, kind, len(body)) + body


def to_wire(text: str) -> bytes:
    """A name, handle or unique as it travels."""
    return text.encode("utf-8", "surrogateescape")


def to_text(wire: bytes) -> str:
    """A name, handle or unique as users see it; bytes that are not UTF-8 survive a round trip (PEP 383)."""
    return wire.decode("utf-8", "surrogateescape")


class PacketReader:
    """Takes bytes as they arrive and gives back the packets that they complete.

    It must take any cut of the stream, down to single bytes, and 64 MiB packets in pieces, at a cost of O(n) in
    bytes: whatever does not complete a packet is kept as the list of its pieces, and joined once, when the last byte
    is there. All packets of one piece come out in one pass.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = 0
        self._needed = COMMAND_HEADER_SIZE

    @property
    def missing(self) -> int:
        """How many bytes the packet under way lacks, as far as is known yet."""
        return self._needed - self._held

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that `data` completes, in order. ProtocolError when it is no response of a job server."""
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return []
            data = b"".join(self._pieces)
        packets: list[Packet] = []
        start, size = 0, len(data)
        self._needed = COMMAND_HEADER_SIZE
        while size - start >= COMMAND_HEADER_SIZE:
            magic, kind, length = _HEADER.unpack_from(data, start)
            if magic != RESPONSE:
                raise ProtocolError(f"expected a response of a job server, got {data[start : start + 12]!r}")
            body = start + COMMAND_HEADER_SIZE
            if body + length > size:
                self._needed += length
                break
            start = body + length
            packets.append((kind, _split(kind, data[body:start])))
        # Let go of the pieces only now: freed before the packets were made, their memory went back to the system and
        # was faulted in again for the next packet of 1 MiB, at 900 faults and a quarter of the speed.
        self._pieces = [data[start:]] if start < size else []
        self._held = size - start
        return packets


def _split(kind: int, body: bytes) -> list[bytes]:
    splits = _SPLITS.get(kind, 0)
    if splits < 0:
        return []
    arguments = body.split(b"\0", splits)
    if len(arguments) <= splits:
        raise ProtocolError(f"packet {kind} has {len(arguments)} arguments, not {splits + 1}: {body[:80]!r}")
    return arguments
