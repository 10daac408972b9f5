"""Further attempts at a command, and where a task goes that fails for good."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import threading
import time
from contextlib import closing

import pytest

import gearmancmd
from gearmancmd import CommandError, CommandTimeout, GearmanCMD, GearmanCMDQueue, Hooks
from gearmancmd.testing import call_command
from tests.support.gearmand import counts
from tests.support.proxy import Proxy
from tests.support.waiting import LIMIT, wait_for

#: Seconds of a pause that does not end by itself.
FOR_EVER = 3600.0


class Flaky(GearmanCMDQueue):
    """Its commands fail as often as their task says; `attempts` are those that were made."""

    retries = 2
    retry_on = (OSError,)

    def __init__(self, backoff: float = 0.01, dead_letter: str | None = None) -> None:
        self.backoff = backoff
        self.dead_letter = dead_letter
        self.attempts: list[int] = []

    def try_it(self, gcmd, task):
        self.attempts.append(gcmd.job.attempt)
        if gcmd.job.attempt <= task["fails"]:
            raise OSError(f"attempt {gcmd.job.attempt}")
        return f"attempt {gcmd.job.attempt}"

    async def await_it(self, gcmd, task):
        return self.try_it(gcmd, task)

    def refuse(self, gcmd, task):
        self.attempts.append(gcmd.job.attempt)
        raise CommandError("out of paper")

    def crash(self, gcmd, task):
        self.attempts.append(gcmd.job.attempt)
        raise ValueError("no such printer")

    @gearmancmd.command(time_limit=0.2)
    def go_on(self, gcmd, task):
        while True:
            time.sleep(0.001)


class Events(Hooks):
    """Keeps what the hooks of jobs hear."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, object]] = []

    def on_job(self, job, task):
        self.heard.append(("begins", job.attempt, task["command"]))

    def on_done(self, job, result, seconds):
        self.heard.append(("done", job.attempt, result))

    def on_failure(self, job, error, seconds):
        self.heard.append(("failed", job.attempt, str(error)))


@pytest.fixture(params=["in the thread of run()", "in threads", "in the event loop"])
def way(request):
    """How a command is called: its name, and the options of the worker."""
    name = "await_it" if request.param == "in the event loop" else "try_it"
    return name, {"threads": 2} if request.param == "in threads" else {}


# What a client and the hooks hear.


def test_a_client_and_the_hooks_hear_of_the_last_attempt_only(server, client, queue, run, way, caplog):
    caplog.set_level(logging.INFO, "gearmancmd")
    name, options = way
    target, events, asked = Flaky(), Events(), []

    def handle(error):
        asked.append(str(error))
        raise CommandError(str(error))

    gcmd = GearmanCMD([server.address], exception_handler=handle, hooks=[events], **options)
    running = run(gcmd.register_task(queue, target))
    assert client.call(queue, {"command": name, "fails": 0}).result == "attempt 1"
    assert client.call(queue, {"command": name, "fails": 2}).result == "attempt 3"
    assert client.call(queue, {"command": name, "fails": 9}).reason == "attempt 3"
    gcmd.stop(graceful=True)
    assert running.wait() is None
    assert target.attempts == [1, 1, 2, 3, 1, 2, 3]
    assert asked == ["attempt 3"]
    # in threads, the hook of one job's end and the next one's beginning are beside each other
    assert sorted(events.heard) == sorted(
        [
            *[("begins", 1, name)] * 3,
            ("done", 1, "attempt 1"),
            ("done", 3, "attempt 3"),
            ("failed", 3, "attempt 3"),
        ]
    )
    lines = [record.getMessage() for record in caplog.records if "failed, the next one is in" in record.getMessage()]
    assert [line.partition(": ")[2] for line in lines] == [
        f"attempt {attempt} failed, the next one is in 0.0 s: OSError: attempt {attempt}" for attempt in (1, 2, 1, 2)
    ]


def test_an_error_that_is_not_meant_is_not_tried_again(server, client, queue, run):
    target = Flaky()
    running = run(GearmanCMD([server.address]).register_task(queue, target))
    assert client.call(queue, {"command": "refuse"}).reason == "out of paper"
    assert client.call(queue, {"command": "crash"}).reason == "ValueError: no such printer"
    assert isinstance(running.wait(), ValueError)
    assert target.attempts == [1, 1]


