"""Hooks: called for each job that was answered, once, and whatever they do disturbs no job."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from typing import Any

import pytest

from gearmancmd import (
    CommandError,
    GearmanCMD,
    GearmanCMDQueue,
    GearmanWorker,
    Hooks,
    JobFailed,
    JSONGearmanClient,
    JSONGearmanWorker,
)
from gearmancmd._wire.fork import Origin
from gearmancmd.errors import PayloadError, ResultError, UnexpectedError, UnknownCommand
from gearmancmd.hooks import HookCaller
from tests.support.gear_client import Caller
from tests.support.waiting import LIMIT, wait_for


class Queue(GearmanCMDQueue):
    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.started = threading.Event()

    def reverse(self, gcmd: Any, task: Any) -> Any:
        return task["message"][::-1]

    def refuse(self, gcmd: Any, task: Any) -> Any:
        raise CommandError("out of paper")

    def crash(self, gcmd: Any, task: Any) -> Any:
        raise ValueError("a bug")

    def cancel(self, gcmd: Any, task: Any) -> Any:
        raise asyncio.CancelledError("too late")

    def odd(self, gcmd: Any, task: Any) -> Any:
        return {1, 2}

    def interrupt(self, gcmd: Any, task: Any) -> Any:
        raise KeyboardInterrupt

    def leave(self, gcmd: Any, task: Any) -> Any:
        raise SystemExit(3)

    def stop(self, gcmd: Any, task: Any) -> Any:
        gcmd.stop(graceful=task.get("graceful", False))
        return "its own result"

    def hold(self, gcmd: Any, task: Any) -> Any:
        self.started.set()
        assert self.let_go.wait(LIMIT)
        return "held"


class Notes:
    """Notes what hooks are called with: tuples of the hook's name and what a test wants to know."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()
        self.seconds: list[float] = []

    def note(self, *call: Any) -> None:
        self.threads.add(threading.get_ident())
        self.calls.append(call)

    def on_start(self) -> None:
        self.note("start")

    def on_job(self, job: Any, task: Any) -> None:
        self.note("job", job.handle, task)

    def on_done(self, job: Any, result: Any, seconds: float) -> None:
        self.note("done", job.handle, result)
        self.seconds.append(seconds)

    def on_failure(self, job: Any, error: BaseException, seconds: float) -> None:
        self.note("failure", job.handle, error)
        self.seconds.append(seconds)

    def on_stop(self) -> None:
        self.note("stop")

    def kinds(self) -> list[str]:
        return [call[0] for call in self.calls]

    def ends(self) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] in ("done", "failure")]


def working(server: Any, queue: str, *hooks: object, kind: Any = GearmanCMD, **options: Any) -> GearmanCMD:
    gcmd: GearmanCMD = kind([server.address], hooks=list(hooks), **options)
    return gcmd.register_task(queue, Queue())


def call(client: Any, queue: str, command: str, **task: Any) -> Any:
    return client.call(queue, {"command": command, **task})


# What is called when.


def test_the_hooks_of_a_job_and_of_a_run(server, client, queue, run):
    notes = Notes()
    gcmd = working(server, queue, notes)
    running = run(gcmd)
    task = {"command": "reverse", "message": "Hello"}
    job = client.send(queue, task)
    assert client.outcome(job).result == "olleH"
    call(client, queue, "stop")
    assert running.wait() is None
    handle = job.handle.decode()
    assert notes.calls[:3] == [("start",), ("job", handle, task), ("done", handle, "olleH")]
    assert notes.kinds() == ["start", "job", "done", "job", "done", "stop"]
    assert all(seconds > 0 for seconds in notes.seconds) and len(notes.seconds) == 2


