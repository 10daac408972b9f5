"""Commands beside each other, in threads and on the event loop, and what each end of a run does to them."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import pytest

from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue, JobEnded, JSONGearmanClient
from gearmancmd._worker import loop
from gearmancmd.testing import call_command
from tests.support.gearmand import counts
from tests.support.waiting import LIMIT, wait_for


class Queue(GearmanCMDQueue):
    """Commands that meet others: each holds until it is let go."""

    def __init__(self) -> None:
        self.inside = 0
        self.let_go = threading.Event()
        self.lock = threading.Lock()
        self.cancelled: list[str] = []
        self.late: list[str] = []
        self.threads: set[str] = set()

    def _enter(self) -> None:
        with self.lock:
            self.inside += 1
            self.threads.add(threading.current_thread().name)

    def hold(self, gcmd: Any, task: Any) -> Any:
        self._enter()
        assert self.let_go.wait(LIMIT)
        return self._reported(gcmd, task)

    async def ahold(self, gcmd: Any, task: Any) -> Any:
        self._enter()
        try:
            while not self.let_go.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.append(gcmd.job.handle)
            raise
        return self._reported(gcmd, task)

    def _reported(self, gcmd: Any, task: Any) -> Any:
        gcmd.send_status(task["number"], 100)
        gcmd.send_data(f"data {task['number']}")
        return [task["number"], gcmd.job.handle]

    def reverse(self, gcmd: Any, task: Any) -> Any:
        return task["message"][::-1]

    async def areverse(self, gcmd: Any, task: Any) -> Any:
        await asyncio.sleep(0)
        return task["message"][::-1]

    def fail(self, gcmd: Any, task: Any) -> Any:
        raise ValueError(f"{task.get('number')} is broken")

    async def afail(self, gcmd: Any, task: Any) -> Any:
        self.fail(gcmd, task)

    def leave(self, gcmd: Any, task: Any) -> Any:
        raise SystemExit(7)

    async def aleave(self, gcmd: Any, task: Any) -> Any:
        raise SystemExit(7)

    def refuse(self, gcmd: Any, task: Any) -> Any:
        raise CommandError("not today")

    async def arefuse(self, gcmd: Any, task: Any) -> Any:
        raise CommandError("not today")

    async def acancel(self, gcmd: Any, task: Any) -> Any:
        raise asyncio.CancelledError("of its own")

    def stop(self, gcmd: Any, task: Any) -> Any:
        gcmd.stop(graceful=task.get("graceful", False))
        self._enter()
        assert self.let_go.wait(LIMIT)
        return "its own"

    async def astop(self, gcmd: Any, task: Any) -> Any:
        gcmd.stop(graceful=task.get("graceful", False))
        self._enter()
        while not self.let_go.is_set():
            await asyncio.sleep(0.005)
        return "its own"

    def restart(self, gcmd: Any, task: Any) -> Any:
        gcmd.stop()
        gcmd.run()

    async def arestart(self, gcmd: Any, task: Any) -> Any:
        self.restart(gcmd, task)

    def late_report(self, gcmd: Any, task: Any) -> Any:
        self._enter()
        assert self.let_go.wait(LIMIT)
        try:
            gcmd.send_status(1, 1)
        except JobEnded as error:
            self.late.append(str(error))
        return "too late"


#: The options of a GearmanCMD, and the prefix of the commands that run that way.
WAYS = {"threads": ({"threads": 4}, ""), "event loop": ({"prefetch": 4}, "a")}

ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def begin(server, queue, run):
    """Starts a worker; the queue's object, its run, and what names a command there."""

    def start(way: str, **options: Any) -> tuple[Queue, Any, str]:
        target = Queue()
        given, prefix = WAYS[way]
        gcmd = GearmanCMD([server.address], **{**given, **options}).register_task(queue, target)
        return target, run(gcmd), prefix

    return start


