"""What turns objects into payloads and back: gearman's ``DataEncoder`` for JSON and for plain text."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import simplejson
from gearman.connection_manager import DataEncoder

# Built once: simplejson.dumps() and loads() make a new coder on each call that sets an option. The options turn off
# what the standard library's json does not do: namedtuples as objects, and bytes as if they were text.
_encode = simplejson.JSONEncoder(
    use_decimal=True, namedtuple_as_object=False, encoding=None, allow_nan=False, separators=(",", ":")
).encode
_decode = simplejson.JSONDecoder().decode
_decode_decimals = simplejson.JSONDecoder(parse_float=Decimal).decode


class JSONDataEncoder(DataEncoder):
    """JSON both ways, as the standard library's json has it: numbers with a fraction are floats, and a tuple of any
    kind is an array. Other than there, a Decimal may be sent, and neither NaN nor Infinity is on the wire (RFC 8259).
    """

    @classmethod
    def encode(cls, encodable_object: Any) -> bytes:
        """The JSON text of an object, as ASCII bytes. ValueError or TypeError when JSON cannot hold it."""
        text: str = _encode(encodable_object)
        return text.encode("utf-8")

    @classmethod
    def decode(cls, decodable_string: bytes | str) -> Any:
        """The object that a JSON text stands for. ValueError when the text is not UTF-8 or not JSON."""
        return _decode(_json_text(decodable_string))


class DecimalJSONDataEncoder(JSONDataEncoder):
    """JSON with a Decimal for each number with a fraction, both ways: 1.10 stays 1.10. For a worker or client class's
    `data_encoder`.
    """

    @classmethod
    def decode(cls, decodable_string: bytes | str) -> Any:
        """The object that a JSON text stands for. ValueError when the text is not UTF-8 or not JSON."""
        return _decode_decimals(_json_text(decodable_string))


def _json_text(data: bytes | str) -> str:
    return data.decode("utf-8") if isinstance(data, bytes) else data


class TextDataEncoder(DataEncoder):
    """Plain str, as a python-gearman worker without an encoder of its own saw it on Python 2.

    Bytes that are not UTF-8 become lone surrogates (PEP 383), so that any payload comes back as it was.
    """

    @classmethod
    def encode(cls, encodable_object: bytes | str) -> bytes:
        """The bytes of a str; bytes stay as they are. TypeError for anything else."""
        if isinstance(encodable_object, bytes):
            return encodable_object
        if isinstance(encodable_object, str):
            return encodable_object.encode("utf-8", "surrogateescape")
        raise TypeError(f"expected str or bytes, got {encodable_object!r}")

    @classmethod
    def decode(cls, decodable_string: bytes | str) -> str:
        """The payload as str."""
        if isinstance(decodable_string, str):
            return decodable_string
        return decodable_string.decode("utf-8", "surrogateescape")
