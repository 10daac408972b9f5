"""Packets to bytes and back."""

from __future__ import annotations

import struct

import pytest
from gearman.errors import ProtocolError
from hypothesis import given
from hypothesis import strategies as st

from gearmancmd.protocol import PacketReader, pack, to_text, to_wire


def response(kind: int, body: bytes) -> bytes:
    return b"\0RES" + struct.pack("!II", kind, len(body)) + body


def test_a_request_is_magic_kind_size_and_arguments():
    assert pack(13, b"H:x:1", b"re\0sult") == b"\0REQ\0\0\0\x0d\0\0\0\x0dH:x:1\0re\0sult"
    assert pack(30) == b"\0REQ\0\0\0\x1e\0\0\0\0"


def test_only_the_last_argument_may_hold_a_nul():
    with pytest.raises(ValueError, match="NUL"):
        pack(13, b"H:\0", b"result")


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


packets = st.lists(st.tuples(st.just(31), st.tuples(*[st.binary(max_size=50)] * 4)), max_size=8)


@given(packets, st.data())
def test_any_cut_of_the_stream_gives_the_same_packets(sent, data):
    expected = [(kind, [a.replace(b"\0", b"") for a in args[:3]] + [args[3]]) for kind, args in sent]
    stream = b"".join(response(kind, b"\0".join(args)) for kind, args in expected)
    reader, received, start = PacketReader(), [], 0
    while start < len(stream):
        end = start + data.draw(st.integers(1, len(stream) - start))
        received += reader.feed(stream[start:end])
        start = end
    assert received == expected
    assert reader.missing == 12


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
