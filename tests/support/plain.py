"""A client that sends payloads as they are, such as no encoder makes."""

from __future__ import annotations

from typing import Any

from gearmancmd import JSONDataEncoder, JSONGearmanClient


class PlainEncoder(JSONDataEncoder):
    """Sends bytes as they are."""

    @classmethod
    def encode(cls, encodable_object: Any) -> bytes:
        return bytes(encodable_object)


class PlainClient(JSONGearmanClient):
    data_encoder = PlainEncoder