#: Command, whether its task is told, and the error that the hook gets.
FAILURES: dict[str, tuple[Any, bool, type[BaseException], str]] = {
    "a CommandError": ({"command": "refuse"}, True, CommandError, "out of paper"),
    "an unknown command": ({"command": "missing"}, True, UnknownCommand, "no command 'missing'"),
    "no JSON": (b"{", False, PayloadError, "cannot be decoded"),
    "too large": (b'"' + b"x" * 2000 + b'"', False, PayloadError, "not taken"),
    "a result that is no JSON": ({"command": "odd"}, True, ResultError, "cannot be encoded"),
    "a bug": ({"command": "crash"}, True, ValueError, "a bug"),
    "a CancelledError": ({"command": "cancel"}, True, asyncio.CancelledError, "too late"),
}


@pytest.mark.parametrize(("task", "told", "kind", "text"), FAILURES.values(), ids=FAILURES.keys())
def test_on_failure_is_called_for_each_failed_job_and_on_job_for_what_can_be_decoded(
    server, client, queue, run, task, told, kind, text
):
    notes = Notes()
    running = run(working(server, queue, notes, max_payload=1000))
    job = client.send(queue, task)
    assert client.outcome(job).state == "failed"
    wait_for(notes.ends, "the hook")
    handle = job.handle.decode()
    assert [call for call in notes.calls if call[0] == "job"] == ([("job", handle, task)] if told else [])
    ((_, of, error),) = notes.ends()
    assert of == handle and type(error) is kind and text in str(error)
    assert len(notes.seconds) == 1 and notes.seconds[0] > 0
    if kind in (ValueError, asyncio.CancelledError):
        assert running.wait() is error
        assert notes.kinds() == ["start", "job", "failure", "stop"]


def test_what_the_exception_handler_does_is_what_the_hooks_hear(server, client, queue, run):
    def handle(error: BaseException) -> str:
        if isinstance(error, UnknownCommand):
            raise UnexpectedError("sorry") from error
        return f"handled {error}"

    notes = Notes()
    run(working(server, queue, notes, exception_handler=handle))
    assert call(client, queue, "crash").result == "handled a bug"
    assert call(client, queue, "missing").reason == "sorry"
    wait_for(lambda: len(notes.ends()) == 2, "the hooks")
    done, failure = notes.ends()
    assert (done[0], done[2]) == ("done", "handled a bug")
    assert (failure[0], str(failure[2])) == ("failure", "sorry")
    assert isinstance(failure[2].__cause__, UnknownCommand)


@pytest.mark.parametrize("graceful", [False, True])
def test_the_result_of_on_done_is_what_the_client_gets(server, client, queue, run, graceful):
    class Ignoring(GearmanCMD):
        def dispatch(self, queue: str, task: Any) -> Any:
            return None if task.get("ignore") else super().dispatch(queue, task)

    notes = Notes()
    running = run(working(server, queue, notes, kind=Ignoring))
    results = [call(client, queue, "reverse", ignore=True).result]
    results.append(call(client, queue, "stop", graceful=graceful).result)
    running.wait()
    assert [end[2] for end in notes.ends()] == results == [None, "its own result" if graceful else None]


@pytest.mark.parametrize(("command", "kind"), [("interrupt", KeyboardInterrupt), ("leave", SystemExit)])
def test_a_requeued_job_is_neither_done_nor_failed(server, client, queue, run, command, kind):
    notes = Notes()
    running = run(working(server, queue, notes))
    client.send(queue, {"command": command}, background=True)
    assert isinstance(running.wait(), kind)
    assert notes.kinds() == ["start", "job", "stop"]


@pytest.mark.parametrize("error", [OSError("no more threads"), KeyboardInterrupt()])
def test_a_run_that_fails_at_its_start_calls_on_stop_too(server, queue, monkeypatch, error):
    def attach(self: Any, *arguments: Any) -> None:
        raise error

    monkeypatch.setattr(GearmanWorker, "attach", attach)
    notes = Notes()
    gcmd = working(server, queue, notes)
    for _ in range(2):
        with pytest.raises(type(error)):
            gcmd.run()
    assert notes.kinds() == ["start", "stop"] * 2


