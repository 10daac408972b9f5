"""A rolling restart: each child is replaced by a new one, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..logs import logger
from .process import ChildProcess


class RollingRestart:
    """There is one child more than there should be, as long as a new one is not ready: never one less."""

    def __init__(self) -> None:
        self._old: list[ChildProcess] = []
        self._new: ChildProcess | None = None
        self._again = False

    @property
    def extra(self) -> int:
        """How many children there are to be beyond the usual number."""
        return int(self._new is not None)

    def begin(self, children: Sequence[ChildProcess]) -> None:
        """Replace these. Where a restart is under way, another one follows it: the code may have changed meanwhile."""
        if self._new is not None or self._old:
            self._again = True
            return
        self._old = _staying(children)
        logger.info("rolling restart of %d children", len(self._old))

    def is_new(self, child: ChildProcess) -> bool:
        """Whether a child is the one that is to replace an old one, and has not done so yet."""
        return child is self._new

    def break_off(self, why: str) -> None:
        """The new child cannot work: the old ones stay."""
        logger.error("rolling restart is broken off, and %d old children stay: %s", len(self._old), why)
        self._old, self._new, self._again = [], None, False

    def go_on(self, children: Sequence[ChildProcess], start: Callable[[], ChildProcess | None]) -> None:
        """Do what is due. `start` starts a child, or not just now."""
        if self._new is None and not self._old:
            return
        staying = _staying(children)
        self._old = [child for child in staying if child in self._old]
        if self._new not in staying:
            self._new = None  # it has ended already
        if self._new is None and self._old:
            self._new = start()
        elif self._new is not None and self._old and _can_replace(self._new, self._old[0]):
            self._old.pop(0).dismiss("it is replaced")
            self._new = None
        if not self._old:  # the last one is replaced, or has ended by itself
            self._new = None
            logger.info("rolling restart is done")
            if self._again:
                self._again = False
                self.begin(children)


def _staying(children: Sequence[ChildProcess]) -> list[ChildProcess]:
    return [child for child in children if child.leaving is None]


def _can_replace(new: ChildProcess, old: ChildProcess) -> bool:
    """Whether it works as well as the old one: where no server answers, that is not much."""
    return new.ready or (new.booted and not old.ready)
