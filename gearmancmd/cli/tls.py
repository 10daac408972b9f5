"""The files for TLS that the command line names, looked at before anything is sent."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from .._wire.address import Address, parse_address
from .failure import Misuse


class TLSFiles(NamedTuple):
    """What --ca, --cert and --key name. With none of them there is no TLS."""

    ca: str | None
    cert: str | None
    key: str | None

    def check(self) -> None:
        """Misuse that says which file cannot be used."""
        if self.key is not None and self.cert is None:
            raise Misuse("--key is the key of a certificate: name that too, with --cert")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except OSError as error:
                raise Misuse(f"--ca {self.ca} cannot be used: {_reason(error)}") from error
        if self.cert is not None:
            self._check_certificate(context, self.cert)

    def _check_certificate(self, context: ssl.SSLContext, cert: str) -> None:
        files = f"--cert {cert}" + ("" if self.key is None else f" --key {self.key}")
        try:
            context.load_cert_chain(cert, self.key, password=_refuse_password)
        except OSError as error:
            raise Misuse(f"{files} cannot be used: {_reason(error)}") from error

    def address(self, server: Address) -> Address:
        """The server, to be spoken to as the files say."""
        if self == (None, None, None):
            return server
        files = {"ca_certs": self.ca, "certfile": self.cert, "keyfile": self.key}
        return parse_address({"host": server.host, "port": server.port, **files})


def _refuse_password() -> str:
    """OpenSSL would ask the keyboard, at each connection."""
    raise Misuse("--key is encrypted: a key without a password is needed")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate"
    if isinstance(error, ssl.SSLError):
        return f"it does not hold what it should, in PEM ({error.reason or 'no reason is given'})"
    return str(error.strerror or error)
