"""``gearmancmd run``: from an import path to a worker, and what its log and its errors say."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from tests.support.commandline import ENVIRON, gearmancmd, one_line
from tests.support.gear_client import Caller
from tests.support.gearmand import counts, free_port
from tests.support.waiting import wait_for


def test_run_works_with_a_class_of_the_current_directory(gearmand, queue, project, start):
    running = start("run", "shop.queues:Queue", "-q", queue, "-s", gearmand.address, cwd=project)
    running.wait_for_line(f"works on {queue} with shop.queues:Queue at {gearmand.address}")
    with Caller(gearmand) as client:
        assert client.call(queue, {"command": "reverse", "message": "Hello"}).result == "olleH"
        assert client.call(queue, {"command": "fail"}).reason == "out of paper"
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0
    assert "Traceback" not in "".join(running.stderr)


def test_run_works_on_several_queues_and_servers(gearmand, own_gearmand, queue, project, start):
    pairs = [f"{queue}-1=shop.queues:Queue", f"{queue}-2=shop.queues:queue"]
    options = ["--command", "verb", "--prefetch", "5", "--client-id", queue]
    start("run", *pairs, *options, "-s", gearmand.address, "-s", own_gearmand.address, cwd=project)
    for server in (gearmand, own_gearmand):
        with Caller(server) as client:
            for number in (1, 2):
                outcome = client.call(f"{queue}-{number}", {"verb": "reverse", "message": "Hello"})
                assert outcome.result == "olleH"
    workers = gearmancmd("workers", "--json", "-s", own_gearmand.address)
    assert [row["client_id"] for row in json.loads(workers.stdout)] == [queue]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["shop.queues:Queue"], "which queue? Say QUEUE=shop.queues:Queue, or -q QUEUE"),
        (["shop.queues:Queue", "shop.queues:queue", "-q", "q"], "-q q is for one MODULE:CLASS"),
        (["q=shop.queues:Queue", "-q", "q"], "-q q is for one MODULE:CLASS"),
        (["q=shop.queues:Queue", "q=shop.queues:queue"], "queue q is given twice"),
        (["q=shop.queues"], "shop.queues is not an import path: MODULE:CLASS, such as myapp.queues:Queue"),
        (["q=:Queue"], ":Queue is not an import path"),
        (["q=nowhere_at_all:Queue"], "nowhere_at_all:Queue cannot be loaded: ModuleNotFoundError: No module named"),
        (["q=shop.queues:Missing"], "cannot be loaded: AttributeError"),
        (["q=broken:Queue"], "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (["q=wrong:Queue"], "cannot be loaded: SyntaxError"),
        (["q=shop.queues:Picky"], "cannot be loaded: TypeError"),
        (["q=shop.queues:Nothing"], "shop.queues:Nothing is not a GearmanCMDQueue"),
        (["q=shop.queues:empty"], "has no command"),
        (["two\nlines=shop.queues:Queue"], "queue must be a name without control characters, not"),
        (["q=shop.queues:Queue", "--client-id", "two words"], "client_id must be a name without white space"),
        (["q=shop.queues:Queue", "--failures", "loud"], "'loud' is not one of 'warning', 'exception', 'plain'"),
        (["q=shop.queues:Queue", "--max-payload", "0"], "--max-payload"),
    ],
)
def test_run_with_what_cannot_be_run_is_one_line_and_exit_status_2(arguments, text, project):
    assert text in one_line(gearmancmd("run", *arguments, cwd=project), 2)


@pytest.mark.parametrize(
    ("options", "state", "said"),
    [
        ([], "failed", b'"out of paper"'),
        (["--failures", "warning"], "failed", b'"out of paper"'),
        (["--failures", "exception"], "exception", b'"out of paper"'),
        (["--failures", "plain"], "failed", None),
    ],
)
def test_run_tells_of_a_failed_job_as_failures_says(options, state, said, gearmand, queue, project, start):
    start("run", "shop.queues:Queue", "-q", queue, *options, "-s", gearmand.address, cwd=project)
    with Caller(gearmand) as client:
        outcome = client.call(queue, {"command": "fail"})
        assert (outcome.state, outcome.said) == (state, said)
        assert client.call(queue, {"command": "reverse", "message": "Hello"}).result == "olleH"


def test_run_fails_a_job_that_is_larger_than_max_payload_and_goes_on(gearmand, queue, project, start):
    start("run", "shop.queues:Queue", "-q", queue, "--max-payload", "1000", "-s", gearmand.address, cwd=project)
    with Caller(gearmand) as client:
        large = client.call(queue, {"command": "reverse", "message": "x" * 2000})
        assert large.state == "failed"
        assert "more than max_payload, which is 1000" in large.reason
        assert client.call(queue, {"command": "reverse", "message": "Hello"}).result == "olleH"


def test_run_finishes_and_answers_the_job_in_hand_on_sigterm(gearmand, queue, project, start):
    fifo = project / "fifo"
    os.mkfifo(fifo)
    running = start("run", "shop.queues:Queue", "-q", queue, "-s", gearmand.address, cwd=project)
    with Caller(gearmand) as client:
        job = client.send(queue, {"command": "wait", "fifo": str(fifo)})
        waiting = client.send(queue, {"command": "reverse", "message": "not begun"})
        running.wait_for_line("waiting")
        running.signal(signal.SIGTERM)
        running.wait_for_line("takes no more jobs")
        running.signal(signal.SIGUSR1)
        running.wait_for_line("in hand for")  # one after the other: it is stopping by now
        fifo.write_text("done with it", "utf-8")
        assert client.outcome(job).result == "done with it"
        assert running.exit_status() == 0
        assert not waiting.complete
    assert counts(gearmand, queue)[0] <= 1


def test_check_prints_the_commands_of_each_queue_and_connects_to_nothing(tmp_path):
    (tmp_path / "checked.py").write_text(
        "from gearmancmd import GearmanCMDQueue, command\n"
        "class Mail(GearmanCMDQueue, dict):\n"
        "    @command(name='send-all')\n"
        "    def send_all(self, gcmd, task): pass\n"
        "    def send(self, gcmd, task): pass\n"
        "    def archive(self, gcmd, task): pass\n"
        "    def address_of(self, name): pass\n"
        "    def _connect(self, gcmd, task): pass\n"
        "class Post(GearmanCMDQueue):\n"
        "    def dispatch(self, task): return 'stamp'\n"
        "    def default(self, gcmd, task): pass\n",
        "utf-8",
    )
    nowhere = f"127.0.0.1:{free_port()}"
    done = gearmancmd("run", "--check", "mail=checked:Mail", "post=checked:Post", "-s", nowhere, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "mail: archive, send, send-all\npost: default\n", "")
    assert gearmancmd("run", "--check", "mail=checked:Nothing", cwd=tmp_path).returncode == 2


# A GearmanCMD of the user's own.

OWN = """
import os
from gearmancmd import GearmanCMD, GearmanCMDQueue, Hooks