def test_a_run_that_never_begins_calls_no_hook(server, queue):
    notes = Notes()
    with pytest.raises(RuntimeError, match="no queue"):
        GearmanCMD([server.address], hooks=[notes]).run()
    trigger = threading.Event()
    trigger.set()
    working(server, queue, notes).run(trigger)
    assert notes.calls == []


def test_a_stop_in_on_start_ends_the_run_before_anything_is_connected(server, queue, monkeypatch):
    attached = []
    monkeypatch.setattr(GearmanWorker, "attach", lambda *arguments: attached.append(arguments))

    class Stopping(GearmanCMD):
        def on_start(self) -> None:
            self.stop(graceful=True)

    notes = Notes()
    working(server, queue, notes, kind=Stopping).run()
    assert notes.kinds() == ["start", "stop"]
    assert attached == []


def test_each_run_has_its_start_and_its_end_in_order_also_when_one_waits_for_the_other(server, client, queue, run):
    notes = Notes()
    gcmd = working(server, queue, notes)
    first = run(gcmd)
    call(client, queue, "reverse", message="x")
    gcmd.stop()
    second = run(gcmd)
    assert call(client, queue, "stop").result is None
    assert first.wait() is None and second.wait() is None
    assert notes.kinds() == ["start", "job", "done", "stop", "start", "job", "done", "stop"]


def test_hooks_run_in_the_thread_that_works_and_know_the_job_in_hand(server, client, queue, run):
    seen = []

    class Asking(Notes):
        def on_job(self, job: Any, task: Any) -> None:
            super().on_job(job, task)
            seen.append((gcmd.job is job, job.command))

        def on_done(self, job: Any, result: Any, seconds: float) -> None:
            super().on_done(job, result, seconds)
            seen.append((gcmd.job is job, job.command))

    notes = Asking()
    gcmd = working(server, queue, notes)
    run(gcmd)
    call(client, queue, "reverse", message="x")
    wait_for(notes.ends, "the hook")
    gcmd.stop()
    assert seen == [(True, None), (True, "reverse")]
    assert len(notes.threads) == 1 and threading.get_ident() not in notes.threads


def test_a_jobs_command_is_the_one_that_works_on_it(server, client, queue, run):
    class Defaulting(Queue):
        def default(self, gcmd: Any, task: Any) -> Any:
            return gcmd.job.command

    class Sending(GearmanCMD):
        def dispatch(self, queue: str, task: Any) -> Any:
            return (queue, task["to"]) if "to" in task else super().dispatch(queue, task)

    run(Sending([server.address]).register_task(queue, Defaulting()))
    assert client.call(queue, {"command": "missing"}).result == "default"
    assert client.call(queue, {"to": "default"}).result == "default"


# Which objects, and in which order.


