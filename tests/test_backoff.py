"""The waits between attempts to reach a server, and what is logged of them."""

from __future__ import annotations

import logging

from gearmancmd.backoff import LAST, Outage


def test_the_first_wait_is_short_and_the_last_is_capped():
    outage = Outage("server")
    waits = [outage.failed("refused") for _ in range(40)]
    assert 0 < waits[0] < 0.1
    assert all(0 < wait <= LAST for wait in waits)
    assert all(wait >= LAST / 2 for wait in waits[10:])


def test_waits_are_jittered():
    assert len({Outage("server").failed("refused") for _ in range(20)}) > 10


def test_one_line_an_outage_and_one_a_recovery(caplog):
    outage = Outage("server")
    outage.heard()
    with caplog.at_level(logging.INFO, "gearmancmd"):
        for _ in range(2):
            for _ in range(5):
                outage.failed("refused")
            for _ in range(5):
                outage.heard()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2


def test_the_first_answer_of_a_server_is_told_once(caplog):
    outage = Outage("server")
    with caplog.at_level(logging.INFO, "gearmancmd"):
        outage.heard()
        outage.heard()
    assert [record.getMessage() for record in caplog.records] == ["gearmand at server answers"]


def test_a_recovery_starts_the_waits_anew():
    outage = Outage("server")
    for _ in range(10):
        outage.failed("refused")
    outage.heard()
    assert outage.failed("refused") < 0.1
