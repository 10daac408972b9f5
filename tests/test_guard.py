"""The lock of a client, and what becomes of it when its holder is broken off."""

from __future__ import annotations

import threading

import pytest

from gearmancmd.guard import Guard
from tests.waiting import LIMIT, wait_for


@pytest.fixture
def mended():
    return []


@pytest.fixture
def guard(mended):
    return Guard(lambda: mended.append(True))


def test_a_holder_that_was_broken_off_is_mended_once_by_the_next(guard, mended):
    with pytest.raises(KeyboardInterrupt), guard:
        raise KeyboardInterrupt
    assert not mended
    for _ in range(2):
        with guard:
            assert len(mended) == 1


def test_an_exception_is_no_reason_to_mend(guard, mended):
    with pytest.raises(ValueError), guard:
        raise ValueError
    with guard:
        assert not mended


def test_it_keeps_others_out(guard, mended):
    entered = threading.Event()

    def enter():
        with guard:
            entered.set()

    thread = threading.Thread(target=enter)
    with guard:
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(LIMIT)
    thread.join()
    assert not mended


def test_a_pause_lets_others_in_and_ends_with_their_notice(guard, mended):
    pausing, over = threading.Event(), threading.Event()

    def pause():
        with guard:
            pausing.set()
            guard.pause(LIMIT)
            over.set()

    thread = threading.Thread(target=pause)
    thread.start()
    assert pausing.wait(LIMIT)
    with guard:
        guard.notify()
    wait_for(over.is_set)
    thread.join()
    assert not mended


def test_to_be_broken_off_in_a_pause_breaks_nothing(guard, mended, monkeypatch):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(guard._changed, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt), guard:
        guard.pause(1)
    with guard:
        assert not mended
