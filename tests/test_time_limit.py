"""The limit of a command's time: it strikes whatever the command does, in its code only, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import threading
import time

import pytest

import gearmancmd
from gearmancmd import CommandError, CommandTimeout, GearmanCMD, GearmanCMDQueue, JSONGearmanClient
from gearmancmd.testing import call_command
from tests.support.gearmand import counts
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import UNMEASURED

#: In a test of many.
JOBS = 400

REASON = "the command took longer than 0.2 s"

#: A worker in the main thread. Each of its commands but `check` goes on for ever.
PROGRAM = """
import logging, queue, signal, socket, subprocess, sys, threading, time, gearmancmd

class Queue(gearmancmd.GearmanCMDQueue):
    time_limit = 0.2

    def sleep(self, gcmd, task):
        time.sleep(600)

    def receive(self, gcmd, task):
        ends = socket.socketpair()
        ends[0].recv(1)

    def compute(self, gcmd, task):
        while True:
            pass

    def lock(self, gcmd, task):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    def event(self, gcmd, task):
        threading.Event().wait()

    def queue(self, gcmd, task):
        queue.Queue().get()

    def simple_queue(self, gcmd, task):
        queue.SimpleQueue().get()

    def program(self, gcmd, task):
        with subprocess.Popen(["sleep", "600"]) as process:
            try:
                process.wait()
            finally:
                process.kill()

    def stream(self, gcmd, task):
        yield "begun"
        time.sleep(600)

    def report(self, gcmd, task):
        for _ in gcmd.track(iter(int, 1)):
            pass

    @gearmancmd.command(time_limit=None)
    def check(self, gcmd, task):
        return [signal.getsignal(signal.SIGALRM) == signal.SIG_DFL, signal.getitimer(signal.ITIMER_REAL)]

    @gearmancmd.command(time_limit=600)
    def hold(self, gcmd, task):
        print("begun", flush=True)
        time.sleep(600)

    @gearmancmd.command(time_limit=None)
    def finish(self, gcmd, task):
        gcmd.stop(graceful=True)

def handlers():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}

logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
before = handlers()
gcmd = gearmancmd.GearmanCMD([sys.argv[1]]).register_task(sys.argv[2], Queue())
try:
    gcmd.run()
    print("returned", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print("as before:", before == handlers(), signal.getitimer(signal.ITIMER_REAL), flush=True)
"""

FOR_EVER = ["sleep", "receive", "compute", "lock", "event", "queue", "simple_queue", "program", "stream", "report"]


# In the main thread.


def test_in_the_main_thread_a_limit_ends_whatever_a_command_does_and_the_worker_goes_on(
    server, client, queue, worker_process
):
    process = worker_process(PROGRAM, server.address, queue, environment=UNMEASURED)
    for name in FOR_EVER:
        outcome = client.call(queue, {"command": name})
        assert (name, outcome.state, outcome.reason) == (name, "failed", REASON)
        assert client.call(queue, {"command": "check"}).result == [True, [0.0, 0.0]]
    client.call(queue, {"command": "finish"})
    process.wait_for_line("returned")
    process.wait_for_line("as before: True (0.0, 0.0)")
    assert len(process.lines) == 2  # nothing was logged


def test_ctrl_c_in_a_limited_command_leaves_run_and_puts_back_what_there_was(server, client, queue, worker_process):
    process = worker_process(PROGRAM, server.address, queue, environment=UNMEASURED)
    client.send(queue, {"command": "hold"}, background=True)
    process.wait_for_line("begun")
    process.interrupt()
    process.wait_for_line("interrupted")
    process.wait_for_line("as before: True (0.0, 0.0)")
    assert process.exit_status() == 0
    wait_for(lambda: counts(server, queue) == (1, 0, 0), "the job in the queue")


AT_ANY_LINE = """
import signal
import gearmancmd
from gearmancmd import CommandError, GearmanCMDQueue
from gearmancmd._dispatch import attempts
from gearmancmd._worker import time_limit
from gearmancmd.testing import call_command
from tests.support.interrupts import strike_at_each_line

class Queue(GearmanCMDQueue):
    @gearmancmd.command(time_limit=60, retries=1, retry_on=CommandError)
    def work(self, gcmd, task):
        gcmd.send_status(1, 2)
        if gcmd.job.attempt == 1:
            raise CommandError("out of paper")
        return "printed"

left_behind = []

def call():
    if signal.getsignal(signal.SIGALRM) is not mine or signal.getitimer(signal.ITIMER_REAL)[0]:
        left_behind.append(signal.getitimer(signal.ITIMER_REAL))
    assert call_command(Queue(), {"command": "work"}).result == "printed"

mine = lambda *_: None
signal.signal(signal.SIGALRM, mine)
strike_at_each_line(call, "Ctrl+C", [attempts.__file__, time_limit.__file__])  # the lines that this is about
print("left behind:", left_behind, flush=True)
"""


def test_ctrl_c_at_any_line_leaves_neither_handler_nor_timer_behind(worker_process):
    process = worker_process(AT_ANY_LINE, environment=UNMEASURED)
    struck, bad = json.loads(process.wait_for_line("told").partition(" ")[2])
    assert struck > 50
    assert bad == []
    process.wait_for_line("left behind: []")
    assert process.exit_status() == 0


@pytest.fixture
def alarms():
    """The timer and the handler of SIGALRM are the test's own: pytest's own are put aside. The alarms that came."""
    came = []
    before = signal.getsignal(signal.SIGALRM), *signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, lambda *_: came.append("alarm"))
    yield came
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before[0])
    signal.setitimer(signal.ITIMER_REAL, *before[1:])


def call(command, seconds=0.2, **options):
    """What a client would hear of one command with a limit."""

    class Queue(GearmanCMDQueue):
        time_limit = seconds

        def go(self, gcmd, task):
            return command(gcmd)

    return call_command(Queue(), {"command": "go"}, **options)


def test_a_command_in_time_has_its_result_and_the_users_alarm_is_as_it_was(alarms, caplog):
    handler = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 1000, 50)
    inside = []

    def command(gcmd):
        inside.append(signal.getsignal(signal.SIGALRM) is handler)
        time.sleep(0.1)
        return "in time"

    assert call(command, 60).result == "in time"
    assert call(command, 60).result == "in time"
    assert inside == [False, False]
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    assert signal.getsignal(signal.SIGALRM) is handler
    assert 900 < left < 999.81
    assert interval == 50
    assert not caplog.records


def test_an_alarm_that_came_due_meanwhile_comes_right_after_the_command(alarms, caplog):
    signal.setitimer(signal.ITIMER_REAL, 0.05)

    def command(gcmd):
        time.sleep(0.3)
        return len(alarms)

    assert call(command, 60).result == 0
    wait_for(lambda: alarms == ["alarm"], "the alarm")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert call(lambda gcmd: time.sleep(60)).failure == REASON
    assert alarms == ["alarm"]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_what_the_users_handler_raises_then_leaves_as_it_would_have(alarms):
    class TimeIsUp(Exception):
        pass

    def handler(*_):
        raise TimeIsUp

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(TimeIsUp):
        call(lambda gcmd: time.sleep(0.3), 60)
        time.sleep(60)
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def its_own_handler(gcmd):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)


def its_own_timer(gcmd):
    signal.alarm(1000)


def no_timer(gcmd):
    signal.alarm(0)


def an_early_alarm(gcmd):
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.2)


def its_own_alarm(gcmd):
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("command", [its_own_handler, its_own_timer, no_timer, an_early_alarm, its_own_alarm])
def test_a_command_that_replaces_the_handler_or_the_timer_is_warned_of(alarms, caplog, command):
    handler = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 500)
    assert call(command, 60).failure is None
    assert [record.getMessage() for record in caplog.records] == [
        "command go of queue has set a timer of its own (SIGALRM), in place of that of its time limit"
    ]
    assert signal.getsignal(signal.SIGALRM) is handler
    assert 400 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500


def test_without_a_limit_no_signal_handler_is_set_and_with_one_only_that_of_the_timer(alarms, monkeypatch):
    installed = []
    monkeypatch.setattr(
        signal, "signal", lambda number, handler, real=signal.signal: installed.append(number) or real(number, handler)
    )
    call(lambda gcmd: None, None)
    assert installed == []
    call(lambda gcmd: None, 60)
    assert set(installed) == {signal.SIGALRM}


FORKING = """
import logging, os, signal, sys
from tests.test_time_limit import call

def command(gcmd):
    child = os.fork()
    if child == 0:
        raise SystemExit
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
signal.setitimer(signal.ITIMER_REAL, 500)
try:
    print("the child's status:", call(command, 60).result, flush=True)
except SystemExit:
    os._exit(3 if signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0) else 7)