# What attempts share, and what not.


def once(routine, **options):
    """What a client hears of a command of two attempts."""

    class Queue(GearmanCMDQueue):
        go = gearmancmd.command(**{"retries": 1, **options})(routine)

    return call_command(Queue(), {"command": "go", "pages": [1, 2]})


def test_each_attempt_gets_the_task_as_it_was_sent():
    def routine(self, gcmd, task):
        assert task.pop("command") == "go"
        task["pages"].append(3)
        gcmd.send_data(task)
        if gcmd.job.attempt == 1:
            raise OSError
        return gcmd.job.data is task

    told = once(routine)
    assert [report.value for report in told.reports] == [{"pages": [1, 2, 3]}] * 2
    assert told.result is True


@pytest.mark.parametrize("asynchronous", [False, True])
def test_each_attempt_has_its_own_time(asynchronous):
    def late(self, gcmd, task):
        while gcmd.job.attempt == 1:
            time.sleep(0.001)
        return "in time"

    async def late_in_the_event_loop(self, gcmd, task):
        while gcmd.job.attempt == 1:
            await asyncio.sleep(0.001)
        return "in time"

    routine = late_in_the_event_loop if asynchronous else late
    assert once(routine, time_limit=0.3).failure == "the command took longer than 0.3 s"
    assert once(routine, time_limit=0.3, retry_on=CommandTimeout).result == "in time"


def test_each_attempt_may_fail_before_there_is_something_to_await():
    async def waited():
        raise OSError

    def routine(self, gcmd, task):
        gcmd.send_data(gcmd.job.attempt)
        if gcmd.job.attempt == 1:
            return waited()
        if gcmd.job.attempt == 2:
            raise OSError
        return "printed"

    told = once(routine, retries=2)
    assert ([report.value for report in told.reports], told.result) == ([1, 2, 3], "printed")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Task.cancelling() came with Python 3.11")
def test_an_attempt_that_was_out_of_time_leaves_no_cancellation_for_the_next():
    async def routine(self, gcmd, task):
        if gcmd.job.attempt == 1:
            await asyncio.sleep(600)
        return asyncio.current_task().cancelling()

    assert once(routine, time_limit=0.3, retry_on=CommandTimeout).result == 0


def test_what_a_generator_has_sent_it_sends_again():
    def routine(self, gcmd, task):
        yield from task["pages"]
        if gcmd.job.attempt == 1:
            raise OSError
        return "printed"

    async def asynchronous(self, gcmd, task):
        for page in task["pages"]:
            yield page
        if gcmd.job.attempt == 1:
            raise OSError

    told = once(routine)
    assert ([report.value for report in told.reports], told.result) == ([1, 2, 1, 2], "printed")
    told = once(asynchronous)
    assert ([report.value for report in told.reports], told.result) == ([1, 2, 1, 2], None)


# A worker that stops during a pause.


def pausing(server, client, queue, run, way, **options):
    """A run, its queue, and a job that waits for its second attempt."""
    name, more = way
    target = Flaky(backoff=FOR_EVER)
    gcmd = GearmanCMD([server.address], **more).register_task(queue, target)
    running = run(gcmd, **options)
    job = client.send(queue, {"command": name, "fails": 1})
    wait_for(lambda: target.attempts == [1], "the first attempt")
    assert counts(server, queue) == (1, 1, 1)
    return running, target, job


def test_a_graceful_stop_makes_the_attempts_that_are_left_at_once(server, client, queue, run, way):
    running, target, job = pausing(server, client, queue, run, way)
    running.gcmd.stop(graceful=True)
    assert running.wait() is None
    assert client.outcome(job).result == "attempt 2"
    assert target.attempts == [1, 2]


def test_a_plain_stop_puts_the_job_back_for_another_worker(server, client, queue, run, way):
    running, target, job = pausing(server, client, queue, run, way)
    running.gcmd.stop()
    assert running.wait() is None
    assert target.attempts == [1]
    wait_for(lambda: counts(server, queue) == (1, 0, 0), "the job in the queue")
    other = Flaky()
    run(GearmanCMD([server.address]).register_task(queue, other))
    assert client.outcome(job).result == "attempt 2"
    assert other.attempts == [1, 2]


