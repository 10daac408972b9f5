"""A packet reader makes the same packets of a stream however it is cut. What is no packet is a ProtocolError."""

from __future__ import annotations

import struct
import tracemalloc
from itertools import cycle

from gearman.errors import ProtocolError
from gearman.protocol import GEARMAN_PARAMS_FOR_COMMAND
from hypothesis import given
from hypothesis import strategies as st

from gearmancmd._wire.packet import Omitted, Packet, PacketReader
from tests.support.fuzzing import examples, inputs, tell

MIB = 1 << 20

#: Kinds that carry a payload: JOB_ASSIGN, WORK_COMPLETE, WORK_EXCEPTION, WORK_DATA, WORK_WARNING, JOB_ASSIGN_UNIQ.
PAYLOADS = {11, 13, 25, 28, 29, 31}

#: Bytes that a packet without a payload may have in any case, and in which a payload's names must stand.
NAMES = 4096


def response(kind: int, body: bytes, size: int | None = None) -> bytes:
    return b"\0RES" + struct.pack("!II", kind, len(body) if size is None else size) + body


kinds = st.one_of(st.sampled_from([*sorted(PAYLOADS), 6, 8, 10, 12, 14, 19, 20, 99]), st.integers(0, 2**32 - 1))
words = st.one_of(st.binary(max_size=12), st.binary(min_size=60, max_size=90))
packets = st.builds(response, kinds, st.lists(words, max_size=6).map(b"\0".join))
lies = st.builds(response, kinds, st.binary(max_size=20), st.integers(0, 2**32 - 1))
damages = st.tuples(st.integers(0, 2**10), st.integers(0, 20), st.binary(max_size=8))


def damaged(stream: bytes, places: list[tuple[int, int, bytes]]) -> bytes:
    """Something else stands at these places."""
    for start, length, instead in places:
        at = start % (len(stream) + 1)
        stream = stream[:at] + instead + stream[at + length :]
    return stream


streams = st.one_of(
    st.lists(packets, max_size=8).map(b"".join),
    st.builds(damaged, st.lists(packets, max_size=8).map(b"".join), st.lists(damages, min_size=1, max_size=3)),
    st.lists(st.one_of(packets, lies), max_size=4).map(b"".join),
    st.binary(max_size=60),
)
limits = st.one_of(st.integers(1, 60), st.integers(60, 200), st.just(20_000))
#: How many bytes come at once, and whether they are received into the reader's own space, as large bodies are.
lengths = st.one_of(st.integers(1, 20), st.integers(20, 2000))
cuts = st.lists(st.tuples(lengths, st.booleans()), min_size=1, max_size=6)


def read_whole(stream: bytes, limit: int) -> tuple[list[tuple[int, list[bytes | None]]], bool]:
    """The packets of a stream, with None for a payload above the limit, and whether something else follows them."""
    read: list[tuple[int, list[bytes | None]]] = []
    while len(stream) >= 12:
        magic, kind, size = struct.unpack("!4sII", stream[:12])
        body, stream = stream[12 : 12 + size], stream[12 + size :]
        if magic != b"\0RES" or (kind not in PAYLOADS and size > max(limit, NAMES)):
            return read, True
        if len(body) < size:
            break
        omitted = kind in PAYLOADS and size > limit
        count = len(GEARMAN_PARAMS_FOR_COMMAND.get(kind, ["all"]))
        arguments: list[bytes | None] = list((body[:NAMES] if omitted else body).split(b"\0", count - 1)) * bool(count)
        if len(arguments) < count:
            return read, True
        read.append((kind, [*arguments[:-1], None] if omitted else arguments))
    return read, False


def feed(reader: PacketReader, piece: bytes, into_space: bool) -> list[Packet]:
    packets: list[Packet] = []
    count = min(reader.missing, len(piece))
    if into_space and count:
        reader.space()[:count] = piece[:count]
        packets = reader.filled(count)
        piece = piece[count:]
    return packets + reader.feed(piece)


def read_in_pieces(stream: bytes, limit: int, pieces: list[tuple[int, bool]]) -> tuple[list[Packet], bool]:
    reader, read = PacketReader(limit), []
    ways = cycle(pieces)
    while stream:
        length, into_space = next(ways)
        try:
            read += feed(reader, stream[:length], into_space)
        except ProtocolError:
            return read, True
        stream = stream[length:]
    return read, False


def in_words(packet: Packet) -> tuple[int, list[bytes | None]]:
    kind, arguments = packet
    return kind, [None if isinstance(argument, Omitted) else argument for argument in arguments]


@inputs(400)
@given(stream=streams, limit=limits, pieces=cuts)
@examples("packets.jsonl", lambda kept: {"stream": bytes.fromhex(kept[0]), "limit": kept[1], "pieces": [(1, False)]})
@examples("packets.jsonl", lambda kept: {"stream": bytes.fromhex(kept[0]), "limit": kept[1], "pieces": [(999, True)]})
def test_any_cut_of_any_stream_gives_the_same_packets(stream, limit, pieces):
    expected, broken = read_whole(stream, limit)
    read, refused = read_in_pieces(stream, limit, pieces)
    assert refused == broken
    # what a piece holds before the place where it breaks off goes with it
    assert [in_words(packet) for packet in read] == expected[: len(read) if broken else None]
    tell("packets", "ProtocolError" if broken else "packets" if read else "nothing whole")


@inputs(100)
@given(stream=st.lists(st.one_of(lies, packets), min_size=1, max_size=4).map(b"".join), limit=limits, pieces=cuts)
def test_no_stream_takes_more_memory_than_the_limit_allows(stream, limit, pieces):
    tracemalloc.start()
    try:
        read_in_pieces(stream, limit, pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB
    tell("packets: memory", "below 1 MiB")