class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]

    def crash(self, gcmd, task):
        raise ValueError("a bug")

    def settings(self, gcmd, task):
        return [gcmd.prefetch, gcmd.client_id, gcmd.command, gcmd.failures, gcmd.max_payload, gcmd.threads]

class Started(Hooks):
    def on_start(self):
        print("hook: started", flush=True)

class Own(GearmanCMD):
    def __init__(self):
        super().__init__([os.environ["OWN_SERVER"]], "verb", prefetch=7, client_id="own", hooks=[Started()])
        self.register_task(os.environ["OWN_QUEUE"], Queue())

gcmd = Own()
handling = Own()
handling.exception_handler = str
class Shop:
    gcmd = gcmd
def make():
    return gcmd
def make_nothing():
    return 3
idle = GearmanCMD(["localhost"])
"""


@pytest.fixture
def own(tmp_path, gearmand, queue, monkeypatch):
    """A directory with GearmanCMDs in a module, on the server and the queue of the test."""
    (tmp_path / "own.py").write_text(OWN, "utf-8")
    monkeypatch.setitem(ENVIRON, "OWN_SERVER", gearmand.address)
    monkeypatch.setitem(ENVIRON, "OWN_QUEUE", queue)
    return tmp_path


@pytest.mark.parametrize("processes", [[], ["-p", "2"]], ids=["one", "many"])
@pytest.mark.parametrize("path", ["own:gcmd", "own:Shop.gcmd", "own:make", "own:Own"])
def test_run_works_with_a_gearmancmd_and_all_that_is_its_own(gearmand, queue, own, start, path, processes):
    running = start("run", path, *processes, cwd=own)
    with Caller(gearmand) as client:
        assert client.call(queue, {"verb": "settings"}).result == [7, "own", "verb", None, None, None]
        assert client.call(queue, {"verb": "crash"}).reason == "ValueError: a bug"
        assert client.call(queue, {"verb": "reverse", "message": "Hello"}).result == "olleH"
    running.wait_for_line("hook: started")
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0


def test_the_command_line_counts_more_than_what_a_gearmancmd_says_itself(own_gearmand, queue, own, start):
    options = ["--prefetch", "2", "--client-id", "other", "--command", "key", "--failures", "plain"]
    options += ["--max-payload", "1000", "--threads", "3", "-s", own_gearmand.address]
    running = start("run", "own:handling", *options, cwd=own)
    with Caller(own_gearmand) as client:
        assert client.call(queue, {"key": "settings"}).result == [2, "other", "key", "plain", 1000, 3]
        assert client.call(queue, {"key": "crash"}).result == "a bug"  # by its own handler
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0


def test_fail_fast_counts_more_than_a_gearmancmds_own_handler(gearmand, queue, own, start):
    running = start("run", "own:handling", "--fail-fast", cwd=own)
    with Caller(gearmand) as client:
        assert client.call(queue, {"verb": "crash"}).reason == "ValueError: a bug"
        assert running.exit_status() == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["own:Queue"], "own:Queue: which queue? Say QUEUE=own:Queue, or -q QUEUE"),
        (
            ["own:make_nothing"],
            "own:make_nothing is neither a GearmanCMDQueue, a GearmanCMD nor a function that returns",
        ),
        (["own:Shop"], "own:Shop is neither a GearmanCMDQueue"),
        (["own:gcmd", "-q", "queue"], "own:gcmd is a GearmanCMD, which has queues of its own: name no queue"),
        (["queue=own:Own"], "own:Own is a GearmanCMD, which has queues of its own: name no queue"),
        (["own:idle"], "own:idle has no queue: call its register_task()"),
        (["own:gcmd", "--ca", "ca.pem"], "--ca, --cert and --key are for servers that -s names: own:gcmd has servers"),
    ],
)
def test_a_gearmancmd_that_cannot_be_run_as_asked_is_one_line(own, authority, arguments, text):
    authority.cert_pem.write_to_path(str(own / "ca.pem"))
    assert text in one_line(gearmancmd("run", *arguments, cwd=own), 2)


def test_check_prints_the_queues_of_a_gearmancmd(own, queue):
    done = gearmancmd("run", "--check", "own:make", "-p", "2", cwd=own)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{queue}: crash, reverse, settings\n", "")


# A job that goes wrong.


def test_one_bad_job_does_not_end_the_worker(gearmand, queue, project, start):
    running = start("run", "shop.queues:Queue", "-q", queue, "-s", gearmand.address, cwd=project)
    with Caller(gearmand) as client:
        for command, reason in BAD_JOBS.items():
            assert client.call(queue, {"command": command}).reason == reason
        assert "no command 'missing'" in client.call(queue, {"command": "missing"}).reason
        assert client.call(queue, {"command": "reverse", "message": "Hello"}).result == "olleH"
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0
    log = "\n".join(running.stderr)
    assert log.count("works on") == log.count("worker starts") == 1  # in the same run
    assert log.count("Traceback") == 3
    assert re.search(rf" ERROR job H:\S+ of {queue} \(crash\) failed in \S+ s: ValueError: a bug\nTraceback ", log)
    assert re.search(rf" INFO job H:\S+ of {queue} \(reverse\) done in \S+ s\n", log)
    assert len(re.findall(r" job H:\S+ of ", log)) == 6  # one for each job
    assert '    raise ValueError("a bug")' in running.stderr


def test_run_hides_errors_where_it_is_told_to(gearmand, queue, project, start):
    running = start("run", "shop.queues:Queue", "-q", queue, "-s", gearmand.address, "--hide-errors", cwd=project)
    with Caller(gearmand) as client:
        assert client.call(queue, {"command": "crash"}).reason == "internal error"
        assert client.call(queue, {"command": "fail"}).reason == "out of paper"
    running.wait_for_line("ValueError: a bug")


#: What a client hears of a command that goes wrong; those that raise what is no CommandError leave a traceback.
BAD_JOBS = {
    "crash": "ValueError: a bug",
    "cancel": "CancelledError: too late",
    "quote": "KeyError: '\\x1b[31m'",
    "fail": "out of paper",
}


def test_a_traceback_in_the_log_cannot_steer_a_terminal(gearmand, queue, project, start):
    running = start("run", "shop.queues:Queue", "-q", queue, "-s", gearmand.address, cwd=project)
    with Caller(gearmand) as client:
        client.call(queue, {"command": "steer", "text": "\x1b[31m\rred"})
    running.wait_for_line("ValueError: \\x1b[31m\\rred")
    running.signal(signal.SIGTERM)
    running.exit_status()
    assert "\x1b" not in "".join(running.stderr)


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_with_fail_fast_a_bad_job_ends_the_worker_and_its_place_is_told(gearmand, queue, project, start, options):
    arguments = ["run", "shop.queues:Queue", "-q", queue, "--fail-fast", "-s", gearmand.address, *options]
    running = start(*arguments, cwd=project)
    with Caller(gearmand) as client:
        assert client.call(queue, {"command": "crash"}).reason == "ValueError: a bug"
    assert running.exit_status() == 1
    line = project_line(project, 'raise ValueError("a bug")')
    assert running.stderr[-1] == f"gearmancmd: the worker ended: ValueError: a bug (in crash, {line})"
    assert "\n".join(running.stderr).count("Traceback") == 1


def test_where_the_log_has_no_traceback_debug_shows_it(gearmand, queue, project, start):
    options = ["--fail-fast", "--log-level", "critical", "-s", gearmand.address]
    for debug, count in ([], 0), (["--debug"], 1):
        running = start("run", "shop.queues:Queue", "-q", queue, *options, *debug, cwd=project)
        with Caller(gearmand) as client:
            assert client.call(queue, {"command": "crash"}).reason == "ValueError: a bug"
        assert running.exit_status() == 1
        assert running.stderr[-1].endswith("; --debug shows the traceback)")
        assert "\n".join(running.stderr).count("Traceback") == count


@pytest.mark.parametrize(("command", "status", "call"), [("leave", 3, "sys.exit(3)"), ("parse", 2, "sys.exit(2)")])
def test_sys_exit_in_a_command_keeps_its_meaning_and_is_said(gearmand, queue, project, start, command, status, call):
    running = start("run", "shop.queues:Queue", "-q", queue, "-s", gearmand.address, cwd=project)
    with Caller(gearmand) as client:
        client.send(queue, {"command": command}, background=True)
        assert running.exit_status() == status
        wait_for(lambda: counts(gearmand, queue) == (1, 0, 0), "the job to be back")
    assert f"gearmancmd: a command called {call}, and its job goes back to the queue" in running.stderr[-1]
    assert f"(in {command}, {project}/shop/queues.py:" in running.stderr[-1]


def project_line(project, text, name="shop/queues.py"):
    """Where in the project a text stands: "/path/file.py:3"."""
    lines = (project / name).read_text("utf-8").splitlines()
    return f"{project / name}:{next(number for number, line in enumerate(lines, 1) if text in line)}"


# What is wrong with a module: the user's file and line.


@pytest.mark.parametrize(
    ("source", "told", "line"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'", 1),
        ("\nimport json\njson.loads('{')", "JSONDecodeError: Expecting property name", 3),
        ("def f():\n    1 / 0\nf()", "ZeroDivisionError: division by zero (in f, ", 2),
        ("import other", "ValueError: of another module", None),
        ("x = 1\ndef :", "SyntaxError: invalid syntax", 2),
        ("import sys\nsys.exit()", "it calls sys.exit()", 2),
        ("import sys\nsys.exit('no configuration')", "it calls sys.exit('no configuration')", 2),
        ("import argparse\n\nargparse.ArgumentParser().parse_args()", "it calls sys.exit(2)", 3),
        ("raise GeneratorExit", "GeneratorExit", 1),
    ],
)
def test_what_a_module_does_wrong_is_told_with_the_users_file_and_line(tmp_path, source, told, line):
    (tmp_path / "mine.py").write_text(source, "utf-8")
    (tmp_path / "other.py").write_text("raise ValueError('of another module')", "utf-8")
    place = f"{tmp_path}/mine.py:{line}" if line else f"{tmp_path}/other.py:1"
    done = gearmancmd("run", "q=mine:Queue", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    error = done.stderr.splitlines()[-1]  # argparse has said something before
    assert "<module>" not in error
    assert error.startswith(f"gearmancmd: mine:Queue cannot be loaded: {told}")
    assert error.endswith(f"{place}; --debug shows the traceback)")
    assert "Traceback" in gearmancmd("run", "q=mine:Queue", "--debug", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("shop.queues:Missing", "cannot be loaded: AttributeError: module 'shop.queues' has no attribute 'Missing' ("),
        ("shop.queues:Picky", "cannot be loaded: TypeError: "),
        ("shop.queues:Grumpy", "cannot be loaded: RuntimeError: not today (in __init__, {project}/shop/queues.py:"),
        ("shop.queues:Leaving", "cannot be loaded: it calls sys.exit(1) (in __init__, {project}/shop/queues.py:"),
        ("shop.queues:empty", "cannot be registered: target has no command"),
        ("shop.queues:nothing", "is not a GearmanCMDQueue"),
    ],
)
def test_a_queue_is_named_by_its_import_path_and_not_by_an_address(project, path, told):
    line = one_line(gearmancmd("run", f"q={path}", cwd=project), 2)
    assert line.startswith(f"{path} {told.format(project=project)}")
    assert " at 0x" not in line
    assert "gearmancmd/" not in line  # no file of ours
    assert line.endswith("--debug shows the traceback)") == (path != "shop.queues:nothing")


def test_a_class_that_is_not_a_queue_is_not_made(project):
    line = one_line(gearmancmd("run", "q=shop.queues:Nothing", cwd=project), 2)
    assert line == "shop.queues:Nothing is not a GearmanCMDQueue"


def test_sigterm_and_ctrl_c_while_a_module_is_imported_are_no_fault_of_the_module(tmp_path, start):
    (tmp_path / "slow.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(600)", "utf-8")
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        running = start("run", "q=slow:Queue", cwd=tmp_path)
        running.wait_for_line("importing")
        running.signal(number)
        assert running.exit_status() == status
        assert running.stderr == []


# The log.


QUEUE = """
from gearmancmd import GearmanCMDQueue

