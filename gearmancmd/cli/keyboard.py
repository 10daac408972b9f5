"""The keys that are pressed while a picture is shown."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

#: A key: the escape sequence of an arrow or the like, or a character. An escape sequence that has begun is none yet.
_KEY = re.compile(r"\x1b[\[O][0-?]*[^0-?]|\x1b(?=[^\[O])|[^\x1b]", re.DOTALL)
_NAMES = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "k": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "j": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "q": "quit",
    "Q": "quit",
}


class Keyboard:
    """The keyboard, or nothing where stdin is no terminal."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._begun = ""

    def pressed(self, seconds: float) -> list[str]:
        """Wait up to `seconds` for keys; the names of those that mean something: "up", "page down", "quit"."""
        if self._descriptor is None:
            time.sleep(seconds)
            return []
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return []
        typed = os.read(self._descriptor, 1024)
        if not typed:
            return ["quit"]  # the terminal is gone
        self._begun += typed.decode("latin-1")
        keys = []
        while (key := _KEY.match(self._begun)) is not None:
            keys.append(key[0])
            self._begun = self._begun[key.end() :]
        return [_NAMES[key] for key in keys if key in _NAMES]


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """The keys pressed on stdin, each as it is pressed and without showing up."""
    descriptor = sys.stdin.fileno() if sys.stdin.isatty() else None
    if descriptor is None:
        yield Keyboard(None)
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield Keyboard(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