@ways
def test_commands_overlap_and_each_report_and_result_belongs_to_its_own_job(client, queue, begin, way):
    target, _, prefix = begin(way)
    jobs = [client.send(queue, {"command": f"{prefix}hold", "number": number}) for number in range(4)]
    wait_for(lambda: target.inside == 4)
    target.let_go.set()
    for number, job in enumerate(jobs):
        outcome = client.outcome(job)
        handle = job.handle.decode()
        assert outcome.data == f'"data {number}"[{number},"{handle}"]'.encode()
        assert client.statuses[job.handle] == [(str(number).encode(), b"100")]
    assert (len(target.threads) == 4) == (way == "threads")
    assert threading.current_thread().name not in target.threads


@pytest.mark.parametrize("threads", [None, 2])
def test_commands_of_both_kinds_mix(server, client, queue, run, threads):
    target = Queue()
    run(GearmanCMD([server.address], threads=threads, prefetch=40).register_task(queue, target))
    held = [client.send(queue, {"command": "ahold", "number": number}) for number in range(33)]
    wait_for(lambda: target.inside == 33)  # more than one batch of the Pipe
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert client.call(queue, {"command": "areverse", "message": "abc"}).result == "cba"
    target.let_go.set()
    assert [client.outcome(job).state for job in held] == ["complete"] * 33


def test_prefetch_is_what_may_be_in_hand_at_once(server, client, queue, run):
    target = Queue()
    run(GearmanCMD([server.address], threads=3).register_task(queue, target))
    jobs = [client.send(queue, {"command": "hold", "number": number}) for number in range(7)]
    wait_for(lambda: target.inside == 3 and counts(server, queue) == (7, 3, 1))
    target.let_go.set()
    assert [client.outcome(job).state for job in jobs] == ["complete"] * 7


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_must_be_a_number_of_threads(threads):
    with pytest.raises((TypeError, ValueError), match=f"threads must be .*{threads!r}"):
        GearmanCMD(["localhost"], threads=threads)


@ways
def test_what_fails_a_job_fails_that_one_and_the_worker_goes_on(client, queue, begin, way):
    _, _, prefix = begin(way, exception_handler=lambda error: f"handled: {error}")
    assert client.call(queue, {"command": f"{prefix}refuse"}).reason == "not today"
    assert client.call(queue, {"command": f"{prefix}fail", "number": 5}).result == "handled: 5 is broken"
    assert client.call(queue, {"command": "acancel"}).result == "handled: of its own"
    assert client.call(queue, {"command": f"{prefix}reverse", "message": "abc"}).result == "cba"


@ways
@pytest.mark.parametrize(("command", "left"), [("fail", ValueError), ("leave", SystemExit)])
def test_the_first_exception_ends_the_run_and_requeues_what_was_under_way(
    server, client, queue, begin, way, command, left
):
    target, running, prefix = begin(way)
    held = [client.send(queue, {"command": f"{prefix}hold", "number": number}) for number in range(3)]
    wait_for(lambda: target.inside == 3)
    failing = client.send(queue, {"command": f"{prefix}{command}", "number": 9})
    assert isinstance(running.wait(), left)
    if left is ValueError:
        assert client.outcome(failing).reason == "ValueError: 9 is broken"
    waiting = 3 if left is ValueError else 4  # what left by sys.exit() is requeued too, as in one thread
    wait_for(lambda: counts(server, queue) == (waiting, 0, 0))
    assert len(target.cancelled) == (3 if way == "event loop" else 0)
    target.let_go.set()
    if left is ValueError:
        begin(way)[0].let_go.set()
        assert [client.outcome(job).state for job in held] == ["complete"] * 3


def test_a_cancelled_error_of_its_own_leaves_run_where_nobody_handles_it(client, queue, begin):
    _, running, _ = begin("event loop")
    job = client.send(queue, {"command": "acancel"})
    assert isinstance(running.wait(), asyncio.CancelledError)
    assert client.outcome(job).reason == "CancelledError: of its own"