"""


def test_a_child_that_leaves_a_limited_command_has_no_timer_and_warns_of_none(worker_process):
    process = worker_process(FORKING, environment=UNMEASURED)
    process.wait_for_line("the child's status: 3")
    assert process.exit_status() == 0
    assert len(process.lines) == 1


def test_ctrl_c_that_meets_the_limit_on_its_way_out_leaves_all_the_same(alarms):
    def command(gcmd):
        try:
            raise KeyboardInterrupt
        finally:
            time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        call(command)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


# In whatever thread.


@pytest.fixture(params=["the main thread", "another thread"])
def in_thread(request, alarms):
    """Calls a function in one kind of thread; what it returns."""

    def call_there(function):
        if request.param == "the main thread":
            return function()
        returned = []
        thread = threading.Thread(target=lambda: returned.append(function()))
        thread.start()
        thread.join()
        return returned[0]

    return call_there


def go_on():
    """For ever; in Python, so that any thread can be told to end."""
    while True:
        time.sleep(0.001)


def test_the_command_may_clean_up(in_thread):
    done = []

    def command(gcmd):
        try:
            go_on()
        except CommandTimeout:
            done.append("caught")
            raise
        finally:
            gcmd.send_data("cleaned up")

    told = in_thread(lambda: call(command))
    assert (told.failure, done, [report.value for report in told.reports]) == (REASON, ["caught"], ["cleaned up"])


def test_in_another_thread_a_call_into_c_returns_first(alarms):
    told = []
    began = time.monotonic()
    thread = threading.Thread(target=lambda: told.append(call(lambda gcmd: time.sleep(0.6))))
    thread.start()
    thread.join()
    assert told[0].failure == REASON
    assert time.monotonic() - began >= 0.6


def test_a_command_that_catches_it_has_the_last_word(in_thread):
    def command(gcmd):
        try:
            go_on()
        except CommandTimeout:
            return "a part of it"

    def fail(gcmd):
        try:
            go_on()
        except CommandTimeout as error:
            raise CommandError("too many pages") from error

    assert in_thread(lambda: call(command)).result == "a part of it"
    assert in_thread(lambda: call(fail)).failure == "too many pages"


def test_the_exception_handler_is_not_asked(in_thread):
    asked = []
    assert in_thread(lambda: call(lambda gcmd: go_on(), exception_handler=asked.append)).failure == REASON
    assert asked == []


def test_it_waits_for_the_end_of_what_must_not_be_broken_off(in_thread):
    done = []

    def command(gcmd):
        with gcmd.job.uninterrupted():
            with gcmd.job.uninterrupted():
                time.sleep(0.5)
            done.append("whole")
        done.append("too late")

    assert in_thread(lambda: call(command)).failure == REASON
    assert done == ["whole"]


def strike_at_blocks(thread):
    """The program of the next test: a limit strikes 100 times at a command of such blocks."""
    begun, ended, failures = [], [], set()

    def command(gcmd):
        while True:
            with gcmd.job.uninterrupted():
                begun.append(sum(range(3)))
                ended.append(sum(range(3)))

    def strike():
        for _ in range(100):
            failures.add(call(command, 0.002).failure)

    if thread == "another thread":
        other = threading.Thread(target=strike)
        other.start()
        other.join()
    else:
        strike()
    print("struck", json.dumps([len(begun), len(ended), list(failures)]))


@pytest.mark.parametrize("thread", ["the main thread", "another thread"])
def test_no_such_block_is_broken_off_however_often_it_may_strike(worker_process, thread):
    program = "import sys; from tests.test_time_limit import strike_at_blocks; strike_at_blocks(*sys.argv[1:])"
    process = worker_process(program, thread, environment=UNMEASURED)
    begun, ended, failures = json.loads(process.wait_for_line("struck").partition(" ")[2])
    assert failures == ["the command took longer than 0.002 s"]
    assert begun == ended > 0


def test_what_ends_in_time_behind_such_a_block_is_left_alone(in_thread):
    def command(gcmd):
        with gcmd.job.uninterrupted():
            pass
        return "in time"

    before = threading.active_count()
    assert in_thread(lambda: call(command, 60)).result == "in time"
    wait_for(lambda: threading.active_count() == before, "the thread of the limit to end")


class Blocks:
    """Stands for the limit of a job, and counts the blocks that it does not break off."""

    def __init__(self):
        self.count = 0

    def __enter__(self):
        self.count += 1

    def __exit__(self, *raised):
        pass


def test_each_method_of_gcmd_is_such_a_block():
    counted = {}

    def command(gcmd):
        for name, method in {
            "send_status": lambda: gcmd.send_status(1, 2),
            "send_data": lambda: gcmd.send_data("x"),
            "send_warning": lambda: gcmd.send_warning("x"),
            "track": lambda: list(gcmd.track([1])),
            "submit": lambda: gcmd.submit("other", {}),
            "stop": gcmd.stop,
        }.items():
            blocks = gcmd.job.limit = Blocks()
            method()
            counted[name] = blocks.count

    call(command, None)
    assert counted == {"send_status": 1, "send_data": 1, "send_warning": 1, "track": 2, "submit": 1, "stop": 1}


def test_of_nested_commands_each_limit_strikes_its_own(in_thread):
    told = []

    def command(gcmd):
        told.append(call(lambda gcmd: go_on()).failure)
        told.append(call(lambda gcmd: "in time", 60).result)
        go_on()

    assert in_thread(lambda: call(command, 0.6)).failure == "the command took longer than 0.6 s"
    assert told == [REASON, "in time"]


def test_a_limit_that_comes_due_in_a_nested_command_strikes_behind_it(in_thread):
    done = []

    def inner(gcmd):
        time.sleep(0.5)
        done.append("whole")

    def command(gcmd):
        call(inner, 60)
        done.append("too late")

    assert in_thread(lambda: call(command)).failure == REASON
    assert done == ["whole"]


# With real workers, in threads and in the event loop.


SHORT = """
import warnings
import gearmancmd
from gearmancmd.testing import call_command

