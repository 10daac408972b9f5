"""What is shown: JSON, names from the wire, tables, and the keys that are pressed meanwhile."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import simplejson
from rich.console import Console
from rich.live import Live
from rich.table import Table

#: Columns when nobody looks: wide enough that no name is ever cut.
_UNLIMITED = 100_000

# DEL and the C1 controls, some of which start escape sequences; JSON itself escapes the ones below 0x20 only.
_CONTROLS = re.compile("[\x7f-\x9f]")


def console(stream: TextIO) -> Console:
    """A console for stdout or stderr; lines that go to a file or a pipe are not broken."""
    width = None if stream.isatty() else _UNLIMITED
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def as_json(value: object) -> str:
    """A value as one line of JSON that is safe to show; letters stand as they are where the terminal has them."""
    options: dict[str, Any] = {"use_decimal": True, "allow_nan": False}
    text: str = simplejson.dumps(value, ensure_ascii=False, **options)
    text = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = simplejson.dumps(value, **options)
    return text


def live(screen: bool = False) -> Live:
    """A picture on stdout that the next one replaces; with `screen`, on a screen of its own."""
    return Live(
        console=console(sys.stdout), screen=screen, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )


def shown(name: str) -> str:
    """A name that somebody else chose, without characters that steer a terminal."""
    return name if name.isprintable() else ascii(name)[1:-1]


def table(*columns: str, figures: Collection[str] = ()) -> Table:
    """An empty table; the columns in `figures` are set to the right."""
    result = Table(box=None, pad_edge=False)
    for column in columns:
        result.add_column(column, justify="right" if column in figures else "left", no_wrap=True)
    return result


@contextmanager
def keys() -> Iterator[Keys]:
    """The keys pressed on stdin, each as it is pressed and without showing up."""
    descriptor = sys.stdin.fileno() if sys.stdin.isatty() else None
    if descriptor is None:
        yield Keys(None)
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield Keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class Keys:
    """The keyboard, or nothing where stdin is no terminal."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def pressed(self, wanted: str, seconds: float) -> bool:
        """Wait for one of the `wanted` keys; False when the time is over."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._descriptor is None:
                time.sleep(left)
            elif select.select([self._descriptor], [], [], left)[0]:
                pressed = os.read(self._descriptor, 1)
                if not pressed or pressed.decode("latin-1") in wanted:
                    return True  # no bytes: the terminal is gone
        return False