class Subclass(GearmanCMD):
    def __init__(self, *arguments: Any, notes: Notes, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.notes = notes

    def on_start(self) -> None:
        self.notes.note("own start")

    def on_job(self, job: Any, task: Any) -> None:
        self.notes.note("own job")

    def on_done(self, job: Any, result: Any, seconds: float) -> None:
        self.notes.note("own done")

    def on_stop(self) -> None:
        self.notes.note("own stop")


def test_the_gearmancmds_own_hooks_come_first_and_the_others_in_order(server, client, queue, run):
    notes = Notes()

    class Second(Hooks):  # with two of them
        def on_job(self, job: Any, task: Any) -> None:
            notes.note("second job")

        def on_stop(self) -> None:
            notes.note("second stop")

    running = run(working(server, queue, notes, Second(), kind=Subclass, notes=notes))
    call(client, queue, "stop")
    running.wait()
    assert notes.kinds() == [
        *("own start", "start"),
        *("own job", "job", "second job"),
        *("own done", "done"),
        *("own stop", "stop", "second stop"),
    ]


def test_the_list_is_read_when_a_run_begins(server, client, queue, run):
    early, late = Notes(), Notes()

    class Fixed(GearmanCMD):
        hooks = (early,)

    gcmd = Fixed(iter([server.address])).register_task(queue, Queue())
    gcmd.hooks = iter([early, late])
    for _ in range(2):
        running = run(gcmd)
        call(client, queue, "stop")
        running.wait()
    assert early.kinds() == late.kinds() == ["start", "job", "done", "stop"] * 2


def test_a_gearmancmd_with_hooks_can_be_pickled(server, queue):
    gcmd = GearmanCMD([server.address], hooks=[Notes()])
    (copied,) = pickle.loads(pickle.dumps(gcmd)).hooks
    assert isinstance(copied, Notes)


class Half:
    on_job = 3


WRONG: list[tuple[Any, str]] = [
    (3, "hooks must be a list of objects, not 3"),
    ("text", "hooks must be a list of objects, not 'text'"),
    (Notes(), "hooks must be a list of objects, not <"),
    (
        [Notes(), "text"],
        r"hooks\[1\] must have a method on_start, on_connect, .*on_failure or on_stop, not 'text'",
    ),
    ([None], r"hooks\[0\] must have a method .*, not None"),
    ([Notes], r"hooks\[0\] must be an object, not a class: <class .*Notes"),
    ([Half()], r"hooks\[0\].on_job must be callable, not 3"),
]


@pytest.mark.parametrize(("hooks", "message"), WRONG)
def test_what_is_not_a_hook_is_refused_when_it_enters_and_when_run_begins(queue, hooks, message):
    with pytest.raises(TypeError, match=message):
        GearmanCMD(["localhost"], hooks=hooks)
    gcmd = GearmanCMD(["localhost"]).register_task(queue, Queue())
    gcmd.hooks = hooks
    with pytest.raises(TypeError, match=message):
        gcmd.run()


# A hook that goes wrong.


class Broken:
    """Each hook raises."""

    def __init__(self, error: type[BaseException] = RuntimeError) -> None:
        self._error = error

    def on_start(self) -> None:
        raise self._error("at start")

    def on_job(self, job: Any, task: Any) -> None:
        raise self._error("at job")

    def on_done(self, job: Any, result: Any, seconds: float) -> None:
        raise self._error("at done")

    def on_failure(self, job: Any, error: BaseException, seconds: float) -> None:
        raise self._error("at failure")

    def on_stop(self) -> None:
        raise self._error("at stop")


@pytest.mark.parametrize("error", [RuntimeError, CommandError])
def test_a_hook_that_raises_is_logged_once_and_disturbs_no_job_and_no_other_hook(
    server, client, queue, run, caplog, error
):
    notes = Notes()
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        running = run(working(server, queue, Broken(error), notes))
        job = client.send(queue, {"command": "reverse", "message": "Hello"})
        assert client.outcome(job).result == "olleH"
        assert call(client, queue, "refuse").reason == "out of paper"
        assert call(client, queue, "stop").result is None
        assert running.wait() is None
    assert notes.kinds() == ["start", "job", "done", "job", "failure", "job", "done", "stop"]
    records = [record for record in caplog.records if record.getMessage().startswith("hook ")]
    assert [str(record.exc_info[1]) for record in records if record.exc_info] == [
        "at start",
        *("at job", "at done"),
        *("at job", "at failure"),
        *("at job", "at done"),
        "at stop",
    ]
    assert {record.levelname for record in records} == {"ERROR"}
    assert records[1].getMessage() == f"hook Broken.on_job failed at {job.handle.decode()} of {queue}"


def interrupting(name: str) -> object:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    return type("Interrupting", (), {name: interrupt})()


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("on_start", []),
        ("on_job", ["start", "stop"]),
        ("on_done", ["start", "job", "stop"]),
        ("on_stop", ["start", "job", "done", "stop"]),
    ],
)
def test_ctrl_c_in_a_hook_leaves_run_and_the_worker_has_ended(server, client, queue, run, name, kinds):
    notes = Notes()
    gcmd = working(server, queue, notes)
    gcmd.hooks = [interrupting(name), notes]
    running = run(gcmd)
    if name != "on_start":
        client.send(queue, {"command": "stop"}, background=True)
    assert isinstance(running.wait(), KeyboardInterrupt)
    assert notes.kinds() == kinds
    gcmd.hooks = []
    again = run(gcmd)
    if name != "on_job":  # else the job is back in the queue
        assert call(client, queue, "reverse", message="x").result == "x"
        gcmd.stop()
    assert again.wait() is None


