"""Whatever is written for a server is refused with its name and what is wrong, or is an address that reads the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmancmd._wire.address import Address, parse_address
from tests.support.fuzzing import examples, inputs, tell

#: Categories of what steers a terminal, breaks a line, or cannot be written at all.
CONTROLS = {"Cc", "Cs", "Zl", "Zp"}

GOOD = ["example.org:7003", "[::1]:4730", "fe80::1%eth0", "10.0.0.1:4730", "b\u00fccher.example", "::ffff:10.0.0.1"]

#: What addresses are made of, and what looks like it: full-width digits and dots, other scripts' digits, line breaks.
ALPHABET = "abz019.:-_[]%/@# \0\n\t\u00fc\u00df\uff0e\uff1a\uff11\u0663\u00b2\u3002\u2024\u200d\udc80"

pieces = st.one_of(
    st.text(ALPHABET, max_size=12),
    st.text(max_size=6),
    st.sampled_from([*GOOD, "http://", "::1", "%eth0", ":4730", "]", "..", "xn--", "0x7f", "65536", "1" * 70]),
)
texts = st.lists(pieces, max_size=2).map("".join)
ports = st.one_of(st.integers(), st.integers(1, 65535), texts, st.floats(), st.booleans(), st.none())
things = st.one_of(texts, st.binary(max_size=8), ports, st.lists(texts, max_size=2), st.just(object))
keys = st.one_of(st.sampled_from(["host", "port", "keyfile", "certfile", "ca_certs"]), texts)
entries = st.dictionaries(keys, things, max_size=3)


def hosts(row: list[str]) -> list[str]:
    """Whatever stands side by side in a row of pieces.

    That is many of each draw: hypothesis takes some hundred times as long to draw a text as the library to read it.
    """
    places = range(len(row) + 1)
    return sorted({"".join(row[start:end]) for start in places for end in places})


def with_host(host: str, port: Any, entries: dict[str, Any]) -> Iterator[Any]:
    """Each form of a server that has this host, and what looks like one."""
    yield from (host, (host, port), {"host": host}, {"host": host, "port": port}, {"host": host, **entries})
    for thing in entries.values():
        yield from ((host, thing), (thing, host), (host, port, thing))


def without_host(port: Any, entries: dict[str, Any]) -> Iterator[Any]:
    """The same without a host, or with one that may be anything."""
    yield from ({"port": port}, entries, tuple(entries.values()))
    for thing in entries.values():
        yield from (thing, (thing,), (thing, port), {"host": thing, "port": port})


def parts(server: Any) -> Iterator[Any]:
    """A server, and what it is made of."""
    yield server
    if isinstance(server, Mapping):
        yield from (*server, *server.values())
    elif isinstance(server, tuple):
        yield from server


def named(server: Any, message: str) -> bool:
    """Whether the value, or a part of it, stands in the message as Python writes it."""
    if any(repr(part) in message for part in parts(server)):
        return True
    texts = [part for part in parts(server) if isinstance(part, str)]
    return any(
        repr(text[start:end]) in message
        for text in texts
        for start in range(len(text) + 1)
        for end in range(start, len(text) + 1)
    )


@inputs(100)
@given(row=st.lists(pieces, max_size=4), port=ports, entries=entries)
@examples("addresses.jsonl", lambda kept: {"row": [kept], "port": 4730, "entries": {}})
def test_a_server_is_refused_by_name_or_an_address_that_reads_the_same(row, port, entries):
    for host in hosts(row):
        for server in with_host(host, port, entries):
            check(server)
    for server in without_host(port, entries):
        check(server)


@pytest.mark.parametrize("good", GOOD)
def test_a_good_server_with_a_letter_more_anywhere_is_refused_by_name_or_reads_the_same(good):
    for letter in ALPHABET:
        for at in range(len(good) + 1):
            for server in with_host(good[:at] + letter + good[at:], 4730, {}):
                check(server)


def check(server: Any) -> None:
    try:
        address = parse_address(server, "servers[1]")
    except (TypeError, ValueError) as error:
        assert str(error).startswith("servers[1]") and named(server, str(error)), (server, error)
        tell("addresses", type(error).__name__)
        return
    assert isinstance(address, Address) and 0 < address.port < 65536, server
    assert not CONTROLS & {unicodedata.category(letter) for letter in str(address)}, server
    assert parse_address(str(address)) == address, server
    tell("addresses", "an address")