def test_so_does_a_stop_trigger(server, client, queue, run, way):
    trigger = threading.Event()
    running, target, job = pausing(server, client, queue, run, way, stop_trigger=trigger)
    trigger.set()
    assert running.wait() is None
    wait_for(lambda: counts(server, queue) == (1, 0, 0), "the job in the queue")
    assert target.attempts == [1]
    assert not job.complete


def test_a_stop_in_a_command_that_then_fails_puts_its_job_back(server, client, queue, run, way):
    class Stopping(Flaky):
        def try_it(self, gcmd, task):
            gcmd.stop()
            return super().try_it(gcmd, task)

    name, options = way
    target = Stopping(backoff=FOR_EVER)
    running = run(GearmanCMD([server.address], **options).register_task(queue, target))
    job = client.send(queue, {"command": name, "fails": 1})
    assert running.wait() is None
    assert target.attempts == [1]
    wait_for(lambda: counts(server, queue) == (1, 0, 0), "the job in the queue")
    assert not job.complete


def test_a_command_that_is_out_of_time_when_the_worker_stops_is_not_tried_again(server, client, queue, run):
    class Cleaning(Flaky):
        @gearmancmd.command(time_limit=0.2, retry_on=CommandTimeout)
        async def clean_up(self, gcmd, task):
            self.attempts.append(gcmd.job.attempt)
            try:
                await asyncio.sleep(600)
            finally:
                cleaning.set()
                await asyncio.sleep(600)

    cleaning = threading.Event()
    target = Cleaning()
    gcmd = GearmanCMD([server.address]).register_task(queue, target)
    running = run(gcmd)
    client.send(queue, {"command": "clean_up"}, background=True)
    assert cleaning.wait(LIMIT)
    gcmd.stop()
    assert running.wait() is None
    assert target.attempts == [1]
    wait_for(lambda: counts(server, queue) == (1, 0, 0), "the job in the queue")


PROGRAM = """
import sys, threading, gearmancmd
from tests.support.waiting import wait_for
from tests.test_retries import Flaky, FOR_EVER

class Telling(Flaky):
    def try_it(self, gcmd, task):
        print("attempt", gcmd.job.attempt, flush=True)
        return super().try_it(gcmd, task)

def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("gearmancmd")]

gcmd = gearmancmd.GearmanCMD([sys.argv[1]], threads=int(sys.argv[3]) or None)
gcmd.register_task(sys.argv[2], Telling(backoff=FOR_EVER))
try:
    gcmd.run()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    wait_for(lambda: not threads(), "the end of all threads")
    print("ended", flush=True)
"""


@pytest.mark.parametrize("threads", [0, 2])
def test_ctrl_c_during_a_pause_puts_the_job_back_and_no_attempt_follows(server, client, queue, worker_process, threads):
    process = worker_process(PROGRAM, server.address, queue, str(threads))
    client.send(queue, {"command": "try_it", "fails": 1}, background=True)
    process.wait_for_line("attempt 1")
    process.interrupt()
    process.wait_for_line("ended")
    assert process.exit_status() == 0
    assert process.lines == ["attempt 1", "interrupted", "ended"]
    wait_for(lambda: counts(server, queue) == (1, 0, 0), "the job in the queue")


# Dead letters.


@pytest.fixture
def dead(queue):
    """The queue for dead letters."""
    return f"{queue}-dead"


class Reading(GearmanCMDQueue):
    """Keeps the letters."""

    def __init__(self):
        self.letters = []

    def default(self, gcmd, task):
        self.letters.append(task)


def letters(server, queue, run):
    """The letters of a queue."""
    target = Reading()
    number = counts(server, queue)[0]
    running = run(GearmanCMD([server.address]).register_task(queue, target))
    wait_for(lambda: counts(server, queue)[0] == 0, "the letters")
    running.gcmd.stop(graceful=True)
    running.wait()
    assert len(target.letters) == number
    return target.letters


def test_what_fails_for_good_is_a_letter_before_its_client_hears_of_it(server, client, queue, dead, run, way):
    name, options = way
    gcmd = GearmanCMD([server.address], **options).register_task(queue, Flaky(dead_letter=dead))
    running = run(gcmd)
    task = {"command": name, "fails": 9, "page": "\u00e4"}
    job = client.send(queue, task, unique="page-1")
    assert client.outcome(job).reason == "OSError: attempt 3"
    assert counts(server, dead) == (1, 0, 0)
    assert isinstance(running.wait(), OSError)
    assert letters(server, dead, run) == [
        {
            "task": task,
            "queue": queue,
            "command": name,
            "reason": "OSError: attempt 3",
            "attempts": 3,
            "handle": job.handle.decode(),
            "unique": "page-1",
        }
    ]


