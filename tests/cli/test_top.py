"""``gearmancmd top`` and the tables of status and workers, as they stand on screens of several sizes."""

from __future__ import annotations

import re
import unicodedata
from contextlib import ExitStack

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd.cli.history import PAST
from tests.support.gear_client import Caller
from tests.support.gearmand import Gearmand, counts, free_port
from tests.support.screen import exit_status
from tests.support.servers import StatusServer
from tests.support.waiting import wait_for

# pexpect forks, and some tests have threads; its child executes the command at once.
pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")

CTRL_C = "\x03"
WIDTHS = [40, 80, 120]

#: Names as long as gearmand takes them; letters of two cells, letters of none, and spaces.
NAMES = ["plain-" * 83 + "end", "\u961f\u5217" * 80, "e\u0301" * 150 + "z", "two words " * 45 + "end", "short"]

BLOCKS = "[\u2581-\u2588]"


def send(server, *names):
    with Caller(server) as client:
        for name in names:
            client.send(name, {}, background=True)


def row_of(lines, name):
    """The name as it is shown, and the figures behind it, of the line that is the queue's."""
    name = unicodedata.normalize("NFC", name)
    for line in lines:
        found = re.fullmatch(rf"(.*?) +(\d[\d,]*) +(\d[\d,]*) +(\d[\d,]*)(?: +[+-][\d,.]+)?(?: +{BLOCKS}+)?", line)
        if found and is_short_for(found[1], name):
            return found.groups()
    return None


def is_short_for(shown, name):
    head, dots, tail = shown.partition("\u2026")
    if not dots:
        return shown == name
    return len(head) > 0 and len(tail) > 0 and name.startswith(head) and name.endswith(tail)


def history_of(lines, name):
    """The history of the queue with that (short) name."""
    found = re.search(rf"^{name} .*?({BLOCKS}*)$", "\n".join(lines), re.MULTILINE)
    return found[1] if found else ""


# top, on the screen.


@pytest.mark.parametrize("width", WIDTHS)
def test_top_shows_all_figures_of_queues_with_long_names(own_gearmand, screen, width):
    send(own_gearmand, *NAMES)
    top = screen(f"gearmancmd top --interval 0.05 -s {own_gearmand.address}", columns=width)
    lines = top.wait_for(lambda lines: all(row_of(lines, name) for name in NAMES), "all queues")
    assert [row_of(lines, name)[1:] for name in NAMES] == [("1", "0", "0")] * len(NAMES)
    assert row_of(lines, "short")[0] == "short"
    assert len([line for line in lines if line]) == 2 + len(NAMES)  # no line is broken into two


@pytest.mark.parametrize("width", WIDTHS)
def test_top_shows_large_figures_in_full(screen, width):
    with StatusServer({"orders-" * 10: (123456789, 12345, 6789), "mail": (0, 0, 0)}) as server:
        top = screen(f"gearmancmd top --interval 0.05 -s {server.address}", columns=width)
        lines = top.wait_for(lambda lines: row_of(lines, "orders-" * 10), "the queue")
        assert row_of(lines, "orders-" * 10)[1:] == ("123,444,444", "12,345", "6,789")


@pytest.mark.parametrize(("width", "cells"), [(120, PAST), (80, 14), (40, 0)])
def test_where_there_is_no_room_history_goes_first_and_then_the_middle_of_names(own_gearmand, screen, width, cells):
    name = "the-name-of-a-queue-of-30-cell"
    send(own_gearmand, name)
    top = screen(f"gearmancmd top --interval 0.01 -s {own_gearmand.address}", columns=width)

    def full(lines):
        row = row_of(lines, name)
        return row and len(history_of(lines, row[0])) == cells

    lines = top.wait_for(full, "the history")
    whole = row_of(lines, name)[0] == name
    assert whole == (width > 40)
    assert any("history" in line for line in lines) == (width > 40)


