"""Packets to bytes and back. What any bytes and any cut of them come to is in tests/fuzz/test_packets.py."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from gearman.errors import ProtocolError
from hypothesis import example, given
from hypothesis import strategies as st

from gearmancmd._wire import packet
from gearmancmd._wire.packet import Omitted, Packet, PacketReader, as_responses, number, pack, to_text, to_wire

MIB = 1 << 20


def response(kind: int, body: bytes) -> bytes:
    return b"\0RES" + struct.pack("!II", kind, len(body)) + body


def test_a_request_is_magic_kind_size_and_arguments():
    assert pack(13, b"H:x:1", b"re\0sult") == b"\0REQ\0\0\0\x0d\0\0\0\x0dH:x:1\0re\0sult"
    assert pack(30) == b"\0REQ\0\0\0\x1e\0\0\0\0"


def test_only_the_last_argument_may_hold_a_nul():
    with pytest.raises(ValueError, match="NUL"):
        pack(13, b"H:\0", b"result")


def test_requests_about_jobs_are_passed_on_as_responses():
    requests = pack(12, b"H:x:1", b"1", b"2") + pack(13, b"H:x:1", b"\0REQ") + pack(14, b"H:x:1")
    assert as_responses(requests) == requests.replace(b"\0REQ\0\0", b"\0RES\0\0")
    packets = PacketReader().feed(as_responses(requests))
    assert packets == [(12, [b"H:x:1", b"1", b"2"]), (13, [b"H:x:1", b"\0REQ"]), (14, [b"H:x:1"])]


def test_the_last_argument_keeps_its_nuls():
    body = b"H\0task\0u\0pay\0load\0"
    assert PacketReader().feed(response(31, body)) == [(31, [b"H", b"task", b"u", b"pay\0load\0"])]


def test_a_packet_without_arguments_has_none():
    assert PacketReader().feed(response(10, b"") + response(6, b"")) == [(10, []), (6, [])]


def test_an_unknown_kind_comes_as_one_argument():
    assert PacketReader().feed(response(99, b"a\0b")) == [(99, [b"a\0b"])]


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 200 OK", pack(30), response(31, b"H\0task"), response(10, b"")[::-1]])
def test_rubbish_is_refused(rubbish):
    with pytest.raises(ProtocolError):
        PacketReader().feed(rubbish)


def test_what_is_missing_of_a_packet_is_known_from_its_header():
    reader = PacketReader()
    stream = response(17, b"x" * 1000)
    assert reader.feed(stream[:12]) == []
    assert reader.missing == 1000
    assert reader.feed(stream[12:500]) == []
    assert reader.missing == 512
    assert reader.feed(stream[500:]) == [(17, [b"x" * 1000])]


@given(st.binary())
def test_names_survive_the_round_trip(wire):
    assert to_wire(to_text(wire)) == wire


@given(st.one_of(st.text(), st.binary()))
@example("²")
@example("٣")
@example("-1")
@example("+1")
@example("1_000")
@example(" 1")
@example("0x10")
@example("1.5")
@example("9" * 5000)
@example(b"9" * 5000)
@example(b"\xb2")
@example(b"")
def test_a_number_from_the_wire_is_a_count_whatever_it_is(text):
    assert 0 <= number(text) < 10**19


@given(st.integers(0, 2**63))
def test_a_count_comes_as_it_was_sent(count):
    assert number(str(count)) == number(b"%d" % count) == count


@pytest.mark.parametrize("text", ["²", "-1", "9" * 5000, "٣", "", "1.5"])
def test_what_is_no_count_counts_as_none(text):
    assert number(text) == number(text.encode()) == 0


# Payloads that are too large.

LIMIT = 60


@pytest.mark.parametrize("size, taken", [(LIMIT, True), (LIMIT + 1, False)])
def test_max_payload_is_what_a_packet_may_have(size, taken):
    body = b"H\0task\0u\0".ljust(size, b"x")
    [(_, arguments)] = PacketReader(LIMIT).feed(response(31, body))
    assert isinstance(arguments[3], Omitted) is not taken
    if not taken:
        assert arguments[3].reason == "its 61 bytes are more than max_payload, which is 60"


@pytest.mark.parametrize("kind", [6, 8, 10, 19, 99])
def test_a_packet_that_carries_no_payload_may_not_be_large(kind):
    with pytest.raises(ProtocolError, match="4294967295 bytes"):
        PacketReader().feed(b"\0RES" + struct.pack("!II", kind, 2**32 - 1))


def test_a_small_max_payload_is_no_limit_for_what_carries_no_payload():
    error = b"CODE\0" + b"text" * 100
    assert PacketReader(1).feed(response(19, error) + response(10, b"")) == [(19, error.split(b"\0")), (10, [])]


def test_four_gigabytes_are_read_past_in_no_memory():
    names, size = b"H\0task\0u\0", 2**32 - 1
    piece = bytes(16 * MIB)
    reader = PacketReader()
    tracemalloc.start()
    try:
        assert reader.feed(b"\0RES" + struct.pack("!II", 31, size) + names) == []
        left = size - len(names)
        while left > len(piece):
            assert reader.feed(piece) == []
            left -= len(piece)
        [(_, arguments), following] = reader.feed(piece[:left] + response(10, b""))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert arguments == [b"H", b"task", b"u", b""]
    assert isinstance(arguments[3], Omitted) and following == (10, [])
    assert peak < 3 * len(piece)


def feed_in_pieces(reader: PacketReader, header: bytes, size: int) -> list[Packet]:
    received = reader.feed(header)
    piece = b"x" * (64 * 1024)
    for _ in range(size // len(piece)):
        received += reader.feed(piece)
    return received


def receive_into_its_space(reader: PacketReader, header: bytes, size: int) -> list[Packet]:
    received = reader.feed(header)
    while not received:
        count = min(len(reader.space()), 64 * 1024)
        reader.space()[:count] = b"x" * count
        received += reader.filled(count)
    return received


@pytest.mark.parametrize("receive", [feed_in_pieces, receive_into_its_space])
def test_a_large_packet_takes_twice_its_size(receive):
    names, size = b"H\0task\0u\0", 64 * MIB
    header = b"\0RES" + struct.pack("!II", 31, len(names) + size) + names
    tracemalloc.start()
    try:
        [(_, arguments)] = receive(PacketReader(), header, size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert arguments[:3] == [b"H", b"task", b"u"] and arguments[3] == b"x" * size
    assert peak < 2.2 * size


def scarce(limit: int, kind: type) -> type:
    """A type of which there is no memory for more than `limit` bytes."""

    class Scarce(kind):  # type: ignore[misc, valid-type]
        def __new__(cls, source=b""):
            if (source if isinstance(source, int) else len(source)) > limit:
                raise MemoryError
            return kind(source)

    return Scarce


@pytest.mark.parametrize("kind", [bytearray, bytes], ids=["to receive it", "to take it out"])
@pytest.mark.parametrize("cut", [7, 5000, 64 * 1024])
def test_where_memory_is_scarce_only_the_packet_that_needs_it_is_omitted(monkeypatch, kind, cut):
    names = b"H\0task\0u\0"
    small = response(31, names + b"small")
    stream = small + response(31, names + bytes(100_000)) + small + small
    monkeypatch.setattr(packet, kind.__name__, scarce(90_000, kind), raising=False)
    reader = PacketReader()
    received = [packet for at in range(0, len(stream), cut) for packet in reader.feed(stream[at : at + cut])]
    payloads = [arguments.pop() for _, arguments in received]
    assert [arguments for _, arguments in received] == [[b"H", b"task", b"u"]] * 4
    assert payloads[1].reason == f"there is no memory for its {100_000 + len(names)} bytes"
    assert payloads[:1] + payloads[2:] == [b"small"] * 3


def test_where_memory_is_scarce_a_packet_without_a_payload_breaks_the_connection(monkeypatch):
    monkeypatch.setattr(packet, "bytearray", scarce(90_000, bytearray), raising=False)
    with pytest.raises(ProtocolError, match="no memory"):
        PacketReader().feed(b"\0RES" + struct.pack("!II", 19, 100_000))
