"""``gearmancmd run`` and signals: what becomes of the jobs in hand, in one process and in many."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from gearmancmd import JSONGearmanClient
from tests.support.commandline import PROGRAM, gearmancmd, one_line
from tests.support.gearmand import counts
from tests.support.waiting import LIMIT, wait_for

SOURCE = """
import os, subprocess, sys, time
from gearmancmd import GearmanCMD, GearmanCMDQueue

VERSION = 1
os.chdir("/")  # which a fresh start must not be disturbed by

class Queue(GearmanCMDQueue):
    def version(self, gcmd, task):
        return VERSION

    def pid(self, gcmd, task):
        return os.getpid()

    def wait(self, gcmd, task):
        print("waiting", flush=True)
        with open(task["fifo"]) as fifo:
            return fifo.read()

    def refuse_to_end(self, gcmd, task):
        print("waiting", flush=True)
        while True:
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                print("interrupted", flush=True)

    def leave_an_orphan(self, gcmd, task):
        orphan = int(subprocess.check_output(["sh", "-c", "true >&2 & echo $!"]))
        deadline = time.monotonic() + 20
        while os.path.exists(f"/proc/{orphan}") and time.monotonic() < deadline:
            time.sleep(0.01)
        return os.path.exists(f"/proc/{orphan}")
