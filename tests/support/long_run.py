"""Tests of which a long run does many times as much as an ordinary one, and the table that it prints at its end."""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

WIDTH = 120
SCENARIO_WIDTH = 48


class LongRun:
    """Tests whose environment variable says how many times as much they do, and what they have seen."""

    all: list[LongRun] = []

    def __init__(self, variable: str, title: str) -> None:
        #: How many times as much is done as in an ordinary run.
        self.times = int(os.environ.get(variable, "1"))
        self._title = title
        self._rows: list[tuple[str, Mapping[str, object]]] = []
        self._counts: dict[str, Counter[str]] = {}
        self.all.append(self)

    def tell(self, scenario: str, **figures: object) -> None:
        """Keep what was seen in a scenario."""
        self._rows.append((scenario, figures))

    def count(self, scenario: str, outcome: str) -> None:
        """Count one more outcome of a scenario that has many."""
        if scenario not in self._counts:
            self._counts[scenario] = Counter()
            self._rows.append((scenario, self._counts[scenario]))
        self._counts[scenario]["all"] += 1
        self._counts[scenario][outcome] += 1

    def write_table(self, terminal: Any) -> None:
        """A row for each scenario, behind a long run."""
        if self.times == 1 or not self._rows:
            return
        terminal.section(self._title)
        for scenario, figures in self._rows:
            told = ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in figures.items())
            for number, line in enumerate(textwrap.wrap(told, WIDTH - SCENARIO_WIDTH)):
                terminal.line(f"{'' if number else scenario:<{SCENARIO_WIDTH}} {line}")


def _text(figure: object) -> str:
    return f"{figure:,}" if isinstance(figure, int) else str(figure)
