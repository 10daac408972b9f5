"""Gearman's binary packets to bytes and back: no sockets here, so every rule is tested without a network.

A packet is a 12-byte header (magic, kind, size of the body; big-endian) and a body of NUL-separated arguments, the
last of which may hold NULs itself. Source: gearmand's PROTOCOL file; the kinds' numbers are in ``gearman.protocol``.
"""

from __future__ import annotations

import struct

from gearman import protocol as kinds
from gearman.errors import ProtocolError
from gearman.protocol import COMMAND_HEADER_SIZE, GEARMAN_PARAMS_FOR_COMMAND

REQUEST = b"\0REQ"
RESPONSE = b"\0RES"

#: Bytes that a packet's body may have by default. A larger one is read past.
MAX_PAYLOAD = 256 * 1024 * 1024

#: Bytes in which the names stand in front of a payload that is read past: gearmand's own limits come to 640. A packet
#: without a payload may have as many, whatever `max_payload` is.
_NAMES_LIMIT = 4096

#: Bytes of a buffer that is kept for the next packet.
_SPARE_LIMIT = 4 * 1024 * 1024

#: glibc gives what is freed at the top of its heap back to the system, and each MiB fetched anew costs 250 page
#: faults: half of a worker's speed with payloads of 1 MiB. It keeps twice the size of the largest block that was ever
#: mapped and freed. So before the first large body such a block is taken, untouched, and freed.
_LARGE_BODY = 256 * 1024
_MEMORY_KEPT = 16 * 1024 * 1024

#: Bytes of data that are not copied to stand in one piece with their header.
_LARGE_DATA = 64 * 1024

#: A packet taken apart: its kind and its arguments. The last argument may be :class:`Omitted`.
Packet = tuple[int, list[bytes]]

_HEADER = struct.Struct("!4sII")

#: How often a body of each kind is split: one time less than it has arguments.
_SPLITS = {kind: len(names) - 1 for kind, names in GEARMAN_PARAMS_FOR_COMMAND.items()}

#: Kinds that carry a payload of a user's own.
_PAYLOADS = {
    kinds.GEARMAN_COMMAND_JOB_ASSIGN,
    kinds.GEARMAN_COMMAND_JOB_ASSIGN_UNIQ,
    kinds.GEARMAN_COMMAND_WORK_COMPLETE,
    kinds.GEARMAN_COMMAND_WORK_DATA,
    kinds.GEARMAN_COMMAND_WORK_WARNING,
    kinds.GEARMAN_COMMAND_WORK_EXCEPTION,
}


class Omitted(bytes):
    """Stands, empty, where a payload was read past; `reason` says why."""

    def __new__(cls, reason: str) -> Omitted:
        """An empty payload."""
        del reason
        return super().__new__(cls)

    def __init__(self, reason: str) -> None:
        self.reason = reason


def pack(kind: int, *arguments: bytes) -> bytes:
    """One request, ready to be sent. ValueError for a NUL in any argument but the last: it would split there."""
    body = b"\0".join(arguments)
    if len(arguments) > 1 and body.count(b"\0", 0, len(body) - len(arguments[-1])) >= len(arguments):
        raise ValueError(f"NUL byte in an argument of packet {kind}: {arguments[:-1]!r}")
    return _HEADER.pack(REQUEST, kind, len(body)) + body


def pack_work(kind: int, handle: bytes, *data: bytes) -> tuple[bytes, ...]:
    """One packet about a job, in one piece or, so that large data is not copied, in two. Its handle came in a packet,
    so there is no NUL in it to be looked for.
    """
    if data and len(data[-1]) > _LARGE_DATA:
        front = b"\0".join((handle, *data[:-1], b""))
        return _HEADER.pack(REQUEST, kind, len(front) + len(data[-1])) + front, data[-1]
    body = b"\0".join((handle, *data))
    return (_HEADER.pack(REQUEST, kind, len(body)) + body,)


def as_responses(requests: bytes) -> bytes:
    """Whole requests as a server passes them on: the packets of a job have the same body both ways."""
    responses = bytearray(requests)
    start = 0
    while start < len(responses):
        _, kind, size = _HEADER.unpack_from(responses, start)
        _HEADER.pack_into(responses, start, RESPONSE, kind, size)
        start += COMMAND_HEADER_SIZE + size
    return bytes(responses)


def to_wire(text: str) -> bytes:
    """A name, handle or unique as it travels."""
    return text.encode("utf-8", "surrogateescape")


def to_text(wire: bytes) -> str:
    """A name, handle or unique as users see it; bytes that are not UTF-8 survive a round trip (PEP 383)."""
    return wire.decode("utf-8", "surrogateescape")


