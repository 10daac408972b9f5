"""Waiting for the servers: asleep, or for a moment awake while their answers come quickly.

A thread that sleeps in poll() is woken from the server's processor, and finds its caches cold. That took longer than
a short job did: a worker at prefetch 1 beside gearmand on two cores did 7,700 jobs/s that way, and 11,700 when it
looked again and again, with no more processor time for each job. So a wait begins awake if the one before it was short,
and goes on asleep after BRISK seconds. A server that is far away or has no jobs costs one such moment, and then
nothing. Before each look the processor is offered to others: four workers on those two cores did as many jobs either
way.
"""

from __future__ import annotations

import os
import select
import time

#: Seconds that any wait should take at most: Python sees a signal that arrives just before a system call, such as that
#: of Ctrl+C, only when the call returns.
LONGEST_WAIT = 1.0

#: Seconds that a short wait takes at most.
BRISK = 100e-6

#: Offers the processor to others; None where the system has no such call, and all waits are slept through.
_offer_processor = getattr(os, "sched_yield", None)


class Poll:
    """A ``select.poll`` that may stay awake. One thread waits at a time; any may register."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register = self._poll.register
        self.unregister = self._poll.unregister
        self._brisk = False

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """What poll() returns: pairs of a file descriptor and its events, none when the time is over."""
        begun = time.perf_counter()
        events: list[tuple[int, int]] = []
        if self._brisk and seconds > 0:
            events = self._look(begun + BRISK)
        if not events:
            events = self._poll.poll(seconds * 1000)
        self._brisk = time.perf_counter() - begun < BRISK
        return events

    def _look(self, until: float) -> list[tuple[int, int]]:
        """The events of the first look that finds some; none at `until`."""
        events: list[tuple[int, int]] = []
        while _offer_processor is not None and not events and time.perf_counter() < until:
            _offer_processor()
            events = self._poll.poll(0)
        return events
