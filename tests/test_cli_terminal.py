"""The command line in a real pseudo-terminal: bars, live tables, keys, Ctrl+C."""

from __future__ import annotations

import os
import re
import sys
import threading

import pexpect
import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd.admin import QueueStatus
from gearmancmd.cli.board import PAST, Board, sparkline
from tests.calling import Caller
from tests.commandline import ENVIRON
from tests.gearmand import Gearmand, counts, free_port
from tests.running import ROOT
from tests.waiting import LIMIT, wait_for

# pexpect forks, and some tests have threads; its child executes the command at once.
pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")

CTRL_C = "\x03"


@pytest.fixture
def terminal():
    """Runs a command in a pseudo-terminal of 100 columns, and sees to it that it has ended with the test."""
    started = []

    def start(command, **environ):
        child = pexpect.spawn(
            "/bin/sh",
            ["-c", f"exec {command}".replace("gearmancmd", f"{sys.executable} -m gearmancmd")],
            env={**ENVIRON, "TERM": "xterm", **environ},
            cwd=ROOT,
            dimensions=(30, 100),
            encoding="utf-8",
            timeout=LIMIT,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


def ended(child):
    """The exit status, once the command has ended."""
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


def plain(text):
    """What is left to read without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


class Steps(GearmanCMDQueue):
    """A queue whose job goes on as the test lets it."""

    def __init__(self):
        self.go = threading.Semaphore(0)

    def step(self, gcmd, task):
        for done in range(3):
            gcmd.send_status(done, 3)
            assert self.go.acquire(timeout=LIMIT)
        gcmd.send_data({"part": 1})
        return "done"

    def silent(self, gcmd, task):
        return "done"


@pytest.fixture
def steps(gearmand, queue, run):
    target = Steps()
    run(GearmanCMD([gearmand.address]).register_task(queue, target))
    yield target
    for _ in range(3):
        target.go.release()


# call.


def test_call_shows_the_progress_of_the_job(gearmand, queue, steps, terminal):
    child = terminal(f"gearmancmd call {queue} step -s {gearmand.address}")
    for done in range(3):
        child.expect(f"{done}/3")
        steps.go.release()
    child.expect_exact('{"part": 1}\r\n')
    child.expect_exact('"done"\r\n')
    assert ended(child) == 0


def test_call_keeps_the_progress_out_of_stdout(gearmand, queue, steps, terminal, tmp_path):
    child = terminal(f"gearmancmd call {queue} step -s {gearmand.address} > {tmp_path}/result")
    child.expect("0/3")
    for _ in range(3):
        steps.go.release()
    assert ended(child) == 0
    assert (tmp_path / "result").read_text("utf-8") == '{"part": 1}\n"done"\n'


def test_call_shows_no_bar_where_stderr_is_no_terminal(gearmand, queue, steps, terminal, tmp_path):
    child = terminal(f"gearmancmd call {queue} step -s {gearmand.address} 2> {tmp_path}/errors")
    for _ in range(3):
        steps.go.release()
    assert ended(child) == 0
    assert child.before == '{"part": 1}\r\n"done"\r\n'
    assert (tmp_path / "errors").read_text("utf-8") == ""


def test_call_of_a_job_that_reports_nothing_prints_the_result_only(gearmand, queue, steps, terminal):
    child = terminal(f"gearmancmd call {queue} silent -s {gearmand.address}")
    assert ended(child) == 0
    assert plain(child.before) == '"done"\r\n'


def test_call_is_left_with_ctrl_c_and_the_cursor_is_shown_again(gearmand, queue, steps, terminal):
    child = terminal(f"gearmancmd call {queue} step -s {gearmand.address}")
    child.expect("0/3")
    child.send(CTRL_C)
    assert ended(child) == 130
    assert "Traceback" not in child.before
    assert child.before.rfind("\x1b[?25h") > child.before.rfind("\x1b[?25l")


def test_call_without_a_task_does_not_wait_for_the_keyboard(gearmand, queue, terminal):
    child = terminal(f"gearmancmd call {queue} -s {gearmand.address}")
    child.expect("gearmancmd: no task: give a COMMAND")
    assert ended(child) == 2


# submit.


def test_submit_shows_number_and_rate(gearmand, queue, terminal, tmp_path):
    (tmp_path / "tasks.jsonl").write_text("1\n" * 3000, "utf-8")
    child = terminal(f"gearmancmd submit {queue} -s {gearmand.address} < {tmp_path}/tasks.jsonl")
    child.expect(r"[\d,]+ tasks, [\d,]+/s")
    child.expect(r"3,000 tasks submitted, [\d,]+/s\r\n")
    assert ended(child) == 0
    assert counts(gearmand, queue)[0] == 3000


# run.


def test_run_is_left_with_ctrl_c(gearmand, queue, terminal, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import gearmancmd\nclass Queue(gearmancmd.GearmanCMDQueue):\n    def reverse(self, gcmd, task): pass\n",
        "utf-8",
    )
    paths = f"{ROOT}{os.pathsep}{tmp_path}"
    child = terminal(f"gearmancmd run mine:Queue -q {queue} -s {gearmand.address}", PYTHONPATH=paths)
    child.expect("works on")
    wait_for(lambda: counts(gearmand, queue)[2], "the worker")
    child.send(CTRL_C)
    assert ended(child) == 130
    assert "Traceback" not in child.before


def test_demo_reads_like_a_story(terminal):
    child = terminal("gearmancmd demo")
    for line in ("job server", "worker", 'task .*"message": "Hello"', 'result      "olleH"\r\n'):
        child.expect(line)
    assert ended(child) == 0


# status --watch and top.


def test_status_is_watched_until_ctrl_c(own_gearmand, queue, terminal):
    child = terminal(f"gearmancmd status --watch --interval 0.05 -s {own_gearmand.address}")
    child.expect("waiting")
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
    child.expect(rf"{queue}\s+1\s+0\s+0")
    own_gearmand.stop()
    child.expect(f"{own_gearmand.address}: Connection refused")
    child.send(CTRL_C)
    assert ended(child) == 0
    assert "Traceback" not in child.before


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
        assert ended(child) == 0
        assert "Traceback" not in child.before
        assert "\x1b[?1049l" in child.before  # the screen that was there before


def test_top_leaves_the_keyboard_as_it_was(own_gearmand, terminal):
    child = terminal(f"sh -c 'gearmancmd top -s {own_gearmand.address}; stty -a'")
    child.expect("no queues")
    child.send("x")  # no key of ours
    child.send("q")
    assert ended(child) == 0
    assert re.search(r"[^-]icanon", child.before)
    assert re.search(r"[^-]echo ", child.before)


def test_top_ends_with_sigterm_and_restores_the_screen(own_gearmand, terminal):
    child = terminal(f"gearmancmd top --interval 60 -s {own_gearmand.address}")
    child.expect("no queues")
    child.kill(15)
    assert ended(child) == 128 + 15
    assert "\x1b[?1049l" in child.before


def test_top_without_utf_8_draws_with_ascii(own_gearmand, queue, terminal):
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
    child = terminal(f"gearmancmd top -s {own_gearmand.address}", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    child.expect(rf"{queue}\s+1\s+0\s+0\s+#")
    child.send("q")
    assert ended(child) == 0


def test_top_of_a_server_that_is_down_says_so(terminal):
    address = f"127.0.0.1:{free_port()}"
    child = terminal(f"gearmancmd top -s {address}")
    child.expect(f"{address}: Connection refused")
    child.send("q")
    assert ended(child) == 0


# What top knows.


def status(server="one", queue="q", total=0, running=0, workers=0):
    return QueueStatus(server, queue, total, running, workers)


def test_the_board_sums_over_the_servers():
    (row,) = Board().add([status("one", total=3, running=1, workers=2), status("two", total=5, workers=1)], 0.0)
    assert (row.queue, row.waiting, row.running, row.workers, row.change) == ("q", 7, 1, 3, None)


def test_the_board_tells_by_how_much_a_queue_grows_a_second():
    board = Board()
    board.add([status(total=100, running=4)], 10.0)
    assert board.add([status(total=160)], 12.0)[0].change == 30.0
    assert board.add([status(total=60)], 12.5)[0].change == -200.0


def test_a_server_that_was_away_is_no_change():
    board = Board()
    board.add([status("one", total=10), status("two", total=1000)], 0.0)
    assert board.add([status("one", total=12)], 1.0)[0].change == 2.0
    assert board.add([status("one", total=12), status("two", total=1000)], 2.0)[0].change == 0.0


def test_a_queue_that_appears_has_no_change_yet():
    board = Board()
    board.add([], 0.0)
    assert board.add([status(total=10)], 1.0)[0].change is None


def test_the_longest_queue_comes_first():
    rows = Board().add([status(queue="b", total=1), status(queue="c", total=5), status(queue="a", total=1)], 0.0)
    assert [row.queue for row in rows] == ["c", "a", "b"]


def test_the_board_keeps_a_short_past():
    board = Board()
    for number in range(PAST + 5):
        (row,) = board.add([status(total=number)], float(number))
    assert list(row.past) == list(range(5, PAST + 5))


@pytest.mark.parametrize(
    ("figures", "line"),
    [([], ""), ([0, 0], "▁▁"), ([0, 7, 3], "▁█▄"), ([1000, 1, 0], "█▂▁"), ([5, 5], "██")],
)
def test_a_sparkline_scales_to_its_highest_figure(figures, line):
    assert sparkline(figures) == line
