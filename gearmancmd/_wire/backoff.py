"""The pauses between attempts at what keeps failing."""

from __future__ import annotations

import random


def jittered_pause(first: float, last: float, failures: int) -> float:
    """Seconds to wait after so many failures before this one. The first pause is below `first`, each further one up to
    twice as long, none above `last`; jittered, so that what failed together does not come back together.
    """
    longest = min(last, first * 2.0 ** min(failures, 32))
    return random.uniform(longest / 2, longest)


class Backoff:
    """Counts the failures: :func:`jittered_pause` has the figures."""

    def __init__(self, first: float, last: float) -> None:
        self._first = first
        self._last = last
        self._failures = 0

    def pause(self) -> float:
        """Another failure: the seconds to wait before the next attempt."""
        pause = jittered_pause(self._first, self._last, self._failures)
        self._failures += 1
        return pause

    def reset(self) -> None:
        """It is well again: the next pause is the first."""
        self._failures = 0
