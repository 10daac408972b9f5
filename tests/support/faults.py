"""How often a fault strikes, and what was seen of all of them."""

from __future__ import annotations

from tests.support.long_run import LongRun

_RUN = LongRun("GEARMANCMD_FAULTS_TIMES", "what was seen")

#: How many times the faults of an ordinary run strike.
TIMES = _RUN.times

tell = _RUN.tell
