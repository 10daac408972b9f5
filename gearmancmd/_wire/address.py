"""Where a job server is: the forms in which users write it, checked at once and brought into one.

What can never be reached, however the network changes, is refused here; what is only unknown or down just now is not.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gearman.constants import DEFAULT_GEARMAN_PORT

#: The environment variable that libgearman reads too: "host:port,host:port".
SERVERS_VARIABLE = "GEARMAN_SERVERS"
DEFAULT_SERVER = "localhost:4730"

_TLS_KEYS = ("keyfile", "certfile", "ca_certs")
_FORMS = "'host:port', 'host', ('host', port) or a dict with host, port, keyfile, certfile, ca_certs"

# The limits of RFC 1035. Underscores are no part of it, but docker compose and others make such names.
_NAME_LENGTH = 253
_LABEL_LENGTH = 63
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_SCOPE = re.compile(r"[A-Za-z0-9_.~-]+")  # the interface in fe80::1%eth0
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# From here on a port may belong to anybody: the last group of "::1:4730" looks like one, that of "::1" does not.
_FIRST_USER_PORT = 1024


class Address(NamedTuple):
    """One job server. TLS is spoken when any of the three files (PEM) is given."""

    host: str
    port: int = DEFAULT_GEARMAN_PORT
    keyfile: str | None = None
    certfile: str | None = None
    ca_certs: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def tls_name(self) -> str:
        """The host as certificates have it: without the dot at the end of a name and the interface of fe80::1%eth0."""
        return self.host.partition("%")[0].removesuffix(".")

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return any((self.keyfile, self.certfile, self.ca_certs))

    def ssl_context(self) -> ssl.SSLContext:
        """A context that checks the server's certificate and host name and speaks TLS 1.2 or later.

        Without `ca_certs` the system's authorities are trusted; `certfile` and `keyfile` are the worker's own.
        """
        context = ssl.create_default_context(cafile=self.ca_certs)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certfile is not None:
            context.load_cert_chain(self.certfile, self.keyfile, password=_no_passphrase)
        return context


#: The forms of a server: "host:port", "host", ("host", port), gearman's dict, or an Address.
Server = str | tuple[str, int] | Mapping[str, object] | Address


def tls_reason(error: ssl.SSLError) -> str:
    """What OpenSSL says, such as "certificate verify failed: certificate has expired", without its codes and places."""
    return re.sub(r"^\[.*?\] | \(_ssl\.c:\d+\)$", "", str(error)).removesuffix(".")


def _no_passphrase() -> str:
    # else OpenSSL would ask for it on the terminal, and whoever connects would wait for ever
    raise OSError("the key asks for a passphrase")


def parse_addresses(servers: Iterable[Server], argument: str = "servers") -> list[Address]:
    """The addresses of a list of servers; TypeError or ValueError names the element that is not a server."""
    if isinstance(servers, (str, bytes, Mapping)) or not isinstance(servers, Iterable):
        raise TypeError(f"{argument} must be a list of servers, not {servers!r}")
    return [parse_address(server, f"{argument}[{index}]") for index, server in enumerate(servers)]


def servers_from_environment() -> list[str]:
    """The job servers that the environment variable GEARMAN_SERVERS names, "host:port,host:port", as the command line
    reads it; ["localhost:4730"] when it is not set, or names none.

    ValueError for one that is not a server, with the name of the variable and what is wrong.
    """
    texts = [text.strip() for text in os.environ.get(SERVERS_VARIABLE, "").split(",") if text.strip()]
    for text in texts:
        parse_address(text, SERVERS_VARIABLE)
    return texts or [DEFAULT_SERVER]


def parse_address(server: Server, argument: str = "server") -> Address:
    """The address that one server's form stands for; TypeError or ValueError names `argument` and the value."""
    if isinstance(server, str):
        return _from_text(server, argument)
    if isinstance(server, Address):
        return server
    if isinstance(server, tuple):
        if len(server) != 2:
            raise ValueError(f"{argument} must be ('host', port), not {server!r}")
        return Address(_host(server[0], argument), _port(server[1], argument))
    if isinstance(server, Mapping):
        return _from_mapping(server, argument)
    raise TypeError(f"{argument} must be {_FORMS}, not {server!r}")


def _from_text(text: str, argument: str) -> Address:
    """'host', 'host:port', '[::1]:port' or '[::1]'; a bare IPv6 address has no port."""
    text = text.strip()
    _refuse_url(text, argument)
    port: str | None = None
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{argument} must be '[address]:port', not {text!r}")
        port = rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        _refuse_port_without_brackets(text, argument)
        host = text
    return Address(_host(host, argument), _port(port, argument))