# Workers with hooks of python-gearman's, and processes.


def test_worker_classes_with_callbacks_of_their_own_go_on_working(server, client, queue, run):
    told = []

    class Worker(JSONGearmanWorker):
        def on_job_exception(self, current_job: Any, exc_info: Any) -> bool:
            told.append(type(exc_info[1]))
            self.send_job_failure(current_job)
            return False

        def on_job_complete(self, current_job: Any, job_result: Any) -> bool:
            return super().on_job_complete(current_job, [job_result])

    notes = Notes()
    gcmd = working(server, queue, notes)
    gcmd.worker = Worker
    run(gcmd)
    assert call(client, queue, "reverse", message="ab").result == ["ba"]
    for command in ("refuse", "odd", "missing"):
        assert call(client, queue, command).state == "failed"
    assert client.call(queue, b"{").state == "failed"
    wait_for(lambda: len(notes.ends()) == 5, "the hooks")
    errors = [end[2] for end in notes.ends() if end[0] == "failure"]
    assert [type(error) for error in errors] == told == [CommandError, ResultError, UnknownCommand, PayloadError]


def test_a_worker_class_that_answers_and_then_raises_has_told_its_hook(server, client, queue, run):
    class Worker(JSONGearmanWorker):
        def after_job(self) -> bool:
            raise OSError("after the job")

    notes = Notes()
    gcmd = working(server, queue, notes)
    gcmd.worker = Worker
    running = run(gcmd)
    assert call(client, queue, "reverse", message="ab").result == "ba"
    assert isinstance(running.wait(), OSError)
    assert notes.kinds() == ["start", "job", "done", "stop"]


def test_a_worker_class_that_does_not_answer_has_requeued_the_job(server, client, queue, run):
    class Worker(JSONGearmanWorker):
        def on_job_complete(self, current_job: Any, job_result: Any) -> bool:
            return True

        def after_job(self) -> bool:
            return False

    notes = Notes()
    gcmd = working(server, queue, notes)
    gcmd.worker = Worker
    running = run(gcmd)
    client.send(queue, {"command": "reverse", "message": "ab"}, background=True)
    assert running.wait() is None
    assert notes.kinds() == ["start", "job", "stop"]


FORKING = """
import os, sys
from gearmancmd import GearmanCMD, GearmanCMDQueue

class Queue(GearmanCMDQueue):
    def fork(self, gcmd, task):
        return "of the parent"

class Noting:
    def note(self, name):
        print("called", name, os.getpid(), flush=True)
        if name == sys.argv[3] and os.getpid() == parent:
            child = os.fork()
            if child:
                os.waitpid(child, 0)

    def on_start(self): self.note("on_start")
    def on_job(self, job, task): self.note("on_job")
    def on_done(self, job, result, seconds): self.note("on_done")
    def on_failure(self, job, error, seconds): self.note("on_failure")
    def on_stop(self): self.note("on_stop")

class Other:
    on_start = on_job = on_done = on_stop = lambda self, *arguments: print("other", os.getpid(), flush=True)

parent = os.getpid()
try:
    GearmanCMD([sys.argv[1]], hooks=[Noting(), Other()]).register_task(sys.argv[2], Queue()).run()
except RuntimeError as error:
    print("left run()", os.getpid(), flush=True)
    os._exit(1)
"""


