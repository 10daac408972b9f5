"""What a terminal can show: JSON and names from the wire without characters that steer it, and pictures that change."""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO

import simplejson
from rich.console import Console
from rich.live import Live

# DEL and the C1 controls, some of which start escape sequences; JSON itself escapes the ones below 0x20 only.
_CONTROLS = re.compile("[\x7f-\x9f]")


def console(stream: TextIO) -> Console:
    """A console for stdout or stderr."""
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def live(screen: bool = False) -> Live:
    """A picture on stdout that the next one replaces; with `screen`, on a screen of its own."""
    return Live(
        console=console(sys.stdout), screen=screen, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )


def as_json(value: object) -> str:
    """A value as one line of JSON that is safe to show; letters stand as they are where the terminal has them."""
    options: dict[str, Any] = {"use_decimal": True, "allow_nan": False}
    text: str = simplejson.dumps(value, ensure_ascii=False, **options)
    text = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if not _encodable(text, sys.stdout):
        text = simplejson.dumps(value, **options)
    return text


def shown(text: str, stream: TextIO | None = None) -> str:
    """Text that somebody else chose, without characters that steer a terminal or that `stream`, by default stdout,
    cannot write: these stand as escape sequences.
    """
    stream = stream or sys.stdout
    if text.isprintable() and _encodable(text, stream):
        return text
    return "".join(
        letter if letter.isprintable() and _encodable(letter, stream) else ascii(letter)[1:-1] for letter in text
    )


def has_unicode(stream: TextIO) -> bool:
    """Whether blocks and dots can be written."""
    return (stream.encoding or "").lower().startswith("utf")


def _encodable(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
