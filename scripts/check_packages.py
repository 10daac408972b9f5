#!/usr/bin/env python3
"""Checks the built packages. Argument: the folder with one wheel and one sdist.

The wheel holds the package and nothing else. The sdist holds what its tests need: all of them are collected in a folder
where nothing else is, and those that read other files than the package's are run there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Tests of the README, the docs, the examples and the metadata, and of one module.
TESTS = [
    "tests/contract/test_docs.py",
    "tests/contract/test_packaging.py",
    "tests/contract/test_readme.py",
    "tests/contract/test_reference.py",
    "tests/test_queue.py",
]


def passes(*command: str | Path, folder: Path = ROOT) -> bool:
    """Whether a command of this Python's environment ends well; it tells what is wrong."""
    program = Path(sys.executable).with_name(str(command[0]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([program, *command[1:]], cwd=folder, env=environment, check=False).returncode == 0


def wheel_holds_the_package(wheel: Path) -> bool:
    """Whether a wheel holds the package and nothing else. Processes that tests have killed leave halves of compiled
    files in the package's folder, which are not meant.
    """
    with tempfile.TemporaryDirectory() as made:
        package = Path(made) / "gearmancmd"
        shutil.copytree(ROOT / package.name, package, ignore=shutil.ignore_patterns("__pycache__"))
        return passes("check-wheel-contents", "--package", package, wheel)


def tests_pass(sdist: Path) -> bool:
    """Whether the tests that an sdist holds can be collected, and those that read files pass."""
    with tempfile.TemporaryDirectory() as made, tarfile.open(sdist) as archive:
        archive.extractall(made, filter="data")
        folder = Path(made) / sdist.name.removesuffix(".tar.gz")
        collected = passes("python", "-m", "pytest", "-qq", "--collect-only", folder=folder)
        return collected and passes("python", "-m", "pytest", *TESTS, folder=folder)


def main(dist: Path) -> int:
    """The exit status."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    results = [
        passes("twine", "check", "--strict", wheel, sdist),
        wheel_holds_the_package(wheel),
        tests_pass(sdist),
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
