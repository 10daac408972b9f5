"""When to dial a lost server again, and what to say about it: one log line an outage, one a recovery."""

from __future__ import annotations

import logging
import random

logger = logging.getLogger("gearmancmd")

#: Seconds: the first wait is below FIRST, each further one up to twice as long, none above LAST.
FIRST = 0.08
LAST = 3.0


class Outage:
    """The waits and the log lines between losing a server and hearing from it again.

    A server counts as back with its first packet, not with the connection: a proxy in front of a dead gearmand
    accepts connections too, and must neither reset the back-off nor fill the log.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._failures = 0
        self._told = False
        self._met = False

    def failed(self, why: object) -> float:
        """The server could not be reached, or was lost. The seconds to wait before dialling again, jittered so that
        a fleet of workers does not come back in step.
        """
        if not self._told:
            logger.warning("no connection to gearmand at %s, trying again until it answers: %s", self._server, why)
            self._told = True
        longest = min(LAST, FIRST * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return random.uniform(longest / 2, longest)

    def heard(self) -> None:
        """The server sent something."""
        if self._told or not self._met:
            logger.info("gearmand at %s answers%s", self._server, " again" if self._met else "")
        self._met = True
        self._failures = 0
        self._told = False