@ways
def test_a_plain_stop_requeues_what_is_under_way_and_another_run_does_it(server, client, queue, begin, run, way):
    target, running, prefix = begin(way)
    jobs = [client.send(queue, {"command": f"{prefix}hold", "number": number}) for number in range(4)]
    wait_for(lambda: target.inside == 4)
    running.gcmd.stop()
    assert running.wait() is None
    wait_for(lambda: counts(server, queue) == (4, 0, 0))
    assert len(target.cancelled) == (4 if way == "event loop" else 0)
    target.let_go.set()
    run(running.gcmd)
    outcomes = [client.outcome(job) for job in jobs]
    assert [outcome.state for outcome in outcomes] == ["complete"] * 4
    assert [outcome.data.count(b"data") for outcome in outcomes] == [1] * 4


@ways
def test_a_graceful_stop_waits_for_all_and_answers_them(server, client, queue, begin, way):
    target, running, prefix = begin(way)
    jobs = [client.send(queue, {"command": f"{prefix}hold", "number": number}) for number in range(4)]
    wait_for(lambda: target.inside == 4)
    running.gcmd.stop(graceful=True)
    target.let_go.set()
    assert [client.outcome(job).state for job in jobs] == ["complete"] * 4
    assert running.wait() is None
    assert counts(server, queue) == (0, 0, 0)


@ways
@pytest.mark.parametrize("graceful", [False, True])
def test_stop_in_a_command(server, client, queue, begin, way, graceful):
    target, running, prefix = begin(way)
    job = client.send(queue, {"command": f"{prefix}stop", "graceful": graceful})
    other = client.send(queue, {"command": f"{prefix}hold", "number": 1})
    wait_for(lambda: target.inside >= 1)
    target.let_go.set()
    assert client.outcome(job).data == (b'"its own"' if graceful else b"null")
    assert running.wait() is None
    if graceful:
        assert counts(server, queue)[1:] == (0, 0)
    else:
        wait_for(lambda: other.complete or counts(server, queue) == (1, 0, 0))


@ways
def test_run_in_a_command_would_wait_for_itself(client, queue, begin, way):
    _, running, prefix = begin(way, exception_handler=str)
    assert client.call(queue, {"command": f"{prefix}restart"}).data == b"null"
    assert running.wait() is None


def test_a_command_that_outlives_its_run_in_a_thread_can_tell_nobody_and_keeps_nothing_from_going_on(
    server, client, queue, begin, run
):
    target, running, _ = begin("threads")
    job = client.send(queue, {"command": "late_report"})
    wait_for(lambda: target.inside == 1)
    running.gcmd.stop()
    assert running.wait() is None
    again = run(running.gcmd)
    wait_for(lambda: target.inside == 2)  # the same job, in another thread
    target.let_go.set()
    assert client.outcome(job).data == b'"too late"'
    wait_for(lambda: target.late)
    assert target.late == [f"job {job.handle.decode()} can be told nothing more: its worker has ended"]
    assert again.error is None


def test_as_many_jobs_begin_at_once_as_there_are_threads(server, client, queue, run, monkeypatch):
    monkeypatch.setattr(loop, "DEAD_LOOK_SECONDS", 1000.0)  # it would wake the loop
    all_begun = threading.Barrier(64)

    class Meeting(GearmanCMDQueue):
        def meet(self, gcmd, task):
            all_begun.wait(LIMIT)

    jobs = [client.send(queue, {"command": "meet"}) for _ in range(64)]
    run(GearmanCMD([server.address], threads=64, poll_timeout=60).register_task(queue, Meeting()))
    assert [client.outcome(job).state for job in jobs] == ["complete"] * 64


@ways
def test_a_hundred_jobs_at_a_time_are_each_answered_once(server, queue, begin, way):
    _, _, prefix = begin(way, prefetch=50)
    with JSONGearmanClient([server.address]) as client:
        tasks = [{"command": f"{prefix}reverse", "message": f"{number:04}"} for number in range(2000)]
        assert list(client.map(queue, tasks)) == [task["message"][::-1] for task in tasks]


