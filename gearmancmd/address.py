"""Where a job server is: the forms in which users write it, checked at once and brought into one."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Union

from gearman.constants import DEFAULT_GEARMAN_PORT

#: The forms of a server: "host:port", "host", ("host", port), gearman's dict, or an Address.
Server = Union[str, tuple[str, int], Mapping[str, object], "Address"]

_TLS_KEYS = ("keyfile", "certfile", "ca_certs")
_FORMS = "'host:port', 'host', ('host', port) or a dict with host, port, keyfile, certfile, ca_certs"


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
            context.load_cert_chain(self.certfile, self.keyfile)
        return context


def parse_addresses(servers: Iterable[Server], argument: str = "servers") -> list[Address]:
    """The addresses of a list of servers; TypeError or ValueError names the element that is none."""
    if isinstance(servers, (str, bytes, Mapping)) or not isinstance(servers, Iterable):
        raise TypeError(f"{argument} must be a list of servers, not {servers!r}")
    return [parse_address(server, f"{argument}[{index}]") for index, server in enumerate(servers)]


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
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{argument} must be '[address]:port', not {text!r}")
        port = rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, None
    return Address(_host(host, argument), _port(port, argument))


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
        raise ValueError(f"{argument}: the TLS files cannot be used: {error}: {address!r}") from error


def _host(host: object, argument: str) -> str:
    if not isinstance(host, str):
        raise TypeError(f"{argument}: host must be a str, not {host!r}")
    if not host or any(character.isspace() for character in host) or "\0" in host:
        raise ValueError(f"{argument}: host must be a name or an address, not {host!r}")
    return host


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
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise ValueError(f"{argument} is no file: {name!r}")
    return str(name)