def test_top_says_how_many_queues_have_no_line_and_scrolls_to_them(screen):
    names = [f"queue-{number:02}" for number in range(20)]
    with StatusServer({name: (100 - number, 0, 0) for number, name in enumerate(names)}) as server:
        top = screen(f"gearmancmd top --interval 60 -s {server.address}", lines=8)

        def shows(first, last, rest):
            def shown(lines):
                queues = [line.split()[0] for line in lines if line.startswith("queue-")]
                return queues == names[first:last] and rest in lines[-1]

            top.wait_for(shown, f"queues {first} to {last}, and {rest}")

        shows(0, 5, "\u2026 15 more")
        for key, first, rest in [
            ("j", 1, "\u2026 1 above, 14 more"),
            ("\x1b[B", 2, "\u2026 2 above, 13 more"),
            ("\x1bOB", 3, "\u2026 3 above, 12 more"),
            ("k", 2, "\u2026 2 above, 13 more"),
            ("\x1b[A", 1, "\u2026 1 above, 14 more"),
            ("\x1b[6~", 5, "\u2026 5 above, 10 more"),
            ("jjjjjjjjjjjjjjjjjjjjjjjj", 15, "\u2026 15 above, 0 more"),
            ("k", 14, "\u2026 14 above, 1 more"),
            ("\x1b[5~\x1b[5~\x1b[5~\x1b[5~", 0, "\u2026 15 more"),
        ]:
            top.child.send(key)
            shows(first, first + 5, rest)
        top.child.send("\x1bq")  # Escape alone is no key of ours
        assert exit_status(top.child) == 0


def test_an_outage_does_not_forget_history(own_gearmand, queue, screen):
    send(own_gearmand, queue, queue)
    top = screen(f"gearmancmd top --interval 0.05 -s {own_gearmand.address}")
    top.wait_for(lambda lines: len(history_of(lines, queue)) > 3, "a history")
    own_gearmand.stop()
    lines = top.wait_for(lambda lines: "Connection refused" in lines[1], "the outage to be said")
    assert not row_of(lines, queue) and "no queues" not in "\n".join(lines)
    own_gearmand.start()
    send(own_gearmand, queue)  # it remembers nothing of the two jobs
    top.wait_for(lambda lines: re.search("\u2588\u2585", history_of(lines, queue)), "two jobs, and then one")


def test_top_follows_the_size_of_the_terminal(own_gearmand, screen):
    send(own_gearmand, NAMES[0], "short")
    top = screen(f"gearmancmd top --interval 60 -s {own_gearmand.address}", columns=120, lines=30)

    def fills(width):
        def filled(lines):
            row = row_of(lines, NAMES[0])
            return row and row_of(lines, "short") and len(next(line for line in lines if row[0] in line)) > width - 12

        return filled

    top.wait_for(fills(120), "a table of 120 columns")
    top.resize(40, 10)
    lines = top.wait_for(fills(40), "a table of 40 columns")
    assert len([line for line in lines if line]) == 4
    top.resize(80, 20)
    top.wait_for(fills(80), "a table of 80 columns")
    top.child.send("q")
    assert exit_status(top.child) == 0


def test_errors_leave_room_for_the_queues(own_gearmand, queue, screen):
    send(own_gearmand, queue)
    down = " ".join(f"-s 127.0.0.1:{free_port()}" for _ in range(20))
    top = screen(f"gearmancmd top -s {own_gearmand.address} {down}", columns=40, lines=9)
    lines = top.wait_for(lambda lines: row_of(lines, queue), "the queue")
    assert lines[3] == "\u2026 18 more errors"


# status and workers, on the screen.


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("options", ["", "--watch --interval 0.05"])
def test_status_shows_all_figures_of_queues_with_long_names(own_gearmand, screen, width, options):
    send(own_gearmand, *NAMES)
    status = screen(f"gearmancmd status {options} -s {own_gearmand.address}", columns=width)
    lines = status.wait_for(lambda lines: all(row_of(lines, name) for name in NAMES), "all queues")
    assert [row_of(lines, name)[1:] for name in NAMES] == [("1", "0", "0")] * len(NAMES)
    assert row_of(lines, "short")[0] == "short"
    assert len([line for line in lines if line]) == 1 + len(NAMES)


@pytest.mark.parametrize("width", WIDTHS)
def test_status_of_several_servers_shortens_their_names_too(screen, width):
    name = "orders-" * 10
    with ExitStack() as stack:
        servers = [stack.enter_context(StatusServer({name: (1234567, 234567, 1234)})) for _ in range(2)]
        options = " ".join(f"-s {server.address}" for server in servers)
        status = screen(f"gearmancmd status {options}", columns=width)
        pattern = r"^(\S+) +(\S+) +1000000 +234567 +1234$"

        def rows(lines):
            return [found.groups() for line in lines if (found := re.search(pattern, line))]

        found = rows(status.wait_for(lambda lines: len(rows(lines)) == 2, "a row of each server"))
    assert all(is_short_for(row[0], name) for row in found)
    assert all(any(is_short_for(row[1], server.address) for row in found) for server in servers)