def test_threads_end_with_their_run(server, queue, run):
    before = set(threading.enumerate())
    running = run(GearmanCMD([server.address], threads=5).register_task(queue, Queue()))
    wait_for(lambda: sum(t.name.startswith("gearmancmd-command-") for t in set(threading.enumerate()) - before) == 5)
    running.gcmd.stop()
    assert running.wait() is None
    wait_for(lambda: not [t for t in set(threading.enumerate()) - before if t.name.startswith("gearmancmd-")])


def test_the_event_loop_ends_with_its_run_and_the_next_run_has_another(server, client, queue, run):
    running = run(GearmanCMD([server.address]).register_task(queue, Queue()))
    assert client.call(queue, {"command": "areverse", "message": "ab"}).result == "ba"
    assert [t.name for t in threading.enumerate() if t.name == "gearmancmd-event-loop"]
    running.gcmd.stop()
    assert running.wait() is None
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "gearmancmd-event-loop"])
    run(running.gcmd)
    assert client.call(queue, {"command": "areverse", "message": "ab"}).result == "ba"


class Stubborn(GearmanCMDQueue):
    """A coroutine that does not let itself be cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()

    async def hold(self, gcmd: Any, task: Any) -> Any:
        while not self.let_go.is_set():
            self.begun.set()
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass
        return "done after all"


def test_a_coroutine_that_refuses_to_be_cancelled_does_not_keep_the_run_from_ending(server, client, queue, run, caplog):
    target = Stubborn()
    running = run(GearmanCMD([server.address]).register_task(queue, target))
    client.send(queue, {"command": "hold"})
    assert target.begun.wait(LIMIT)
    running.gcmd.stop()
    assert running.wait() is None
    assert f"these commands were cancelled, and go on all the same: hold of {queue}" in caplog.text
    wait_for(lambda: counts(server, queue) == (1, 0, 0))
    target.let_go.set()
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "gearmancmd-event-loop"])
    assert caplog.text.count("go on all the same") == 1


WAITING_HANDLER = """
import sys, time
import gearmancmd

class Queue(gearmancmd.GearmanCMDQueue):
    async def fail(self, gcmd, task):
        raise ValueError

def handler(error):
    print("handling", flush=True)
    time.sleep(600)

try:
    gearmancmd.GearmanCMD([sys.argv[1]], exception_handler=handler).register_task(sys.argv[2], Queue()).run()
except KeyboardInterrupt:
    print("left run()", flush=True)
