"""docs/faults.md names tests that there are, at least one in each row."""

from __future__ import annotations

import re

import pytest

from tests.support.workers import ROOT

PAGE = (ROOT / "docs" / "faults.md").read_text("utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)


def test_each_row_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| fault |", "| ---"))]
    assert rows
    assert [row for row in rows if "::test_" not in row] == []


def test_nothing_looks_like_a_test_that_is_not_checked():
    assert len(NAMED) == PAGE.count("::")


@pytest.mark.parametrize("path, name", sorted(set(NAMED)))
def test_a_test_that_the_page_names_exists(path, name):
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)
