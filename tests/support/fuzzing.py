"""How many inputs a fuzz test tries, the inputs that are kept in a corpus, and what became of all of them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis

#: How many times the inputs of an ordinary run are tried.
TIMES = int(os.environ.get("GEARMANCMD_FUZZ_TIMES", "1"))

CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"

#: What became of the inputs, by target and outcome.
TALLY: dict[str, Counter[str]] = {}


def inputs(count: int) -> hypothesis.settings:
    """As many inputs, and always the same ones; a long run tries TIMES as many, which are new each time."""
    return hypothesis.settings(max_examples=count * TIMES, derandomize=TIMES == 1, print_blob=True)


def tell(target: str, outcome: str) -> None:
    """Count an input."""
    TALLY.setdefault(target, Counter())[outcome] += 1


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
