"""Commands under test, each seen to its end."""

from __future__ import annotations

import pytest

from tests.support.commandline import QUEUES, Command
from tests.support.screen import Screen, spawn


@pytest.fixture
def project(tmp_path):
    """A directory with a module of queues."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "queues.py").write_text(QUEUES, "utf-8")
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n", "utf-8")
    (tmp_path / "wrong.py").write_text("def :\n", "utf-8")
    return tmp_path


@pytest.fixture
def start():
    """Starts a command, and sees to it that it has ended with the test."""
    started = []

    def start(*arguments, **options):
        started.append(Command(*arguments, **options))
        return started[-1]

    yield start
    for command in started:
        command.end()


@pytest.fixture
def terminal():
    """Runs a command in a pseudo-terminal, and sees to it that it has ended with the test."""
    started = []

    def start(command, **options):
        started.append(spawn(command, **options))
        return started[-1]

    yield start
    for child in started:
        child.close(force=True)


@pytest.fixture
def screen(terminal):
    """The screen of a command in a pseudo-terminal."""
    return lambda command, **options: Screen(terminal(command, **options))
