"""What a long run has seen is printed at its end."""

from __future__ import annotations

from typing import Any

from tests.support.faults import SEEN, TIMES


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A row for each scenario."""
    if TIMES == 1 or not SEEN:
        return
    terminalreporter.section("what was seen")
    for scenario, figures in SEEN:
        told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        terminalreporter.line(f"{scenario:<48} {told}")
