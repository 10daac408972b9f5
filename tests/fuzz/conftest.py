"""What a long run has done is printed at its end."""

from __future__ import annotations

from typing import Any

from tests.support.fuzzing import TALLY, TIMES


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A row for each target and outcome."""
    if TIMES == 1 or not TALLY:
        return
    terminalreporter.section("what became of the inputs")
    for target, outcomes in TALLY.items():
        terminalreporter.line(f"{target:<24} {'all':<32} {outcomes.total():>9,}")
        for outcome, count in outcomes.most_common():
            terminalreporter.line(f"{'':<24} {outcome:<32} {count:>9,}")
