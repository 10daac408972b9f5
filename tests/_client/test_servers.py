"""Which server a client turns to."""

from __future__ import annotations

from gearmancmd._client.servers import REST_SECONDS, ServerChoice


def test_servers_take_turns():
    choice = ServerChoice("abc")
    firsts = [choice.order(0.0)[0] for _ in range(6)]
    assert sorted(firsts[:3]) == ["a", "b", "c"]
    assert firsts[:3] == firsts[3:]


def test_a_unique_has_a_server_of_its_own():
    choice = ServerChoice("abc")
    assert len({choice.order(0.0, b"some unique")[0] for _ in range(5)}) == 1
    assert len({choice.order(0.0, f"unique {number}".encode())[0] for number in range(50)}) == 3


def test_a_server_that_failed_comes_last_until_it_has_rested():
    choice = ServerChoice("ab")
    choice.failed("a", 10.0)
    assert [choice.order(10.0 + REST_SECONDS / 2)[0] for _ in range(4)] == ["b"] * 4
    assert {choice.order(10.0 + REST_SECONDS)[0] for _ in range(2)} == {"a", "b"}


def test_all_servers_are_tried_when_all_failed_the_oldest_failure_first():
    choice = ServerChoice("ab")
    choice.failed("b", 10.0)
    choice.failed("a", 11.0)
    assert [choice.order(11.5) for _ in range(2)] == [["b", "a"]] * 2


def test_a_server_that_was_reached_has_its_turn_again():
    choice = ServerChoice("ab")
    choice.failed("a", 10.0)
    choice.reached("a")
    assert {choice.order(10.0)[0] for _ in range(2)} == {"a", "b"}
