"""A poll that may stay awake."""

from __future__ import annotations

import select
import threading

import pytest

import gearmancmd.poll
from gearmancmd.mailbox import Bell
from gearmancmd.poll import Poll


@pytest.fixture
def offers(monkeypatch):
    """How often the processor was offered to others: once for each look of a wait that is awake."""
    made: list[None] = []
    monkeypatch.setattr(gearmancmd.poll, "_offer_processor", lambda: made.append(None))
    return made


@pytest.fixture
def bell():
    return Bell()


@pytest.fixture
def poll(bell):
    poll = Poll()
    poll.register(bell, select.POLLIN)
    return poll


def test_what_is_there_already_is_seen(poll, bell):
    bell.ring()
    assert poll.wait(30) == poll.wait(30) == [(bell.fileno(), select.POLLIN)]


@pytest.mark.parametrize("quick_before", [True, False])
def test_what_comes_later_is_seen(poll, bell, quick_before):
    poll.wait(0 if quick_before else 0.01)
    threading.Timer(0.05, bell.ring).start()
    assert poll.wait(30) == [(bell.fileno(), select.POLLIN)]


def test_when_the_time_is_over_nothing_was_seen(poll):
    assert poll.wait(0.01) == poll.wait(0) == poll.wait(0.01) == []


def test_a_short_wait_is_followed_by_one_moment_awake_and_a_long_one_by_none(poll, offers):
    poll.wait(0.01)
    assert not offers
    poll.wait(0)
    poll.wait(0.01)
    assert offers
    offers.clear()
    poll.wait(0.01)
    assert not offers


def test_what_comes_while_it_is_awake_ends_the_wait(poll, bell, monkeypatch):
    monkeypatch.setattr(gearmancmd.poll, "BRISK", 30)
    monkeypatch.setattr(gearmancmd.poll, "_offer_processor", bell.ring)
    poll.wait(0)
    assert poll.wait(30) == [(bell.fileno(), select.POLLIN)]


def test_where_the_processor_cannot_be_offered_all_waits_are_slept_through(poll, bell, monkeypatch):
    monkeypatch.setattr(gearmancmd.poll, "_offer_processor", None)
    poll.wait(0)
    threading.Timer(0.05, bell.ring).start()
    assert poll.wait(30) == [(bell.fileno(), select.POLLIN)]
