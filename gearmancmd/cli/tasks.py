"""Tasks as JSON text, and what can be wrong with it."""

from __future__ import annotations

from typing import Any

from ..encoder import JSONDataEncoder


class TooDeep(ValueError):
    """JSON that is nested deeper than Python can follow."""

    def __init__(self) -> None:
        super().__init__("it is nested too deeply")


def read_task(text: bytes | str) -> Any:
    """The task that a JSON text stands for. ValueError when it is none, or TooDeep."""
    try:
        return JSONDataEncoder.decode(text)
    except RecursionError as error:
        raise TooDeep from error
