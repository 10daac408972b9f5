"""The keys, as a terminal sends them: an escape sequence may come in pieces."""

from __future__ import annotations

import os

import pytest

from gearmancmd.cli.keyboard import Keyboard


@pytest.fixture
def terminal_end():
    """What a terminal writes to, and the keyboard that reads it."""
    reading, writing = os.pipe()
    yield writing, Keyboard(reading)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("pieces", "keys"),
    [
        (["q"], [["quit"]]),
        (["jk"], [["down", "up"]]),
        (["\x1b[A\x1bOB\x1b[6~\x1b[5~"], [["up", "down", "page down", "page up"]]),
        (["\x1b", "[B"], [[], ["down"]]),
        (["\x1b[", "A"], [[], ["up"]]),
        (["\x1b[5", "~j"], [[], ["page up", "down"]]),
        (["\x1bq"], [["quit"]]),
        (["\x1b[1;5C", "x\xe9"], [[], []]),
    ],
)
def test_keys_have_names(terminal_end, pieces, keys):
    writing, keyboard = terminal_end
    pressed = []
    for piece in pieces:
        os.write(writing, piece.encode())
        pressed.append(keyboard.pressed(10.0))
    assert pressed == keys


def test_no_key_is_no_key(terminal_end):
    assert terminal_end[1].pressed(0.0) == []


def test_a_terminal_that_is_gone_is_left():
    reading, writing = os.pipe()
    os.close(writing)
    assert Keyboard(reading).pressed(10.0) == ["quit"]
    os.close(reading)