class Queue(GearmanCMDQueue):
    def crash(self, gcmd, task):
        logging.getLogger("mine").warning("about to crash")
        raise ValueError("a bug")
"""


@pytest.mark.parametrize(
    ("source", "ours", "theirs"),
    [
        # nothing is set up: all of it is ours
        ("import logging", r"\d{4}-\d\d-\d\d \S+ ERROR job .*", r"\d{4}-\d\d-\d\d \S+ WARNING about to crash"),
        ("import logging; logging.basicConfig(format='MINE %(message)s')", "MINE job .*", "MINE about to crash"),
        # for a logger of its own only: it prints once, and ours has a handler
        (
            "import logging; h = logging.StreamHandler(); h.setFormatter(logging.Formatter('MINE %(message)s')); "
            "logging.getLogger('mine').addHandler(h)",
            r"\d{4}-\d\d-\d\d \S+ ERROR job .*",
            "MINE about to crash",
        ),
        # for ours only
        (
            "import logging; h = logging.StreamHandler(); h.setFormatter(logging.Formatter('MINE %(message)s')); "
            "logging.getLogger('gearmancmd').addHandler(h)",
            "MINE job .*",
            "about to crash",
        ),
    ],
)
def test_logging_is_set_up_only_where_the_module_has_not(gearmand, queue, tmp_path, start, source, ours, theirs):
    (tmp_path / "mine.py").write_text(f"{source}\n{QUEUE}", "utf-8")
    running = start("run", f"{queue}=mine:Queue", "-s", gearmand.address, cwd=tmp_path)
    with Caller(gearmand) as client:
        assert client.call(queue, {"command": "crash"}).reason == "ValueError: a bug"
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0
    for pattern, text in ((ours, "s: ValueError"), (theirs, "about to crash")):
        (line,) = [line for line in running.stderr if text in line]
        assert re.fullmatch(pattern, line)


def test_a_level_that_the_module_has_set_stays(gearmand, queue, tmp_path, start):
    source = "import logging; logging.getLogger().setLevel(logging.CRITICAL)"
    (tmp_path / "mine.py").write_text(f"{source}\n{QUEUE}", "utf-8")
    running = start("run", f"{queue}=mine:Queue", "-s", gearmand.address, cwd=tmp_path)
    with Caller(gearmand) as client:
        assert client.call(queue, {"command": "crash"}).reason == "ValueError: a bug"
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0
    assert not [line for line in running.stderr if "crash" in line or "failed" in line]


LINES = "import logging; logging.basicConfig(format='MINE %(message)s', level=logging.INFO)"


@pytest.mark.parametrize("source", ["import logging", LINES])
@pytest.mark.parametrize(
    ("options", "levels"),
    [
        (["--log-level", "debug"], {"INFO", "ERROR"}),
        (["--log-level", "INFO"], {"INFO", "ERROR"}),
        (["--log-level", "warning"], {"ERROR"}),
        (["--log-level", "warning", "--debug"], {"ERROR"}),
        (["--log-level", "critical"], set()),
    ],
)
def test_the_level_of_the_command_line_holds_whatever_the_module_does(
    gearmand, queue, tmp_path, start, source, options, levels
):
    (tmp_path / "mine.py").write_text(f"{source}\n{QUEUE}", "utf-8")
    running = start("run", f"{queue}=mine:Queue", *options, "-s", gearmand.address, cwd=tmp_path)
    with Caller(gearmand) as client:
        assert client.call(queue, {"command": "crash"}).reason == "ValueError: a bug"
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0
    log = "\n".join(running.stderr)
    assert ("worker starts" in log) == ("worker has ended" in log) == ("INFO" in levels)
    assert ("s: ValueError: a bug" in log) == ("ERROR" in levels)
    assert log.count("Traceback") == ("ERROR" in levels)
    assert ("MINE worker starts" in log) == (source == LINES and "INFO" in levels)


OWN_HANDLER = (
    "import logging, sys; logging.getLogger('gearmancmd').addHandler(logging.StreamHandler()); "
    "logging.getLogger('gearmancmd').addHandler(logging.FileHandler('mine.log')); "
    "logging.getLogger('gearmancmd').setLevel(logging.INFO)"
)


@pytest.mark.parametrize("source", ["import logging", LINES, OWN_HANDLER])
def test_the_log_as_json_is_one_object_a_line(gearmand, queue, tmp_path, start, source):
    (tmp_path / "mine.py").write_text(f"{source}\n{QUEUE}", "utf-8")
    options = ["--log-format", "json", "-s", gearmand.address]
    running = start("run", f"{queue}=mine:Queue", *options, cwd=tmp_path)
    with Caller(gearmand) as client:
        job = client.send(queue, {"command": "crash"})
        assert client.outcome(job).reason == "ValueError: a bug"
        assert "no command" in client.call(queue, {"command": "mis\x1b[31msing"}).reason
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0
    lines = [
        line for line in running.stderr if "about to crash" not in line
    ]  # the module's own, where it has a handler
    records = [json.loads(line) for line in lines]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", record["time"]) for record in records)
    assert {record["logger"] for record in records} == {"gearmancmd"}
    assert records[0]["message"].startswith("worker starts")
    assert records[0]["gearman_servers"] == gearmand.address
    assert records[1]["gearman_commands"] == "crash"
    assert records[-1]["message"] == "worker has ended"
    crash, missing = (record for record in records if "gearman_handle" in record)
    assert crash["level"] == "ERROR" and missing["level"] == "WARNING"
    assert crash["gearman_handle"] == job.handle.decode() and crash["gearman_queue"] == queue
    assert crash["gearman_command"] == "crash" and missing["gearman_command"] is None
    assert crash["gearman_outcome"] == "failed" and crash["gearman_reason"] == "ValueError: a bug"
    assert 0 < crash["gearman_seconds"] < 60
    assert crash["traceback"].startswith("Traceback ") and crash["traceback"].endswith("ValueError: a bug")
    assert "traceback" not in missing
    assert "\x1b" not in "".join(running.stderr)
    if source == OWN_HANDLER:
        assert "ValueError: a bug" in (tmp_path / "mine.log").read_text("utf-8")


ODD_FIELDS = """
import logging
from gearmancmd import GearmanCMDQueue

