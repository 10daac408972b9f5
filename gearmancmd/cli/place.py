"""Where in the user's code an exception came from."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

from ..logs import one_line

_OURS = str(Path(__file__).parent.parent)
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))
_PYTHONS = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))


def place(error: BaseException) -> str:
    """The user's file and line, and that --debug tells more: " (in f, /path/file.py:3; --debug ...)"."""
    where = user_place(error)
    return f" ({where}{'; ' if where else ''}--debug shows the traceback)"


def user_place(error: BaseException) -> str:
    """The user's file and line, or "" for an exception that did not come from there."""
    return _in_source(error) or _in_frames(error)


def _in_source(error: BaseException) -> str:
    """A file that cannot be compiled is in no frame."""
    if isinstance(error, SyntaxError) and error.filename and os.path.isfile(error.filename):
        return f"{one_line(error.filename)}:{error.lineno}"
    return ""


def _in_frames(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _rank(frame.filename) < 2]
    if not frames:
        return ""
    # Of code that is not installed, or else of any that is neither ours nor Python's, the part that was reached last.
    rank = min(_rank(frame.filename) for frame in frames)
    frame = next(frame for frame in reversed(frames) if _rank(frame.filename) == rank)
    function = "" if frame.name == "<module>" else f"in {frame.name}, "
    return f"{function}{one_line(frame.filename)}:{frame.lineno}"


def _rank(filename: str) -> int:
    """0 for the user's own code, 1 for packages that are installed, 2 for ours and Python's."""
    if filename.startswith("<") or _within(filename, _OURS):
        return 2
    if any(_within(filename, directory) for directory in _INSTALLED):
        return 1
    return 2 if any(_within(filename, directory) for directory in _PYTHONS) else 0


def _within(filename: str, directory: str) -> bool:
    return filename.startswith(directory + os.sep)
