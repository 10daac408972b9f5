"""What top knows: the figures of the queues, and their past."""

from __future__ import annotations

import pytest

from gearmancmd.admin import QueueStatus
from gearmancmd.cli.history import FORGET_SECONDS, PAST, History, sparkline


def status(server="one", queue="q", total=0, running=0, workers=0):
    return QueueStatus(server, queue, total, running, workers)


def test_the_history_sums_over_the_servers():
    (row,) = History().add([status("one", total=3, running=1, workers=2), status("two", total=5, workers=1)], 0.0)
    assert (row.queue, row.waiting, row.running, row.workers, row.change) == ("q", 7, 1, 3, None)


def test_the_history_tells_by_how_much_a_queue_grows_a_second():
    history = History()
    history.add([status(total=100, running=4)], 10.0)
    assert history.add([status(total=160)], 12.0)[0].change == 30.0
    assert history.add([status(total=60)], 12.5)[0].change == -200.0


def test_a_server_that_was_away_is_no_change():
    history = History()
    history.add([status("one", total=10), status("two", total=1000)], 0.0)
    assert history.add([status("one", total=12)], 1.0)[0].change == 2.0
    assert history.add([status("one", total=12), status("two", total=1000)], 2.0)[0].change == 0.0


def test_a_queue_that_appears_has_no_change_yet():
    history = History()
    history.add([], 0.0)
    assert history.add([status(total=10)], 1.0)[0].change is None


def test_the_longest_queue_comes_first():
    rows = History().add([status(queue="b", total=1), status(queue="c", total=5), status(queue="a", total=1)], 0.0)
    assert [row.queue for row in rows] == ["c", "a", "b"]


def test_the_history_keeps_a_short_past():
    history = History()
    for number in range(PAST + 5):
        (row,) = history.add([status(total=number)], float(number))
    assert list(row.past) == list(range(5, PAST + 5))


def test_an_outage_does_not_forget_the_past():
    history = History()
    history.add([status("one", "a", total=3), status("two", "b", total=5)], 0.0)
    for look in range(1, 100):  # nobody answers
        assert history.add([], float(look)) == []
    back, other = history.add([status("one", "a", total=4), status("two", "b", total=1)], 100.0)
    assert (back.queue, back.past, back.change) == ("a", (3, 4), None)
    assert (other.queue, other.past) == ("b", (5, 1))


def test_the_past_of_a_queue_on_a_server_that_is_away_outlives_looks_at_the_others():
    history = History()
    history.add([status("one", "a", total=3), status("two", "b", total=5)], 0.0)
    for look in range(1, 100):
        history.add([status("one", "a", total=3)], float(look))
    rows = history.add([status("one", "a"), status("two", "b", total=6)], 100.0)
    assert rows[0].past == (5, 6)


def test_a_queue_that_nobody_names_any_more_is_forgotten_in_the_end():
    history = History()
    history.add([status(queue="a", total=3)], 0.0)
    history.add([], FORGET_SECONDS + 1)
    (row,) = history.add([status(queue="a", total=1)], FORGET_SECONDS + 2)
    assert row.past == (1,)


@pytest.mark.parametrize(
    ("figures", "line"),
    [([], ""), ([0, 0], "▁▁"), ([0, 7, 3], "▁█▄"), ([1000, 1, 0], "█▂▁"), ([5, 5], "██")],
)
def test_a_sparkline_scales_to_its_highest_figure(figures, line):
    assert sparkline(figures) == line