class Queue(GearmanCMDQueue):
    def tell(self, gcmd, task):
        class Mute:
            def __str__(self):
                raise ValueError
        extra = {"level": "mine", "number": float("nan"), "thing": {1}, "mute": Mute(), "flag": True}
        logging.getLogger("mine").warning("two\\nlines %s", "\\ud800", extra=extra, stack_info=True)
"""


def test_the_modules_own_lines_are_json_too_whatever_they_hold(gearmand, queue, tmp_path, start):
    (tmp_path / "mine.py").write_text(ODD_FIELDS, "utf-8")
    running = start("run", f"{queue}=mine:Queue", "--log-format", "json", "-s", gearmand.address, cwd=tmp_path)
    with Caller(gearmand) as client:
        assert client.call(queue, {"command": "tell"}).result is None
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0
    (mine,) = [record for record in map(json.loads, running.stderr) if record["logger"] == "mine"]
    assert mine["message"] == "two\nlines \ud800"
    assert mine["level"] == "WARNING"
    assert (mine["number"], mine["thing"], mine["mute"], mine["flag"]) == ("nan", "{1}", "Mute", True)
    assert mine["stack"].startswith("Stack ")


@pytest.mark.parametrize("options", [["--log-level", "loud"], ["--log-format", "xml"]])
def test_a_log_that_there_is_not_is_one_line(project, options):
    assert f"'{options[1]}' is not one of" in one_line(
        gearmancmd("run", "q=shop.queues:Queue", *options, cwd=project), 2
    )
