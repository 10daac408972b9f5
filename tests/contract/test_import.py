"""What an import of the library takes: a worker that starts often should not wait for what it does not use."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.workers import ENVIRONMENT

#: Each of them takes a tenth of the time that the whole import takes, or much more.
SLOW = {"asyncio", "dataclasses", "datetime", "inspect", "ipaddress", "multiprocessing", "importlib.metadata"}


def imported(names: str) -> set[str]:
    command = [sys.executable, "-c", f"import json, sys, {names}; print(json.dumps(list(sys.modules)))"]
    done = subprocess.run(command, env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_an_import_brings_nothing_that_is_slow():
    assert (imported("gearmancmd") - imported("gearman, simplejson")) & SLOW == set()