"""


def test_a_process_does_not_wait_at_its_end_for_the_exception_handler_of_a_coroutine(
    server, client, queue, worker_process
):
    process = worker_process(WAITING_HANDLER, server.address, queue)
    client.send(queue, {"command": "fail"})
    process.wait_for_line("handling")
    process.interrupt()
    assert process.exit_status() == 0
    process.wait_for_line("left run()")
    wait_for(lambda: counts(server, queue) == (1, 0, 0), "the job to be in its queue again")


# Streams.


class Streams(GearmanCMDQueue):
    def __init__(self) -> None:
        self.closed: list[str] = []

    def numbers(self, gcmd: Any, task: Any) -> Any:
        try:
            yield from range(task["count"])
        finally:
            self.closed.append("numbers")
        return "all"

    async def anumbers(self, gcmd: Any, task: Any) -> Any:
        try:
            for number in range(task["count"]):
                await asyncio.sleep(0)
                yield number
        finally:
            self.closed.append("anumbers")

    def wrapped(self, gcmd: Any, task: Any) -> Any:
        return self.numbers(gcmd, task)

    def awrapped(self, gcmd: Any, task: Any) -> Any:
        return self.anumbers(gcmd, task)

    def broken(self, gcmd: Any, task: Any) -> Any:
        yield 1
        raise CommandError("no more")

    async def abroken(self, gcmd: Any, task: Any) -> Any:
        yield 1
        raise CommandError("no more")

    def odd(self, gcmd: Any, task: Any) -> Any:
        yield 1
        try:
            yield {1, 2}
        finally:
            self.closed.append("odd")

    async def aodd(self, gcmd: Any, task: Any) -> Any:
        yield 1
        try:
            yield {1, 2}
        finally:
            self.closed.append("aodd")

    def empty(self, gcmd: Any, task: Any) -> Any:
        yield from ()

    async def big(self, gcmd: Any, task: Any) -> Any:
        for number in range(task["count"]):
            yield f"{number}" + "x" * 1024 * 1024


@pytest.fixture(params=[None, 2], ids=["run()", "threads"])
def streams(request, server, queue, run):
    target = Streams()
    run(GearmanCMD([server.address], threads=request.param).register_task(queue, target))
    return target


@pytest.mark.parametrize("command", ["numbers", "wrapped", "anumbers", "awrapped"])
def test_what_a_generator_yields_is_sent_ahead_and_what_it_returns_is_the_result(client, queue, streams, command):
    outcome = client.call(queue, {"command": command, "count": 3})
    last = b"null" if command.startswith("a") else b'"all"'
    assert (outcome.state, outcome.data) == ("complete", b"012" + last)
    assert len(streams.closed) == 1


@pytest.mark.parametrize("prefix", ["", "a"])
def test_a_generator_that_fails_has_sent_what_it_yielded_before(client, queue, streams, prefix):
    outcome = client.call(queue, {"command": f"{prefix}broken"})
    assert outcome.data.startswith(b"1") and outcome.reason == "no more"
    outcome = client.call(queue, {"command": f"{prefix}odd"})
    assert outcome.data.startswith(b"1") and "cannot be encoded" in outcome.reason
    wait_for(lambda: streams.closed == [f"{prefix}odd"])
    assert client.call(queue, {"command": "empty"}).data == b"null"


def test_a_stream_that_is_faster_than_the_network_fills_no_memory_and_blocks_no_other_coroutine(client, queue, streams):
    job = client.send(queue, {"command": "big", "count": 20})
    assert client.call(queue, {"command": "anumbers", "count": 2}).data == b"01null"
    data = client.outcome(job).data
    assert len(data) == sum(len(f'"{number}"') + 1024 * 1024 for number in range(20)) + len("null")


def test_commands_of_each_kind_without_a_server():
    assert [report.value for report in call_command(Streams(), {"command": "numbers", "count": 2}).reports] == [0, 1]
    assert [report.value for report in call_command(Streams(), {"command": "anumbers", "count": 2}).reports] == [0, 1]
    assert call_command(Queue(), {"command": "areverse", "message": "abc"}).result == "cba"
    assert call_command(Queue(), {"command": "arefuse"}).failure == "not today"
    with pytest.raises(ValueError, match="7 is broken"):
        call_command(Queue(), {"command": "afail", "number": 7})
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "gearmancmd-event-loop"])


def test_a_coroutine_behind_a_plain_decorator_is_one_too():
    def logged(method: Any) -> Any:
        @functools.wraps(method)
        def call(self: Any, gcmd: Any, task: Any) -> Any:
            return method(self, gcmd, task)

        return call

    class Decorated(GearmanCMDQueue):
        @logged
        async def reverse(self, gcmd: Any, task: Any) -> Any:
            await asyncio.sleep(0)
            return task["message"][::-1]

    assert call_command(Decorated(), {"command": "reverse", "message": "Hello"}).result == "olleH"


def test_many_coroutines_sleep_at_the_same_time(server, queue, run):
    class Sleeps(GearmanCMDQueue):
        inside = most = 0

        async def nap(self, gcmd: Any, task: Any) -> Any:
            self.inside += 1
            self.most = max(self.most, self.inside)
            while self.most < 200:
                await asyncio.sleep(0.005)
            self.inside -= 1

    target = Sleeps()
    run(GearmanCMD([server.address], prefetch=200).register_task(queue, target))
    with JSONGearmanClient([server.address]) as client:
        assert list(client.map(queue, [{"command": "nap"}] * 200, window=200)) == [None] * 200
    assert target.most == 200