def number(text: bytes | str) -> int:
    """A count as workers send it: integers by the protocol, and whatever they like in fact, which counts as 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


class PacketReader:
    """Takes bytes as they arrive and gives back the packets that they complete, whatever the cut of the stream.

    A packet that arrives in pieces has one buffer, of its own size; at most twice its size is in memory when its
    payload is taken out of it. A body above `max_payload` bytes, or one for which there is no memory, is read past:
    of a job or a result the names are kept, and :class:`Omitted` stands for the payload; any other kind is a
    ProtocolError, but for a small one.
    """

    def __init__(self, max_payload: int = MAX_PAYLOAD) -> None:
        self._max_payload = max_payload
        #: Bytes of a header that has not arrived whole.
        self._tail = b""
        self._kind = 0
        #: The body under way, how much of it is there, and how long it is.
        self._body: bytearray | None = None
        self._filled = 0
        self._size = 0
        #: The buffer of the packet before: memory fetched from the system anew costs 250 page faults a MiB.
        self._spare: bytearray | None = None
        #: Why the body is read past; "" when it is kept.
        self._omitted = ""

    @property
    def missing(self) -> int:
        """How many bytes the body under way lacks, if it is kept."""
        return self._size - self._filled if self._body is not None and not self._omitted else 0

    def space(self) -> memoryview:
        """Where the rest of the body under way is to be received; :meth:`filled` takes it in."""
        assert self._body is not None
        return memoryview(self._body)[self._filled :]

    def filled(self, count: int) -> list[Packet]:
        """`count` bytes were received into :meth:`space`: the packet, if they complete it."""
        self._filled += count
        return [self._complete()] if self._filled == self._size else []

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that `data` completes, in order. ProtocolError when it is no response of a job server."""
        packets: list[Packet] = []
        start = 0
        if self._body is not None:
            start = self._fill(data, 0)
            if self._filled < self._size:
                return packets
            packets.append(self._complete())
        elif self._tail:
            data = self._tail + data
            self._tail = b""
        size = len(data)
        while size - start >= COMMAND_HEADER_SIZE:
            magic, kind, length = _HEADER.unpack_from(data, start)
            if magic != RESPONSE:
                raise ProtocolError(f"expected a response of a job server, got {data[start : start + 12]!r}")
            body = start + COMMAND_HEADER_SIZE
            if length > size - body or length > self._max_payload:
                self._begin(kind, length)
                start = self._fill(data, body)
                if self._filled < self._size:
                    return packets
                packets.append(self._complete())
                continue
            start = body + length
            packets.append((kind, _split(kind, data[body:start])))
        self._tail = data[start:]
        return packets

    def _begin(self, kind: int, length: int) -> None:
        self._kind, self._size, self._filled, self._omitted = kind, length, 0, ""
        if length > self._max_payload and (kind in _PAYLOADS or length > _NAMES_LIMIT):
            self._omit(f"its {length} bytes are more than max_payload, which is {self._max_payload}")
            return
        body, self._spare = self._spare, None
        if body is not None and len(body) >= length:
            del body[length:]
            self._body = body
            return
        try:
            if length >= _LARGE_BODY:
                bytearray(_MEMORY_KEPT)
            self._body = bytearray(length)
        except MemoryError:
            self._omit(f"there is no memory for its {length} bytes")

    def _omit(self, why: str) -> None:
        if self._kind not in _PAYLOADS:
            raise ProtocolError(f"packet {self._kind} is not to be had: {why}")
        self._omitted = why
        self._body = bytearray(min(self._size, _NAMES_LIMIT))

    def _fill(self, data: bytes, start: int) -> int:
        """Take what belongs to the body under way; where the rest of `data` starts."""
        assert self._body is not None
        end = min(len(data), start + self._size - self._filled)
        kept = self._body
        if self._filled < len(kept):
            stop = min(end, start + len(kept) - self._filled)
            kept[self._filled : self._filled + stop - start] = data[start:stop]
        self._filled += end - start
        return end

    def _complete(self) -> Packet:
        body, self._body = self._body, None
        assert body is not None
        kind, size = self._kind, self._size
        if not self._omitted:
            try:
                arguments = _split(kind, body)
            except MemoryError:
                self._omit(f"there is no memory for its {size} bytes")
                self._body = None
            else:
                self._spare = body if size <= _SPARE_LIMIT else None
                return kind, arguments
        return kind, [*_split(kind, body[:_NAMES_LIMIT])[:-1], Omitted(self._omitted)]


def _split(kind: int, body: bytes | bytearray) -> list[bytes]:
    splits = _SPLITS.get(kind, 0)
    if splits < 0:
        return []
    arguments = body.split(b"\0", splits) if isinstance(body, bytes) else _split_buffer(body, splits)
    if len(arguments) <= splits:
        raise ProtocolError(f"packet {kind} has {len(arguments)} arguments, not {splits + 1}: {bytes(body[:80])!r}")
    return arguments


def _split_buffer(body: bytes | bytearray, splits: int) -> list[bytes]:
    """As bytes.split() does, with one copy of the last argument, which may be a large payload."""
    arguments: list[bytes] = []
    start = 0
    for _ in range(splits):
        end = body.find(b"\0", start)
        if end < 0:
            break
        arguments.append(bytes(body[start:end]))
        start = end + 1
    with memoryview(body) as view:
        arguments.append(bytes(view[start:]))
    return arguments
