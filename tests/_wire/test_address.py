"""The forms of a server, good and bad."""

from __future__ import annotations

import os

import pytest
import trustme
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from gearmancmd import (
    AsyncJSONGearmanClient,
    GearmanCMD,
    JSONGearmanClient,
    JSONGearmanWorker,
    servers_from_environment,
)
from gearmancmd._wire.address import Address, parse_address
from gearmancmd.admin import Admin
from gearmancmd.cli.program import program


@pytest.mark.parametrize(
    "server, expected",
    [
        ("example.org:7003", Address("example.org", 7003)),
        ("example.org", Address("example.org", 4730)),
        ("10.0.0.1:7003", Address("10.0.0.1", 7003)),
        ("::1", Address("::1", 4730)),
        ("[::1]", Address("::1", 4730)),
        ("[fe80::1]:7003", Address("fe80::1", 7003)),
        ("fe80::1", Address("fe80::1", 4730)),
        ("2001:db8::1", Address("2001:db8::1", 4730)),
        ("2001:db8::4730", Address("2001:db8::4730", 4730)),
        ("1:2:3:4:5:6:7:4730", Address("1:2:3:4:5:6:7:4730", 4730)),
        ("::ffff:10.0.0.1", Address("::ffff:10.0.0.1", 4730)),
        ("fe80::1%eth0", Address("fe80::1%eth0", 4730)),
        ("[fe80::1%eth0]:7003", Address("fe80::1%eth0", 7003)),
        ("[::1:4730]", Address("::1:4730", 4730)),
        (("::1:4730", 7003), Address("::1:4730", 7003)),
        ("example.org.:7003", Address("example.org.", 7003)),
        ("project_gearmand_1:7003", Address("project_gearmand_1", 7003)),
        ("gearmand.1.task", Address("gearmand.1.task", 4730)),
        ("123456789012", Address("123456789012", 4730)),
        ("b\u00fccher.example", Address("b\u00fccher.example", 4730)),
        ("x" * 63 + ".example", Address("x" * 63 + ".example", 4730)),
        ("127.1:7003", Address("127.1", 7003)),
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


@pytest.mark.parametrize("text", ["example.org:7003", "[::1]:7003", "[fe80::1%eth0]:7003", "[::1:4730]:7003"])
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
    ({"host": "example.org", "ca_certs": "/no/such/file"}, ValueError, "ca_certs is not a file: '/no/such/file'"),
    ({"host": "example.org", "ca_certs": ""}, ValueError, "ca_certs is not a file: ''"),
    ({"host": "example.org", "ca_certs": "a\0b"}, ValueError, "ca_certs is not a file: "),
    ({"host": "example.org", "ca_certs": b"/etc/hosts"}, TypeError, "ca_certs must be a path, not b'/etc/hosts'"),
    ({"host": "example.org", "ca_certs": 5}, TypeError, "ca_certs must be a path, not 5"),
    ({"host": "example.org", "ca_certs": __file__}, ValueError, "TLS files cannot be used"),
]


# Names that no resolver can ever know, and what is wrong with each.
NEVER = [
    ("a..b", "a part of it is empty"),
    (".x", "a part of it is empty"),
    ("x..", "a part of it is empty"),
    (".", "it is empty"),
    ("a" * 64 + ".example", "longer than 63 characters"),
    ("\u00e9" * 60, "longer than 63 characters|no form in ASCII"),  # too long once it is encoded
    (".".join(["abc"] * 64), "longer than 253 characters"),
    ("x" * 1_000_000, "longer than 253 characters"),
    ("\udc80", "no form in ASCII"),
    ("\uff1a\uff1a1", "':' cannot be part of a name"),  # full-width colons
    ("a\0b", r"'\\x00' cannot be part of a name"),
    ("a\x1bb", r"'\\x1b' cannot be part of a name"),
    ("a\x7fb", r"'\\x7f' cannot be part of a name"),
    ("a b", "' ' cannot be part of a name"),
    ("user@example.org", "'@' cannot be part of a name"),
    ("example.org/path", "'/' cannot be part of a name"),
    ("example.org?query", r"'\?' cannot be part of a name"),
    ("example.org#part", "'#' cannot be part of a name"),
    ("example.org%eth0", "'%' cannot be part of a name"),
    ("256.1.1.1", "not an IPv4 address"),
    ("10.0.0.1.5", "not an IPv4 address"),
    ("127.0.0.1.", "not an IPv4 address"),
    ("fe80::zz", "not an IPv6 address"),
    ("::12345", "not an IPv6 address"),
    ("1::2::3", "not an IPv6 address"),
    ("fe80::1%", "not an IPv6 address"),
    ("fe80::1%a/b", "not an IPv6 address"),
    ("one:two:three", "not an IPv6 address"),
]
FORMS = {"text": lambda host: host, "tuple": lambda host: (host, 4730), "dict": lambda host: {"host": host}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("host, fault", NEVER)
def test_a_host_that_can_never_be_reached_is_refused_with_the_reason(host, fault, form):
    with pytest.raises(ValueError, match=fault) as refused:
        parse_address(FORMS[form](host), "servers[1]")
    assert f"servers[1]: host must be a name or an address, not {host!r}" in str(refused.value)


# What was meant is clear, and so is what to write instead.
INSTEAD = [
    ("::1:4730", "'[::1]:4730' or '[::1:4730]'"),
    ("fe80::1:1024", "'[fe80::1]:1024' or '[fe80::1:1024]'"),
    (":::4730", "'[::]:4730'"),
    ("::1:14730", "'[::1]:14730'"),
    ("1:2:3:4:5:6:7:8:80", "'[1:2:3:4:5:6:7:8]:80'"),
    ("fe80::1%eth0:4730", "'[fe80::1%eth0]:4730'"),
    ("::ffff:10.0.0.1:4730", "'[::ffff:10.0.0.1]:4730'"),
    ("http://example.org:7003/", "'example.org:7003'"),
    ("gearman://example.org", "'example.org'"),
    ("tcp://[::1]:4730", "'[::1]:4730'"),
    ("https://user:secret@example.org:7003/?a", "'example.org:7003'"),
    ("http://", "'host:port'"),
    (("http://example.org", 4730), "'example.org'"),
    ({"host": "http://example.org"}, "'example.org'"),
]


@pytest.mark.parametrize("server, instead", INSTEAD)
def test_the_error_says_what_to_write_instead(server, instead):
    with pytest.raises(ValueError, match=r"^servers\[1\]") as refused:
        parse_address(server, "servers[1]")
    assert f"write {instead}" in str(refused.value)


@pytest.mark.parametrize("server, error, text", BAD)
@pytest.mark.parametrize("entrance", [GearmanCMD, JSONGearmanWorker, JSONGearmanClient, AsyncJSONGearmanClient, Admin])
def test_a_bad_server_is_refused_where_it_enters(server, error, text, entrance):
    with pytest.raises(error, match=text) as caught:
        entrance(["localhost", server])
    assert ("host_list[1]" if entrance is JSONGearmanWorker else "servers[1]") in str(caught.value)


@pytest.mark.parametrize("server", ["::1:4730", "http://localhost:4730", "a..b", "fe80::zz"])
def test_the_command_line_says_the_same(server, monkeypatch):
    with pytest.raises(ValueError) as refused:
        parse_address(server, "-s")
    asked = CliRunner().invoke(program, ["status", "-s", server])
    assert asked.exit_code == 2
    assert str(refused.value) in " ".join(asked.output.split())
    monkeypatch.setenv("GEARMAN_SERVERS", f"localhost,{server}")
    asked = CliRunner().invoke(program, ["status"])
    assert asked.exit_code == 2
    assert str(refused.value).replace("-s", "GEARMAN_SERVERS", 1) in " ".join(asked.output.split())


@pytest.mark.parametrize("servers", ["localhost:4730", b"localhost", {"host": "localhost"}, None, 4730])
def test_something_else_than_a_list_is_refused(servers):
    with pytest.raises(TypeError, match="servers must be a list of servers"):
        GearmanCMD(servers)


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match=r"servers must name at least one server, not \[\]"):
        GearmanCMD([])


def test_a_generator_of_servers_is_read_once():
    assert GearmanCMD(server for server in ["localhost"]).servers == ["localhost"]


# TLS files.


class Path:
    """A path-like object of another library, which may be bytes inside."""

    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return self._path


@pytest.fixture
def files(tmp_path):
    """The paths of an authority, a certificate, its key, and the same key under a passphrase."""
    authority = trustme.CA()
    certificate = authority.issue_cert("worker.example")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    return tmp_path


@pytest.mark.parametrize("kind", [str, lambda path: path, lambda path: Path(str(path)), lambda path: Path(bytes(path))])
def test_tls_files_are_paths_of_any_kind(files, kind):
    names = {"ca_certs": "ca.pem", "certfile": "cert.pem", "keyfile": "key.pem"}
    address = parse_address({"host": "localhost", **{key: kind(files / name) for key, name in names.items()}})
    assert address.tls
    assert {key: getattr(address, key) for key in names} == {key: str(files / name) for key, name in names.items()}


@pytest.mark.parametrize("given", [["ca_certs"], ["certfile", "keyfile"]])
def test_any_of_the_files_makes_it_tls(files, given):
    names = {"ca_certs": "ca.pem", "certfile": "cert.pem", "keyfile": "key.pem"}
    assert parse_address({"host": "localhost", **{key: files / names[key] for key in given}}).tls


def test_a_key_with_a_passphrase_is_refused_and_asked_for_nowhere(files):
    where = {"host": "localhost", "certfile": files / "cert.pem", "keyfile": files / "locked.pem"}
    with pytest.raises(ValueError, match=r"^server: the TLS files cannot be used: the key asks for a passphrase"):
        parse_address(where)


def test_a_directory_is_not_a_file(files):
    with pytest.raises(ValueError, match="ca_certs is not a file"):
        parse_address({"host": "localhost", "ca_certs": os.fspath(files)})


def test_what_openssl_says_of_a_file_comes_without_its_codes(files):
    with pytest.raises(ValueError, match=r"the TLS files cannot be used: [^\[(]+: Address\("):
        parse_address({"host": "localhost", "certfile": files / "cert.pem", "keyfile": files / "ca.pem"})


@pytest.mark.parametrize(
    "host, name",
    [("example.org.", "example.org"), ("fe80::1%eth0", "fe80::1"), ("::1", "::1"), ("example.org", "example.org")],
)
def test_certificates_name_the_host_without_what_only_resolvers_need(host, name):
    assert Address(host).tls_name == name


# GEARMAN_SERVERS.


@pytest.mark.parametrize(
    ("value", "servers"),
    [
        (None, ["localhost:4730"]),
        ("", ["localhost:4730"]),
        (" , ", ["localhost:4730"]),
        ("a.example", ["a.example"]),
        ("a.example:1, [::1]:2 ,::1,", ["a.example:1", "[::1]:2", "::1"]),
    ],
)
def test_servers_from_environment(value, servers, monkeypatch):
    monkeypatch.delenv("GEARMAN_SERVERS", raising=False)
    if value is not None:
        monkeypatch.setenv("GEARMAN_SERVERS", value)
    assert servers_from_environment() == servers
    GearmanCMD(servers_from_environment())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a.example,b.example:x", "GEARMAN_SERVERS: port must be a number, not 'x'"),
        ("http://a.example", "http://a.example"),
        ("a..b", "a..b"),
    ],
)
def test_a_wrong_server_in_the_environment_is_named(value, text, monkeypatch):
    monkeypatch.setenv("GEARMAN_SERVERS", value)
    with pytest.raises(ValueError, match="GEARMAN_SERVERS") as raised:
        servers_from_environment()
    assert text in str(raised.value)