"""

ONE_AND_MANY = pytest.mark.parametrize("processes", [(), ("-p", "2")], ids=["one", "many"])


@pytest.fixture
def app(tmp_path):
    """A directory with a module, and a FIFO for a command to wait at."""
    (tmp_path / "app.py").write_text(SOURCE, "utf-8")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


@pytest.fixture
def run(app, gearmand, queue, start):
    """Starts `gearmancmd run` there, and waits until it works."""

    def run(*options, workers=1):
        running = start("run", "app:Queue", "-q", queue, *options, "-s", gearmand.address, cwd=app)
        wait_for(lambda: counts(gearmand, queue)[2] == workers, "the workers")
        return running

    return run


@pytest.fixture
def client(gearmand):
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        yield client


def wait_in_command(client, queue, app, running, command="wait"):
    """A background job that does not end by itself, once it has begun."""
    job = client.submit(queue, {"command": command, "fifo": str(app / "fifo")})
    running.wait_for_line("waiting")
    return job


# Ending.


@ONE_AND_MANY
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_first_signal_lets_the_job_in_hand_finish(gearmand, queue, app, run, client, processes, number, status):
    running = run(*processes, workers=len(processes) or 1)
    job = wait_in_command(client, queue, app, running)
    running.signal(number)
    running.wait_for_line(f"{number.name} stops the ")
    (app / "fifo").write_text("done with it", "utf-8")
    assert job.result() == "done with it"
    assert running.exit_status() == status
    assert counts(gearmand, queue) == (0, 0, 0)


@ONE_AND_MANY
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it_at_once(gearmand, queue, app, run, client, processes, number):
    running = run(*processes, workers=len(processes) or 1)
    job = wait_in_command(client, queue, app, running)
    running.signal(number)
    running.wait_for_line(f"{number.name} stops the ")
    running.signal(number)
    assert running.exit_status() == 128 + number
    assert "Traceback" not in "\n".join(running.stderr)
    wait_for(lambda: counts(gearmand, queue) == (1, 0, 0), "the job to be back")
    assert not job.done()


@ONE_AND_MANY
def test_a_job_that_is_not_done_within_the_grace_goes_back_whatever_its_command_does(
    gearmand, queue, app, run, client, processes
):
    running = run(*processes, "--grace", "1", workers=len(processes) or 1)
    job = client.submit(queue, {"command": "refuse_to_end"})
    running.wait_for_line("waiting")
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 143
    wait_for(lambda: counts(gearmand, queue) == (1, 0, 0), "the job to be back")
    assert f"job {job.handle} of {queue} (refuse_to_end)" in "\n".join(running.stderr)
    assert running.stdout.count("interrupted") == (not processes)


def test_children_end_gracefully_when_their_supervisor_is_killed(gearmand, queue, app, run, client):
    running = run("-p", "2", workers=2)
    job = wait_in_command(client, queue, app, running)
    running.process.kill()
    wait_for(lambda: counts(gearmand, queue) == (1, 1, 1), "the end of the idle child")
    (app / "fifo").write_text("done with it", "utf-8")
    assert job.result() == "done with it"
    wait_for(lambda: counts(gearmand, queue) == (0, 0, 0), "the end of the other one")
    running.exit_status()  # nobody writes to its output any more
    assert running.ended()


# Starting afresh.


@ONE_AND_MANY
def test_sighup_brings_new_code_and_loses_no_job(gearmand, queue, app, run, client, processes):
    running = run(*processes, workers=len(processes) or 1)
    waiting = wait_in_command(client, queue, app, running)
    (app / "app.py").write_text(SOURCE.replace("VERSION = 1", "VERSION = 20"), "utf-8")
    running.signal(signal.SIGHUP)
    running.wait_for_line("SIGHUP has come")
    version = client.submit(queue, {"command": "version"})
    (app / "fifo").write_text("done with it", "utf-8")
    assert waiting.result() == "done with it"
    assert version.result() in {1, 20}
    wait_for(lambda: client.call(queue, {"command": "version"}) == 20, "the new code")
    if not processes:
        assert client.call(queue, {"command": "pid"}) == running.process.pid
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0


def test_a_signal_that_is_ignored_from_the_start_stays_ignored(gearmand, queue, app, client):
    command = [
        "sh",
        "-c",
        "trap '' HUP; exec \"$@\"",
        "sh",
        *PROGRAM,
        "run",
        f"{queue}=app:Queue",
        "-s",
        gearmand.address,
    ]
    with subprocess.Popen(command, cwd=app, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert client.call(queue, {"command": "pid"}) == process.pid
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            assert "SIGHUP" not in process.communicate(timeout=LIMIT)[1]
            assert process.returncode == 0
        finally:
            process.kill()


def test_a_limit_starts_a_single_process_afresh(gearmand, queue, app, run, client):
    running = run("--max-jobs", "1")
    for _ in range(3):
        assert client.call(queue, {"command": "pid"}) == running.process.pid
    wait_for(lambda: "\n".join(running.stderr).count("worker starts; servers") == 4, "the last start")
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0


# Looking inside.


@ONE_AND_MANY
def test_sigusr1_logs_what_each_thread_is_at_and_the_jobs_in_hand(queue, app, run, client, processes):
    running = run(*processes, "--log-level", "warning", workers=len(processes) or 1)
    job = wait_in_command(client, queue, app, running)
    running.signal(signal.SIGUSR1)
    running.wait_for_line(f"s: job {job.handle} of {queue} (wait)")
    running.wait_for_line('with open(task["fifo"]) as fifo:')
    stacks = 3 if processes else 1
    wait_for(lambda: "\n".join(running.stderr).count("thread MainThread") == stacks, "all stacks")
    (app / "fifo").write_text("", "utf-8")
    assert job.result() == ""


# Beginning.


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (
            ["q=app:Missing"],
            2,
            "app:Missing cannot be loaded: AttributeError: module 'app' has no attribute 'Missing' (",
        ),
        (["q=dies:Queue"], 1, " ended with exit status 7 before it could work"),
        (["app:Queue"], 2, "app:Queue: which queue? Say QUEUE=app:Queue, or -q QUEUE"),
        (["q=app:Queue", "-p", "none"], 2, "'none' is not a valid integer range"),
        (["q=app:Queue", "-p", "0"], 2, "0 is not in the range x>=1"),
    ],
)
def test_what_keeps_processes_from_working_is_told_once(app, arguments, status, text):
    (app / "dies.py").write_text("import os; os._exit(7)", "utf-8")
    done = gearmancmd("run", "-p", "2", "--log-level", "warning", *arguments, cwd=app)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("works ")]
    assert done.returncode == status and len(lines) == 1
    assert lines[0].startswith("gearmancmd: ") and text in lines[0]


def test_a_hard_time_limit_is_for_processes(app):
    line = one_line(gearmancmd("run", "q=app:Queue", "--hard-time-limit", "1", cwd=app), 2)
    assert line.startswith("--hard-time-limit kills a process: it needs others, with -p")


def can_be_process_1():
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_be_process_1(), reason="unshare is not permitted here")
def test_process_1_of_a_container_buries_orphans_and_stops_at_sigterm(gearmand, queue, app, client):
    options = ["-p", "1", "-s", gearmand.address]
    inside = [*PROGRAM, "run", "app:Queue", "-q", queue, *options]
    with subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *inside], cwd=app) as outside:
        try:
            for _ in range(3):
                assert client.call(queue, {"command": "leave_an_orphan"}) is False
            (process_1,) = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text("utf-8").split()
            os.kill(int(process_1), signal.SIGTERM)
            assert outside.wait(LIMIT) == 0
        finally:
            outside.kill()