def _refuse_url(text: str, argument: str) -> None:
    scheme = _SCHEME.match(text)
    if scheme is not None:
        rest = re.split("[/?#]", text[scheme.end() :])[0].rpartition("@")[2] or "host:port"
        raise ValueError(f"{argument} must be a host and a port, not a URL: write {rest!r} instead of {text!r}")


def _refuse_port_without_brackets(text: str, argument: str) -> None:
    """Nobody means the IPv6 address "::1:4730". But "2001:db8::4730" can be read in one way only."""
    host, _, last = text.rpartition(":")
    if not _is_ipv6(host) or not (last.isascii() and last.isdigit()):
        return
    if not _is_ipv6(text):
        raise ValueError(f"{argument}: write '[{host}]:{last}' instead of {text!r}")
    if int(last) >= _FIRST_USER_PORT:
        raise ValueError(
            f"{argument}: {text!r} may be an address with a port or without one: write '[{host}]:{last}' or '[{text}]'"
        )


def _from_mapping(server: Mapping[str, object], argument: str) -> Address:
    unknown = sorted(map(str, set(server) - {"host", "port", *_TLS_KEYS}))
    if unknown:
        raise ValueError(f"{argument} has an unknown key {unknown[0]!r}; known are host, port, {', '.join(_TLS_KEYS)}")
    if "host" not in server:
        raise ValueError(f"{argument} has no host: {dict(server)!r}")
    files = {key: _file(server.get(key), f"{argument}: {key}") for key in _TLS_KEYS}
    if files["keyfile"] and not files["certfile"]:
        raise ValueError(f"{argument} has a keyfile but no certfile: {dict(server)!r}")
    address = Address(_host(server["host"], argument), _port(server.get("port"), argument), **files)
    if address.tls:
        _check_tls(address, argument)
    return address


def _check_tls(address: Address, argument: str) -> None:
    try:
        address.ssl_context()
    except OSError as error:
        why = tls_reason(error) if isinstance(error, ssl.SSLError) else str(error)
        raise ValueError(f"{argument}: the TLS files cannot be used: {why}: {address!r}") from error


def _host(host: object, argument: str) -> str:
    if not isinstance(host, str):
        raise TypeError(f"{argument}: host must be a str, not {host!r}")
    _refuse_url(host, argument)
    fault = None if _is_ipv6(host) else _fault_of_name(host)
    if fault is not None:
        raise ValueError(f"{argument}: host must be a name or an address, not {host!r}: {fault}")
    return host


def _is_ipv6(text: str) -> bool:
    address, percent, scope = text.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):  # ValueError for NUL, and for what UTF-8 cannot hold
        return False
    return not percent or _SCOPE.fullmatch(scope) is not None


def _fault_of_name(host: str) -> str | None:
    """Why no resolver can ever know this name, or None."""
    if ":" in host:
        return "it is not an IPv6 address"
    if len(host) > _NAME_LENGTH + 1:  # before it is encoded, which takes long for long names
        return f"it is longer than {_NAME_LENGTH} characters"
    try:
        return _fault_of_ascii(host.encode("idna").decode("ascii"))
    except UnicodeError:
        return _fault_of_labels(host.removesuffix(".").split(".")) or "it has no form in ASCII (IDNA)"


def _fault_of_ascii(name: str) -> str | None:
    strange = _NOT_IN_NAMES.search(name)
    if strange is not None:
        return f"{strange[0]!r} cannot be part of a name"
    labels = name.removesuffix(".").split(".")
    if len(labels) > 1 and all(label.isdigit() for label in labels):  # a number alone may be the name of a container
        return None if _is_ipv4(name) else "it is not an IPv4 address"
    return _fault_of_labels(labels)


def _fault_of_labels(labels: list[str]) -> str | None:
    if "" in labels:
        return "a part of it is empty" if len(labels) > 1 else "it is empty"
    if any(len(label) > _LABEL_LENGTH for label in labels):
        return f"a part of it is longer than {_LABEL_LENGTH} characters"
    if len(".".join(labels)) > _NAME_LENGTH:
        return f"it is longer than {_NAME_LENGTH} characters"
    return None


def _is_ipv4(name: str) -> bool:
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True


def _port(port: object, argument: str) -> int:
    if port is None:
        return int(DEFAULT_GEARMAN_PORT)
    if isinstance(port, bool) or not isinstance(port, (int, str)):
        raise TypeError(f"{argument}: port must be a number, not {port!r}")
    if isinstance(port, str) and not (port.isascii() and port.isdigit()):
        raise ValueError(f"{argument}: port must be a number, not {port!r}")
    if not 0 < int(port) < 65536:
        raise ValueError(f"{argument}: port must be between 1 and 65535, not {port!r}")
    return int(port)


def _file(path: object, argument: str) -> str | None:
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{argument} must be a path, not {path!r}")
    name = os.fsdecode(path)
    if not os.path.isfile(name):
        raise ValueError(f"{argument} is not a file: {name!r}")
    return name