def test_a_background_job_a_command_error_and_a_time_out_make_letters_too(server, client, queue, dead, run):
    run(GearmanCMD([server.address]).register_task(queue, Flaky(dead_letter=dead)))
    client.send(queue, {"command": "refuse"}, background=True)
    assert client.call(queue, {"command": "refuse"}).reason == "out of paper"
    assert client.call(queue, {"command": "go_on"}).reason == "the command took longer than 0.2 s"
    assert [(letter["reason"], letter["attempts"]) for letter in letters(server, dead, run)] == [
        ("out of paper", 1),
        ("out of paper", 1),
        ("the command took longer than 0.2 s", 1),
    ]


def test_what_is_done_or_never_was_a_task_makes_no_letter(server, client, queue, dead, run):
    gcmd = GearmanCMD([server.address], exception_handler=lambda error: f"handled: {error}")
    run(gcmd.register_task(queue, Flaky(dead_letter=dead)))
    assert client.call(queue, {"command": "try_it", "fails": 2}).result == "attempt 3"
    assert client.call(queue, {"command": "crash"}).result == "handled: no such printer"
    assert client.call(queue, b"{").state != "complete"
    assert client.call(queue, {"command": "no such"}).result.startswith("handled: queue")
    assert counts(server, dead) == (0, 0, 0)


def test_what_the_exception_handler_fails_makes_a_letter_with_its_reason(server, client, queue, dead, run):
    def handle(error):
        raise CommandError("the printer is broken") from error

    gcmd = GearmanCMD([server.address], exception_handler=handle)
    run(gcmd.register_task(queue, Flaky(dead_letter=dead)))
    assert client.call(queue, {"command": "crash"}).reason == "the printer is broken"
    assert [letter["reason"] for letter in letters(server, dead, run)] == ["the printer is broken"]


def test_a_letter_that_is_refused_is_logged_with_its_task_and_the_job_fails(own_gearmand, queue, run, caplog):
    run(GearmanCMD([own_gearmand.address]).register_task(queue, Flaky(dead_letter="dead")))
    with gearmancmd.JSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
        client.submit("dead", {}, background=True)
        with closing(socket.create_connection((own_gearmand.host, own_gearmand.port))) as connection:
            connection.sendall(b"maxqueue dead 1\n")
            assert connection.recv(100).startswith(b"OK")
        with pytest.raises(gearmancmd.JobFailed, match="out of paper"):
            client.call(queue, {"command": "refuse", "page": 2})
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "its task did not reach queue dead: JobFailed: " in told
    assert json.loads(told.partition("the task: ")[2]) == {"command": "refuse", "page": 2}


def test_a_letter_whose_server_is_lost_is_logged_and_the_worker_goes_on(server, client, queue, run, caplog):
    class Holding(Flaky):
        def hold(self, gcmd, task):
            begun.set()
            assert let_go.wait(LIMIT)
            raise CommandError("out of paper")

    begun, let_go = threading.Event(), threading.Event()
    with Proxy(server) as proxy:
        run(GearmanCMD([proxy.address]).register_task(queue, Holding(dead_letter="dead")))
        job = client.send(queue, {"command": "hold"})
        assert begun.wait(LIMIT)
        proxy.break_off()
        let_go.set()
        assert client.outcome(job).reason == "out of paper"
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "its task did not reach queue dead: ServerUnavailable: " in told


def test_a_letter_that_the_encoder_cannot_hold_is_logged_and_the_job_fails_with_its_own_reason(caplog):
    class TextWorker(gearmancmd.GearmanWorker):
        pass

    class CMD(GearmanCMD):
        worker = TextWorker

        def dispatch(self, queue, task):
            return "refuse"

    gcmd = CMD(["localhost"]).register_task("queue", Flaky(dead_letter="dead"))
    assert call_command(gcmd, "the text").failure == "out of paper"
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "its task did not reach queue dead: " in told
    assert told.endswith("the task: the text")
