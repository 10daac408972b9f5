"""How many inputs a fuzz test tries, the inputs that are kept in a corpus, and what became of all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis

from tests.support.long_run import LongRun

_RUN = LongRun("GEARMANCMD_FUZZ_TIMES", "what became of the inputs")

#: How many times the inputs of an ordinary run are tried.
TIMES = _RUN.times

#: Counts an input, by target and outcome.
tell = _RUN.count

CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"


def inputs(count: int) -> hypothesis.settings:
    """As many inputs, and always the same ones; a long run tries TIMES as many, which are new each time."""
    return hypothesis.settings(max_examples=count * TIMES, derandomize=TIMES == 1, print_blob=True)


def corpus(name: str) -> list[Any]:
    """The inputs that are kept in a file: a JSON value in each line; a line that begins with # is a remark."""
    lines = (CORPUS / name).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line and not line.startswith("#")]


def examples(name: str, read: Callable[[Any], dict[str, Any]]) -> Callable[[Any], Any]:
    """Try the inputs of a corpus before all others: `read` makes a test's arguments of each."""

    def decorate(test: Any) -> Any:
        for value in corpus(name):
            test = hypothesis.example(**read(value))(test)
        return test

    return decorate
