"""Which server a client turns to."""

from __future__ import annotations

from gearmancmd.rota import REST, Rota


def test_servers_take_turns():
    rota = Rota("abc")
    firsts = [rota.order(0.0)[0] for _ in range(6)]
    assert sorted(firsts[:3]) == ["a", "b", "c"]
    assert firsts[:3] == firsts[3:]


def test_a_unique_has_a_server_of_its_own():
    rota = Rota("abc")
    assert len({rota.order(0.0, "some unique")[0] for _ in range(5)}) == 1
    assert len({rota.order(0.0, f"unique {number}")[0] for number in range(50)}) == 3


def test_a_server_that_failed_comes_last_until_it_has_rested():
    rota = Rota("ab")
    rota.failed("a", 10.0)
    assert [rota.order(10.0 + REST / 2)[0] for _ in range(4)] == ["b"] * 4
    assert {rota.order(10.0 + REST)[0] for _ in range(2)} == {"a", "b"}


def test_all_servers_are_tried_when_all_failed_the_oldest_failure_first():
    rota = Rota("ab")
    rota.failed("b", 10.0)
    rota.failed("a", 11.0)
    assert [rota.order(11.5) for _ in range(2)] == [["b", "a"]] * 2


def test_a_server_that_was_reached_has_its_turn_again():
    rota = Rota("ab")
    rota.failed("a", 10.0)
    rota.reached("a")
    assert {rota.order(10.0)[0] for _ in range(2)} == {"a", "b"}
