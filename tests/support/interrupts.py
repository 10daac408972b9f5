"""An exception that strikes at a line of the library, for programs in which it does so at each, one after the other.

They are processes of their own. CPython 3.11 to 3.13 loses count of the exception that is handled when a trace function
raises while one is, so lines of a handler are not struck.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import gearmancmd

#: What the names of the library's files begin with.
PACKAGE = f"{Path(gearmancmd.__file__).parent}{os.sep}"

#: Seconds for a whole program, and for what it waits for.
PROGRAM_SECONDS = 150
SETTLE_SECONDS = 30


class TimeIsUp(BaseException):
    """What a signal handler may raise."""


#: By the names that tests have for them.
KINDS: dict[str, type[BaseException]] = {
    "Ctrl+C": KeyboardInterrupt,
    "another exception of a signal handler": TimeIsUp,
}


class Lines:
    """A trace function that counts the lines of some files, and strikes at one of them: `where` tells which that was.
    A file is one whose name has one of `files` in it.
    """

    def __init__(self, strike_at: int, kind: type[BaseException], files: Sequence[str] = (PACKAGE,)) -> None:
        self.count = 0
        self.where: str | None = None
        self._strike_at = strike_at
        self._kind = kind
        self._files = files

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if not any(part in name for part in self._files):
            return None
        if event == "line" and sys.exc_info()[1] is None:
            self.count += 1
            if self.count == self._strike_at:
                self.where = f"{name}:{frame.f_lineno}"
                raise self._kind
        return self


def strike(call: Callable[[], object], at: int, kind: type[BaseException], files: Sequence[str] = (PACKAGE,)) -> Lines:
    """Call, and strike in this thread at that line; at none, where there are fewer."""
    lines = Lines(at, kind, files)
    sys.settrace(lines)
    try:
        call()
    except kind:
        pass
    finally:
        sys.settrace(None)
    return lines


def strike_at_each_line(call: Callable[[], object], kind: str, files: Sequence[str] = (PACKAGE,)) -> None:
    """Print "told" and, as JSON, how often `call` was struck and what it left behind."""
    end_if_it_hangs()
    strike(call, 0, KINDS[kind], files)
    assert settled(lambda: threading.active_count() == 1)
    descriptors = open_files()
    bad: list[tuple[str, int, str | None]] = []
    at, unstruck = 0, 0
    while unstruck < 20:  # how many lines it has depends on what arrives when
        at += 1
        lines = strike(call, at, KINDS[kind], files)
        unstruck = unstruck + 1 if lines.where is None else 0
        if not settled(lambda: threading.active_count() == 1):
            bad.append(("thread", at, lines.where))
        if not settled(lambda: open_files() <= descriptors):
            bad.append(("file", at, lines.where))
        call()
    print("told", json.dumps([at - unstruck, bad]), flush=True)


def end_if_it_hangs() -> None:
    """Have the program tell where it hangs, and end."""
    faulthandler.dump_traceback_later(PROGRAM_SECONDS, exit=True)


def open_files() -> int:
    """How many descriptors this process has, and is not about to close."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def settled(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within some time."""
    until = time.monotonic() + SETTLE_SECONDS
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True
