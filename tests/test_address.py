"""The forms of a server, good and bad."""

from __future__ import annotations

import pytest

from gearmancmd import GearmanCMD, JSONGearmanWorker
from gearmancmd.address import Address, parse_address


@pytest.mark.parametrize(
    "server, expected",
    [
        ("example.org:7003", Address("example.org", 7003)),
        ("example.org", Address("example.org", 4730)),
        ("10.0.0.1:7003", Address("10.0.0.1", 7003)),
        ("::1", Address("::1", 4730)),
        ("[::1]", Address("::1", 4730)),
        ("[fe80::1]:7003", Address("fe80::1", 7003)),
        (("example.org", 7003), Address("example.org", 7003)),
        (("example.org", "7003"), Address("example.org", 7003)),
        (("::1", 7003), Address("::1", 7003)),
        ({"host": "example.org"}, Address("example.org", 4730)),
        ({"host": "example.org", "port": None}, Address("example.org", 4730)),
        (
            {"host": "example.org", "port": 7003, "keyfile": None, "certfile": None, "ca_certs": None},
            Address("example.org", 7003),
        ),
    ],
)
def test_each_form_of_a_server(server, expected):
    assert parse_address(server) == expected
    assert not expected.tls


@pytest.mark.parametrize("text", ["example.org:7003", "[::1]:7003"])
def test_an_address_reads_as_it_was_written(text):
    assert str(parse_address(text)) == text


BAD = [
    ("example.org:http", ValueError, "'http'"),
    ("example.org:", ValueError, "port"),
    ("example.org:0", ValueError, "'0'"),
    ("example.org:70000", ValueError, "'70000'"),
    ("example.org:-1", ValueError, "'-1'"),
    ("", ValueError, "host"),
    (":4730", ValueError, "host"),
    ("[::1", ValueError, r"\[::1"),
    ("[::1]4730", ValueError, "4730"),
    ("two words", ValueError, "two words"),
    (("example.org",), ValueError, "example.org"),
    (("example.org", 4730, 1), ValueError, "example.org"),
    (("example.org", 4730.5), TypeError, "4730.5"),
    (("example.org", True), TypeError, "True"),
    ((5, 4730), TypeError, "host must be a str, not 5"),
    (4730, TypeError, "4730"),
    (None, TypeError, "None"),
    (["example.org", 4730], TypeError, "example.org"),
    ({"host": "example.org", "prot": 4730}, ValueError, "'prot'"),
    ({"port": 4730}, ValueError, "no host"),
    ({"host": "example.org", "keyfile": __file__}, ValueError, "certfile"),
    ({"host": "example.org", "ca_certs": "/no/such/file"}, ValueError, "ca_certs is no file: '/no/such/file'"),
    ({"host": "example.org", "ca_certs": 5}, TypeError, "ca_certs must be a path, not 5"),
    ({"host": "example.org", "ca_certs": __file__}, ValueError, "TLS files cannot be used"),
]


@pytest.mark.parametrize("server, error, text", BAD)
@pytest.mark.parametrize("entrance", [GearmanCMD, JSONGearmanWorker])
def test_a_bad_server_is_refused_where_it_enters(server, error, text, entrance):
    with pytest.raises(error, match=text) as caught:
        entrance(["localhost", server])
    assert ("servers[1]" if entrance is GearmanCMD else "host_list[1]") in str(caught.value)


@pytest.mark.parametrize("servers", ["localhost:4730", b"localhost", {"host": "localhost"}, None, 4730])
def test_something_else_than_a_list_is_refused(servers):
    with pytest.raises(TypeError, match="servers must be a list of servers"):
        GearmanCMD(servers)


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match=r"servers must name at least one server, not \[\]"):
        GearmanCMD([])


def test_a_generator_of_servers_is_read_once():
    assert GearmanCMD(server for server in ["localhost"]).servers == ["localhost"]
