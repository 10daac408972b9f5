"""Tables that fit the terminal: figures stand in full, and names give way, shortened in their middle."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from .terminal import has_unicode


@dataclass(frozen=True)
class Column:
    """A column of names, or of figures, which are set to the right and never shortened."""

    title: str
    figures: bool = False
    #: The title where the whole one would cost a name its letters.
    brief: str | None = None


def stdout_width() -> int | None:
    """The cells of a line on the terminal; None where lines go to a file or a pipe, and may have any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def lay_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """The lines of a table, titles first, of at most `width` cells as long as there is one left for each name."""
    titles = [column.title for column in columns]
    widths = _widths([titles, *rows])
    if width is not None and _whole(widths) > width:
        titles = [column.brief or column.title for column in columns]
        widths = _fitting(columns, _widths([titles, *rows]), width)
    return [_line(columns, widths, row) for row in [titles, *rows]]


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]


def _whole(widths: Sequence[int]) -> int:
    return sum(widths) + len(widths) - 1


def _fitting(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    names = [number for number, column in enumerate(columns) if not column.figures]
    room = width - _whole(widths) + sum(widths[number] for number in names)
    # The short names in full; what they leave is shared by the long ones.
    for rank, number in enumerate(sorted(names, key=widths.__getitem__)):
        widths[number] = max(1, min(widths[number], room // (len(names) - rank)))
        room -= widths[number]
    return widths


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    return " ".join(
        _padded(shorten(cell, width), width, column.figures)
        for column, width, cell in zip(columns, widths, cells, strict=True)
    ).rstrip()


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def shorten(text: str, width: int) -> str:
    """The text in at most `width` cells, its middle left out where it is longer."""
    if cell_len(text) <= width:
        return text
    mark = "…" if has_unicode(sys.stdout) else "~"
    letters = _letters(text)
    head = _first(letters, width // 2)
    tail = _first(reversed(letters), width - 1 - cell_len("".join(head)))
    return "".join([*head, mark, *reversed(tail)])


def _letters(text: str) -> list[str]:
    """Each letter with the marks above and below it, which have no cells of their own."""
    letters: list[str] = []
    for character in text:
        if letters and not cell_len(character):
            letters[-1] += character
        else:
            letters.append(character)
    return letters


def _first(letters: Iterable[str], width: int) -> list[str]:
    """As many letters as `width` cells hold."""
    taken = []
    for letter in letters:
        width -= cell_len(letter)
        if width < 0:
            break
        taken.append(letter)
    return taken
