"""What stands on the screen of a pseudo-terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pexpect
import pyte

from tests.support.commandline import ENVIRON
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ROOT


def spawn(command: str, columns: int = 100, lines: int = 30, **environ: str) -> pexpect.spawn:
    """A command, by a shell, in a pseudo-terminal."""
    return pexpect.spawn(
        "/bin/sh",
        ["-c", f"exec {command}".replace("gearmancmd", f"{sys.executable} -m gearmancmd")],
        env={**ENVIRON, "TERM": "xterm", **environ},
        cwd=ROOT,
        dimensions=(lines, columns),
        encoding="utf-8",
        timeout=LIMIT,
    )


def exit_status(child: pexpect.spawn) -> int | None:
    """The exit status, once the command has ended."""
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


class Screen:
    """The screen of a command; what does not fit into a line stands in the next one, as in a real terminal."""

    def __init__(self, child: pexpect.spawn) -> None:
        self.child = child
        height, width = child.getwinsize()
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.Stream(self._screen)

    def lines(self) -> list[str]:
        """The lines, without the space behind them."""
        self._read()
        return [line.rstrip() for line in self._screen.display]

    def cells(self) -> list[list[pyte.screens.Char]]:
        """The characters of each line, with their colours."""
        self._read()
        return [
            [self._screen.buffer[line][column] for column in range(self._screen.columns)]
            for line in range(self._screen.lines)
        ]

    def _read(self) -> None:
        try:
            while True:
                self._stream.feed(self.child.read_nonblocking(65536, timeout=0))
        except (pexpect.TIMEOUT, pexpect.EOF):
            pass

    def wait_for(self, condition: Callable[[list[str]], object], what: str) -> list[str]:
        """The lines, once they are as wanted."""
        try:
            return wait_for(lambda: lines if condition(lines := self.lines()) else [], what)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.lines()])) from None

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size."""
        self._screen.resize(lines, columns)
        self.child.setwinsize(lines, columns)
