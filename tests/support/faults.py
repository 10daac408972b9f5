"""How often a fault strikes, and what was seen of all of them."""

from __future__ import annotations

import os

#: How many times the faults of an ordinary run strike.
TIMES = int(os.environ.get("GEARMANCMD_FAULTS_TIMES", "1"))

#: What was seen, a row for each scenario: its name, and figures by their names.
SEEN: list[tuple[str, dict[str, object]]] = []


def tell(scenario: str, **figures: object) -> None:
    """Keep what was seen in a scenario, for the table of a long run."""
    SEEN.append((scenario, figures))
