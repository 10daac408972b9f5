"""Programs that tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def need_program(name: str) -> None:
    """Skip the test where there is no such program; fail it where GEARMANCMD_REQUIRE_GEARMAND is set."""
    if shutil.which(name) is None:
        if os.environ.get("GEARMANCMD_REQUIRE_GEARMAND"):
            pytest.fail(f"{name} is not on PATH, and GEARMANCMD_REQUIRE_GEARMAND is set")
        pytest.skip(f"{name} is not on PATH")
