"""A screen full of a table that may be longer than the screen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Group
from rich.text import Text

from .table import shorten
from .terminal import has_unicode, shown

Row = TypeVar("Row")


@dataclass(frozen=True)
class Size:
    """What there is of a screen, in cells and lines."""

    width: int
    height: int


def page(
    rows: Sequence[Row],
    table: Callable[[Sequence[Row]], list[str]],
    size: Size,
    *,
    first: int = 0,
    title: str | None = None,
    errors: Sequence[str] = (),
    more: str = "",
) -> Group:
    """The rows from the one numbered `first` on, as `table` lays them out, below the title and the errors.

    Rows that have no room are counted in the last line, and `more` is said there.
    """
    above = [Text(shorten(title, size.width), "bold")] if title is not None else []
    above += [Text(line, "red") for line in _cut([shorten(shown(error), size.width) for error in errors], size)]
    room = _room(len(rows), size.height - len(above))
    lines = table(rows[first : first + room])
    if len(rows) > room:
        lines.append(shorten(_left_out(first, len(rows) - first - room) + more, size.width))
    return Group(*above, *(Text(line, no_wrap=True, overflow="crop") for line in lines))


def last_first(rows: int, height: int, errors: int) -> int:
    """The number of the first row when a page of that many errors and a title shows the last one."""
    above = 1 + min(errors, _most_errors(height))
    return max(0, rows - _room(rows, height - above))


def _room(rows: int, height: int) -> int:
    """How many rows there are on a page: one line has the titles, and another what is left out."""
    return rows if rows < height else max(1, height - 2)


def _most_errors(height: int) -> int:
    return max(1, height // 3)


def _cut(errors: list[str], size: Size) -> list[str]:
    """As many errors as leave room for the table."""
    most = _most_errors(size.height)
    if len(errors) <= most:
        return errors
    return [*errors[: most - 1], shorten(f"{_dots()} {len(errors) - most + 1} more errors", size.width)]


def _left_out(above: int, below: int) -> str:
    if above:
        return f"{_dots()} {above:,} above, {below:,} more"
    return f"{_dots()} {below:,} more"


def _dots() -> str:
    return "…" if has_unicode(sys.stdout) else "..."
