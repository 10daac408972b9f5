"""What a benchmark found, and how it is shown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One row: a value with its unit, and where there is a yardstick, the ratio to it beside the ratio that is wanted
    ("at least 0.65", "at most 1.6").
    """

    name: str
    value: float
    unit: str
    yardstick: float | None = None
    wanted: str = ""

    @property
    def ratio(self) -> float | None:
        """The value against the yardstick."""
        return self.value / self.yardstick if self.yardstick else None


def median(values: Iterable[float]) -> float:
    """The middle one: a machine that others use has bad moments."""
    return statistics.median(values)


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table."""
    rows = ["| | measured | against | ratio | wanted |", "| --- | --- | --- | --- | --- |"]
    for each in figures:
        against = "" if each.yardstick is None else f"{each.yardstick:,.6g} {each.unit}"
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
        rows.append(f"| {each.name} | {each.value:,.6g} {each.unit} | {against} | {ratio} | {each.wanted} |")
    return "\n".join(rows)


def write(figures: list[Figure], path: Path) -> None:
    """The figures as JSON: a list of objects."""
    path.write_text(json.dumps([{**asdict(each), "ratio": each.ratio} for each in figures], indent=2) + "\n", "utf-8")
