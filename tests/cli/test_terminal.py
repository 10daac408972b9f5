"""The command line in a real pseudo-terminal: bars, live tables, keys, Ctrl+C."""

from __future__ import annotations

import os
import re
import threading

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue
from tests.support.gear_client import Caller
from tests.support.gearmand import counts
from tests.support.screen import exit_status
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ROOT

# pexpect forks, and some tests have threads; its child executes the command at once.
pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")

CTRL_C = "\x03"


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
    assert exit_status(child) == 0


def test_call_keeps_the_progress_out_of_stdout(gearmand, queue, steps, terminal, tmp_path):
    child = terminal(f"gearmancmd call {queue} step -s {gearmand.address} > {tmp_path}/result")
    child.expect("0/3")
    for _ in range(3):
        steps.go.release()
    assert exit_status(child) == 0
    assert (tmp_path / "result").read_text("utf-8") == '{"part": 1}\n"done"\n'


def test_call_shows_no_bar_where_stderr_is_no_terminal(gearmand, queue, steps, terminal, tmp_path):
    child = terminal(f"gearmancmd call {queue} step -s {gearmand.address} 2> {tmp_path}/errors")
    for _ in range(3):
        steps.go.release()
    assert exit_status(child) == 0
    assert child.before == '{"part": 1}\r\n"done"\r\n'
    assert (tmp_path / "errors").read_text("utf-8") == ""


def test_call_of_a_job_that_reports_nothing_prints_the_result_only(gearmand, queue, steps, terminal):
    child = terminal(f"gearmancmd call {queue} silent -s {gearmand.address}")
    assert exit_status(child) == 0
    assert plain(child.before) == '"done"\r\n'


def test_call_is_left_with_ctrl_c_and_the_cursor_is_shown_again(gearmand, queue, steps, terminal):
    child = terminal(f"gearmancmd call {queue} step -s {gearmand.address}")
    child.expect("0/3")
    child.send(CTRL_C)
    assert exit_status(child) == 130
    assert "Traceback" not in child.before
    assert child.before.rfind("\x1b[?25h") > child.before.rfind("\x1b[?25l")


def test_call_without_a_task_does_not_wait_for_the_keyboard(gearmand, queue, terminal):
    child = terminal(f"gearmancmd call {queue} -s {gearmand.address}")
    child.expect("gearmancmd: no task: give a COMMAND")
    assert exit_status(child) == 2


# submit.


def test_submit_shows_number_and_rate(gearmand, queue, terminal, tmp_path):
    (tmp_path / "tasks.jsonl").write_text("1\n" * 3000, "utf-8")
    child = terminal(f"gearmancmd submit {queue} -s {gearmand.address} < {tmp_path}/tasks.jsonl")
    child.expect(r"[\d,]+ tasks, [\d,]+/s")
    child.expect(r"3,000 tasks submitted, [\d,]+/s\r\n")
    assert exit_status(child) == 0
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
    assert exit_status(child) == 130
    assert "Traceback" not in child.before


def test_demo_reads_like_a_story(terminal):
    child = terminal("gearmancmd demo")
    for line in ("job server", "worker", 'task .*"message": "Hello"', 'result      "olleH"\r\n'):
        child.expect(line)
    assert exit_status(child) == 0


# status --watch.


def test_status_is_watched_until_ctrl_c(own_gearmand, queue, terminal):
    child = terminal(f"gearmancmd status --watch --interval 0.05 -s {own_gearmand.address}")
    child.expect("waiting")
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
    child.expect(rf"{queue}\s+1\s+0\s+0")
    own_gearmand.stop()
    child.expect(f"{own_gearmand.address}: Connection refused")
    child.send(CTRL_C)
    assert exit_status(child) == 0
    assert "Traceback" not in child.before