class Queue(gearmancmd.GearmanCMDQueue):
    async def wait(self, gcmd, task):
        return "in time"

queue = Queue()
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    for number in range(300):
        queue.time_limit = (number % 100 + 1) * 1e-6  # about as long as it takes to call one
        call_command(queue, {"command": "wait"})
print("warnings:", [str(each.message) for each in warned], flush=True)
"""


def test_a_coroutine_is_never_lost_before_it_has_begun(worker_process):
    """Python warns of one that is never awaited."""
    process = worker_process(SHORT, environment=UNMEASURED)
    process.wait_for_line("warnings: []")


class Busy(GearmanCMDQueue):
    """Each of its commands takes as long as its task says, and may be limited to `seconds`."""

    def __init__(self, seconds):
        self.time_limit = seconds

    def sleep(self, gcmd, task):
        time.sleep(task["seconds"])
        return task["number"]

    def compute(self, gcmd, task):
        until = time.perf_counter() + task["seconds"]
        while time.perf_counter() < until:
            pass
        return task["number"]

    def report(self, gcmd, task):
        until = time.perf_counter() + task["seconds"]
        while time.perf_counter() < until:
            gcmd.send_status(1, 2)
        return task["number"]

    def refuse(self, gcmd, task):
        self.sleep(gcmd, task)
        raise CommandError("refused")

    async def wait(self, gcmd, task):
        await asyncio.sleep(task["seconds"])
        return task["number"]

    @gearmancmd.command(time_limit=None)
    def finish(self, gcmd, task):
        gcmd.stop(graceful=True)


def serve(address, queue, threads):
    """The worker of the next test, in the main thread of a process of its own."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
    threads = int(threads) or None
    gcmd = GearmanCMD([address], prefetch=8, threads=threads).register_task(queue, Busy(0.002))
    gcmd.run()
    wait_for(lambda: threading.active_count() <= 1 + (threads or 0), "the threads of the limits to end")
    print("returned", signal.getsignal(signal.SIGALRM) == signal.SIG_DFL, signal.getitimer(signal.ITIMER_REAL))


@pytest.mark.parametrize(
    ("commands", "threads"),
    [(["sleep", "compute", "report", "refuse"], 0), (["sleep", "compute", "report", "refuse"], 4), (["wait"], 0)],
    ids=["in the main thread", "in threads", "in the event loop"],
)
def test_each_of_many_jobs_that_end_at_their_limit_is_answered_once(gearmand, queue, worker_process, commands, threads):
    program = "import sys; from tests.test_time_limit import serve; serve(*sys.argv[1:])"
    process = worker_process(program, gearmand.address, queue, str(threads), environment=UNMEASURED)
    timed_out = "the command took longer than 0.002 s"
    outcomes = {}
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        tasks = [
            {"command": commands[number % len(commands)], "number": number, "seconds": 0.0015 + number % 10 * 0.0001}
            for number in range(JOBS)
        ]
        for number, result in enumerate(client.map(queue, tasks, return_exceptions=True)):
            outcomes[number] = getattr(result, "reason", result)
        assert client.call(queue, {"command": "finish"}) is None
    assert all(outcome in (number, timed_out, "refused") for number, outcome in outcomes.items())
    assert len(outcomes) == JOBS
    process.wait_for_line("returned True (0.0, 0.0)")
    assert process.exit_status() == 0
    assert len(process.lines) == 1  # a second answer would be an error of the server
