"""From a result, or a reason, to bytes, whatever the user's encoder makes of it."""

from __future__ import annotations

from typing import Any

from .._wire.packet import to_wire
from ..errors import ResultError
from ..logs import REASON_LIMIT_BYTES, text_of

#: The protocol's length field has 32 bits (PROTOCOL); handle and separator take their share.
LARGEST_RESULT = 2**32 - 1024


def encode_result(encoder: Any, data: Any) -> bytes:
    """What the encoder makes of a result. ResultError when it cannot."""
    try:
        encoded = encoder.encode(data)
        if isinstance(encoded, str):
            encoded = to_wire(encoded)  # an encoder written for Python 2
        if isinstance(encoded, (bytearray, memoryview)):
            encoded = bytes(encoded)
    except Exception as error:
        raise ResultError("the result cannot be encoded", f"{type(error).__name__}: {text_of(error)}") from error
    if not isinstance(encoded, bytes):
        detail = f"the encoder returned {type(encoded).__name__}, not bytes"
        raise ResultError("the result cannot be encoded", detail)
    if len(encoded) > LARGEST_RESULT:
        raise ResultError(f"the result cannot be sent: {len(encoded)} bytes are more than a packet holds")
    return encoded


def encode_reason(encoder: Any, data: Any) -> bytes:
    """A reason as results are encoded; as bare text where the encoder cannot hold it; cut to the limit."""
    text = data[:REASON_LIMIT_BYTES] if isinstance(data, str) else data
    while True:
        try:
            encoded = encode_result(encoder, text)
        except ResultError:
            cut = text_of(text).encode("utf-8", "backslashreplace")[:REASON_LIMIT_BYTES]
            encoded = cut.decode("utf-8", "ignore").encode("utf-8")
        if len(encoded) <= REASON_LIMIT_BYTES or not isinstance(text, str) or not text:
            return encoded[:REASON_LIMIT_BYTES]
        text = text[: len(text) * REASON_LIMIT_BYTES // len(encoded) - 1]