@pytest.mark.parametrize("where", ["on_start", "on_job", "on_done"])
def test_a_forked_child_calls_no_hooks(gearmand, queue, worker_process, where):
    process = worker_process(FORKING, gearmand.address, queue, where)
    parent = str(process.process.pid)
    with Caller(gearmand) as client:
        assert [client.call(queue, {"command": "fork"}).result for _ in range(2)] == ["of the parent"] * 2
    process.wait_for_line("called on_done")
    left = process.wait_for_line("left run()")
    assert parent not in left.split()
    hooks = [line.split() for line in process.lines if line.startswith(("called", "other"))]
    assert {line[-1] for line in hooks} == {parent}


# Under load, and at the end.


def answer(job: Any) -> Any:
    try:
        return job.result()
    except JobFailed as failure:
        return failure.reason


@pytest.mark.parametrize("graceful", [False, True])
@pytest.mark.parametrize("prefetch", [1, 16])
def test_each_job_that_is_answered_under_load_has_one_end(server, queue, run, graceful, prefetch):
    notes = Notes()
    total = 400
    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        tasks = [{"command": "refuse" if number % 4 == 0 else "reverse", "message": "ab"} for number in range(total)]
        jobs = [client.submit(queue, task) for task in tasks]
        while len(notes.ends()) < total:
            before = len(notes.ends())
            gcmd = working(server, queue, notes, prefetch=prefetch)
            running = run(gcmd)
            wait_for(lambda limit=min(total, before + 60): len(notes.ends()) >= limit, "jobs to be done")
            gcmd.stop(graceful=graceful)
            assert running.wait() is None
        assert [answer(job) for job in jobs] == ["out of paper", "ba", "ba", "ba"] * (total // 4)
    kinds = notes.kinds()
    handles = [call[1] for call in notes.ends()]
    assert len(handles) == len(set(handles)) == total
    assert sorted(handles) == sorted(call[1] for call in notes.calls if call[0] == "job")
    assert kinds.count("failure") == total / 4
    assert kinds.count("start") == kinds.count("stop") > 1


@pytest.mark.parametrize(
    ("hooks", "needed"),
    [
        ([], False),
        ([GearmanCMD(["localhost"]), Hooks()], False),
        ([type("One", (Hooks,), {"on_failure": print, "on_start": print})()], False),
        ([type("One", (Hooks,), {"on_job": print})()], True),
        ([type("One", (Hooks,), {"on_done": print})()], True),
    ],
)
def test_a_job_is_looked_at_only_where_there_is_something_to_call(hooks, needed):
    assert HookCaller(hooks, Origin()).for_each_job == needed


class Connections(Hooks):
    """Keeps what it hears of connections, and in which thread."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.threads: set[str] = set()

    def on_connect(self, server: str) -> None:
        self._keep("connected", server)

    def on_disconnect(self, server: str) -> None:
        self._keep("lost", server)

    def on_stop(self) -> None:
        self.heard.append(("stopped", ""))

    def _keep(self, what: str, server: str) -> None:
        self.heard.append((what, server))
        self.threads.add(threading.current_thread().name)
        raise ValueError("disturbs nothing")


def test_the_hooks_of_connections_tell_of_each_server_that_comes_and_goes(own_gearmand, queue, run, caplog):
    connections = Connections()
    address = own_gearmand.address
    run(GearmanCMD([address, "127.0.0.1:1"], hooks=[connections]).register_task(queue, Queue()))
    wait_for(lambda: connections.heard == [("connected", address)])
    own_gearmand.stop()
    wait_for(lambda: connections.heard[1:] == [("lost", address)])
    own_gearmand.start()
    wait_for(lambda: connections.heard[2:] == [("connected", address)])
    with JSONGearmanClient([address]) as client:
        assert client.call(queue, {"command": "reverse", "message": "Hello"}) == "olleH"
        assert client.call(queue, {"command": "stop"}) is None
    wait_for(lambda: connections.heard[3:] == [("stopped", "")])
    assert connections.threads == {"gearmancmd-worker"}
    assert [record.levelname for record in caplog.records if "hook " in record.getMessage()] == ["ERROR"] * 3