def test_status_watch_says_how_many_queues_have_no_line(screen):
    with StatusServer({f"queue-{number:02}": (1, 0, 0) for number in range(20)}) as server:
        watch = screen(f"gearmancmd status --watch --interval 0.05 -s {server.address}", lines=8)
        lines = watch.wait_for(lambda lines: "\u2026 15 more" in lines, "the rest")
    assert [line.split()[0] for line in lines[1:6]] == [f"queue-{number:02}" for number in range(5)]


@pytest.mark.parametrize("width", WIDTHS)
def test_workers_on_a_terminal_stand_in_a_line_each(own_gearmand, run, screen, width):
    class Queue(GearmanCMDQueue):
        def reverse(self, gcmd, task):
            pass

    gcmd = GearmanCMD([own_gearmand.address], client_id="archive-" * 10)
    names = [f"{'queue' * 10}-{number}" for number in range(10)]
    for name in names:
        gcmd.register_task(name, Queue())
    run(gcmd)
    wait_for(lambda: counts(own_gearmand, names[-1])[2], "the worker")
    workers = screen(f"gearmancmd workers -s {own_gearmand.address}", columns=width)
    lines = workers.wait_for(lambda lines: lines[1], "the worker")
    assert re.search(r"-\d$", lines[1]) and not lines[2]


def test_names_are_whole_where_nobody_looks_at_them(own_gearmand, screen, tmp_path):
    send(own_gearmand, *NAMES)
    status = screen(f"gearmancmd status -s {own_gearmand.address} > {tmp_path}/table", columns=40)
    assert exit_status(status.child) == 0
    table = (tmp_path / "table").read_text("utf-8")
    assert all(name in table for name in NAMES)


def test_names_that_the_terminal_cannot_write_stand_as_escape_sequences(own_gearmand, terminal):
    send(own_gearmand, "\u961f\u5217")
    child = terminal(
        f"gearmancmd status -s {own_gearmand.address}", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    child.expect_exact("\\u961f\\u5217")
    assert exit_status(child) == 0


# top, by its keys and its end.


@pytest.mark.parametrize("key", ["q", CTRL_C])
def test_top_shows_the_queues_of_all_servers_until_q_or_ctrl_c(queue, terminal, key):
    with Gearmand() as one, Gearmand() as two:
        child = terminal(f"gearmancmd top --interval 0.05 -s {one.address} -s {two.address}")
        child.expect("no queues")
        for server, jobs in ((one, 1), (two, 2)):
            with Caller(server) as client:
                for _ in range(jobs):
                    client.send(queue, {}, background=True)
        child.expect(rf"{queue}\s+3\s+0\s+0\s+\+0.0")
        child.expect("█")
        two.stop()
        child.expect(f"{two.address}: Connection refused")
        child.expect(rf"{queue}\s+1\s+0\s+0")
        child.send(key)
        assert exit_status(child) == 0
        assert "Traceback" not in child.before
        assert "\x1b[?1049l" in child.before  # the screen that was there before


def test_top_leaves_the_keyboard_as_it_was(own_gearmand, terminal):
    child = terminal(f"sh -c 'gearmancmd top -s {own_gearmand.address}; stty -a'")
    child.expect("no queues")
    child.send("x")  # no key of ours
    child.send("q")
    assert exit_status(child) == 0
    assert re.search(r"[^-]icanon", child.before)
    assert re.search(r"[^-]echo ", child.before)


def test_top_ends_with_sigterm_and_restores_the_screen(own_gearmand, terminal):
    child = terminal(f"gearmancmd top --interval 60 -s {own_gearmand.address}")
    child.expect("no queues")
    child.kill(15)
    assert exit_status(child) == 128 + 15
    assert "\x1b[?1049l" in child.before


def test_top_without_utf_8_draws_with_ascii(own_gearmand, queue, terminal):
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
    child = terminal(f"gearmancmd top -s {own_gearmand.address}", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    child.expect(rf"{queue}\s+1\s+0\s+0\s+#")
    child.send("q")
    assert exit_status(child) == 0


def test_top_of_a_server_that_is_down_says_so(terminal):
    address = f"127.0.0.1:{free_port()}"
    child = terminal(f"gearmancmd top -s {address}")
    child.expect(f"{address}: Connection refused")
    child.send("q")
    assert exit_status(child) == 0
