"""gearmancmd.testing: commands called without a server, as a client would hear of them."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
import zlib
from decimal import Decimal

import pytest

from gearmancmd import (
    CommandError,
    DecimalJSONDataEncoder,
    GearmanCMD,
    GearmanCMDQueue,
    GearmanWorker,
    JobFailed,
    JSONGearmanClient,
    JSONGearmanWorker,
    ServerUnavailable,
    progress,
    testing,
)
from gearmancmd.errors import MissingExtra
from gearmancmd.testing import CommandResult, Report, call_command, job_server, working
from tests.support.gearmand import admin
from tests.support.waiting import wait_for
from tests.support.workers import ENVIRONMENT


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]

    def echo(self, gcmd, task):
        return task

    def pair(self, gcmd, task):
        return (1, Decimal("1.10"))

    def nothing(self, gcmd, task):
        pass

    def reports(self, gcmd, task):
        gcmd.send_status(1, 3)
        gcmd.send_data({"so": ["far", 1]})
        gcmd.send_warning("careful")
        gcmd.send_status(3, 3)
        return "done"

    def track(self, gcmd, task):
        return sum(gcmd.track(task["numbers"]))

    def job(self, gcmd, task):
        return [gcmd.job.handle, gcmd.job.unique, gcmd.job.queue]

    def refuse(self, gcmd, task):
        gcmd.send_warning("on the way")
        raise CommandError("the numbers must be positive")

    def crash(self, gcmd, task):
        raise LookupError("no such row")

    def leave(self, gcmd, task):
        raise SystemExit(3)

    def interrupt(self, gcmd, task):
        raise KeyboardInterrupt

    def unencodable(self, gcmd, task):
        return object()

    def stop(self, gcmd, task):
        gcmd.stop()
        return "ignored"

    def finish(self, gcmd, task):
        gcmd.stop(graceful=True)
        return "kept"

    def in_thread(self, gcmd, task):
        thread = threading.Thread(target=gcmd.job.send_data, args=("from a thread",))
        thread.start()
        thread.join()

    def large(self, gcmd, task):
        for _ in range(6):
            gcmd.send_data("x" * 1_000_000)
        return "y" * 3_000_000

    def nested(self, gcmd, task):
        inner = call_command(Queue(), {"command": "job"}, queue="inner", unique="inner")
        return [inner.result[2], gcmd.job.queue]


def call(command, **options):
    """What a client would get from a command of the queue."""
    return call_command(Queue(), {"command": command}, **options)


# Results.


def test_the_result_is_what_the_client_reads():
    assert call_command(Queue(), {"command": "reverse", "message": "Hello"}) == CommandResult("olleH", [], None)
    assert call("pair").result == [1, 1.1]
    assert call("nothing") == CommandResult(None, [], None)


def test_the_task_is_what_the_worker_reads():
    assert call_command(Queue(), {"command": "echo", "pair": (1, 2), 3: Decimal("0.5")}).result == {
        "command": "echo",
        "pair": [1, 2],
        "3": 0.5,
    }


def test_reports_come_in_order_with_their_values():
    called = call("reports")
    assert called.reports == [
        ("status", (1, 3)),
        ("data", {"so": ["far", 1]}),
        ("warning", "careful"),
        ("status", (3, 3)),
    ]
    assert called.reports[0] == Report("status", (1, 3))
    assert (called.result, called.failure) == ("done", None)


def test_progress_is_among_the_reports():
    called = call_command(Queue(), {"command": "track", "numbers": [1, 2, 3]})
    assert called.result == 6
    assert called.reports[0] == ("status", (0, 3))
    assert called.reports[-1] == ("status", (3, 3))


def test_no_progress_is_reported_twice(monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0)  # items that take longer than the time between two reports
    called = call_command(Queue(), {"command": "track", "numbers": [1, 2, 3]})
    assert called.reports == [("status", (done, 3)) for done in range(4)]


def test_a_thread_of_the_command_reports_too():
    assert call("in_thread").reports == [("data", "from a thread")]


def test_reports_and_results_of_megabytes():
    called = call("large")
    assert [len(report.value) for report in called.reports] == [1_000_000] * 6
    assert len(called.result) == 3_000_000


def test_the_job_has_the_same_names_in_each_call():
    assert call("job").result == call("job").result == ["H:testing:1", "testing", "queue"]
    assert call("job", queue="other", unique="order-7").result == ["H:testing:1", "order-7", "other"]


def test_stop_in_a_command_is_answered_as_by_a_worker():
    assert call("stop") == CommandResult(None, [], None)
    assert call("finish").result == "kept"


def test_a_command_may_call_another_and_goes_on_with_its_own_job():
    assert call("nested").result == ["inner", "queue"]


def test_behind_a_call_no_job_is_in_hand():
    seen = []

    class Keeps(GearmanCMDQueue):
        def keep(self, gcmd, task):
            seen.append(gcmd)

    call_command(Keeps(), {"command": "keep"})
    with pytest.raises(RuntimeError, match="no job in hand"):
        _ = seen[0].job


# Failures.


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("refuse", "the numbers must be positive"),
        ("unknown", "queue 'queue' has no command 'unknown'"),
        ("unencodable", "the result cannot be encoded"),
        (None, "the task names no command of queue 'queue'"),
    ],
)
def test_what_fails_a_job_is_told_as_to_a_client(command, text):
    called = call(command)
    assert text in called.failure
    assert called.result is None


def test_reports_before_a_failure_are_kept_and_its_reason_is_not_one():
    assert call("refuse").reports == [("warning", "on the way")]


@pytest.mark.parametrize(
    ("command", "error"), [("crash", LookupError), ("leave", SystemExit), ("interrupt", KeyboardInterrupt)]
)
def test_what_leaves_run_leaves_the_call(command, error):
    with pytest.raises(error):
        call(command)


def test_an_exception_handler_answers():
    called = call("crash", exception_handler=lambda error: {"error": str(error)})
    assert (called.result, called.failure) == ({"error": "no such row"}, None)


def test_an_exception_handler_may_fail_the_job_or_raise():
    def fail(error):
        raise CommandError(f"failed: {error}")

    def crash(error):
        raise OSError("disk")

    assert call("crash", exception_handler=fail).failure == "failed: no such row"
    with pytest.raises(OSError, match="disk"):
        call("crash", exception_handler=crash)


def test_failures_are_logged_as_by_a_worker(caplog):
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        call("unknown")
    assert "job H:testing:1 of queue (-) failed" in caplog.text


# Dispatch.


def test_the_command_key():
    assert call_command(Queue(), {"do": "reverse", "message": "Hello"}, command="do").result == "olleH"


def test_default_and_dispatch_of_the_queue():
    class Own(GearmanCMDQueue):
        def dispatch(self, task):
            return task["kind"]

        def mail(self, gcmd, task):
            return "mail"

        def default(self, gcmd, task):
            return "default"

    assert call_command(Own(), {"kind": "mail"}).result == "mail"
    assert call_command(Own(), {"kind": "post"}).result == "default"
    assert call_command(Own(), {"kind": None}) == CommandResult(None, [], None)
    with pytest.raises(KeyError):
        call_command(Own(), {})


class Sorter(GearmanCMD):
    def dispatch(self, queue, task):
        return ("urgent", "job") if task.get("urgent") else super().dispatch(queue, task)


def test_a_gearmancmd_of_ones_own():
    gcmd = Sorter(["nowhere.invalid"]).register_task("a", Queue())
    assert call_command(gcmd, {"command": "job"}).result == ["H:testing:1", "testing", "a"]
    gcmd.register_task("urgent", Queue())
    assert call_command(gcmd, {"urgent": True}, queue="a").result == ["H:testing:1", "testing", "a"]


def test_a_gearmancmd_has_its_own_options():
    gcmd = GearmanCMD(["localhost"], "do", exception_handler=lambda error: "handled", max_payload=100)
    gcmd.register_task("q", Queue())
    assert call_command(gcmd, {"do": "crash"}).result == "handled"
    called = call_command(gcmd, {"do": "echo", "text": "x" * 100})
    assert "are more than max_payload, which is 100" in called.failure
    gcmd.failures = "plain"
    assert call_command(gcmd, {"do": "refuse"}).failure == "on the way"  # a client cannot tell it from a reason
    assert call_command(gcmd, {"do": "unencodable"}).failure == "the worker gave no reason"
    gcmd.failures = "exception"
    called = call_command(gcmd, {"do": "refuse"})
    assert called == CommandResult(None, [Report("warning", "on the way")], "the numbers must be positive")


def test_a_gearmancmd_that_has_its_servers_later_only():
    class Later(GearmanCMD):
        def __init__(self):
            super().__init__([])

    assert call_command(Later().register_task("q", Queue()), {"command": "job"}).result[2] == "q"


def test_the_encoder_of_the_worker_class():
    class Compressed:
        @staticmethod
        def encode(obj):
            return zlib.compress(repr(obj).encode())

        @staticmethod
        def decode(data):
            return eval(zlib.decompress(data))

    class Worker(GearmanWorker):
        data_encoder = Compressed

    class CMD(GearmanCMD):
        worker = Worker

    class Reports(Queue):
        def reports(self, gcmd, task):
            gcmd.send_data({1, 2})
            return (3, 4)

    called = call_command(CMD(["localhost"]).register_task("q", Reports()), {"command": "reports"})
    assert called == CommandResult((3, 4), [Report("data", {1, 2})], None)


def test_the_hooks_of_the_worker_class():
    class Lenient(JSONGearmanWorker):
        data_encoder = DecimalJSONDataEncoder

        def on_job_exception(self, current_job, exc_info):
            self.send_job_complete(current_job, "as if nothing had been")
            return True

    class Forgetful(JSONGearmanWorker):
        def on_job_complete(self, current_job, job_result):
            return True

    gcmd = GearmanCMD(["localhost"]).register_task("q", Queue())
    gcmd.worker = Lenient
    assert call_command(gcmd, {"command": "refuse"}).result == "as if nothing had been"
    gcmd.worker = Forgetful
    with pytest.raises(RuntimeError, match="was not answered"):
        call_command(gcmd, {"command": "nothing"})


# What cannot be called.


def test_tasks_that_no_client_could_send():
    with pytest.raises(TypeError, match="task cannot be encoded"):
        call_command(Queue(), {"command": "echo", "value": object()})
    with pytest.raises(ValueError, match="task cannot be encoded"):
        call_command(Queue(), {"command": "echo", "value": float("nan")})


def test_wrong_arguments_are_named():
    one = GearmanCMD(["localhost"]).register_task("a", Queue())
    two = GearmanCMD(["localhost"]).register_task("a", Queue()).register_task("b", Queue())
    with pytest.raises(TypeError, match="target must be a GearmanCMDQueue or a GearmanCMD, not <class"):
        call_command(Queue, {})
    with pytest.raises(ValueError, match=r"queue must be one that the GearmanCMD has, of \['a', 'b'\], not None"):
        call_command(two, {})
    with pytest.raises(ValueError, match=r"of \['a'\], not 'c'"):
        call_command(one, {}, queue="c")
    with pytest.raises(ValueError, match=r"of \[\], not None"):
        call_command(GearmanCMD(["localhost"]), {})
    with pytest.raises(TypeError, match=r"command is for a queue: .* not be 'do'"):
        call_command(one, {}, command="do")
    with pytest.raises(TypeError, match="exception_handler is for a queue"):
        call_command(one, {}, exception_handler=print)
    with pytest.raises(TypeError, match="exception_handler must be callable, not 7"):
        call("job", exception_handler=7)
    with pytest.raises(ValueError, match="unique must be a text without white space, not 'a b'"):
        call("job", unique="a b")
    with pytest.raises(ValueError, match="queue must be a name"):
        call("job", queue="")


# As a worker does it.


@pytest.mark.parametrize("command", ["reports", "refuse", "unknown", "unencodable", "stop", "finish", "pair"])
def test_a_real_worker_gives_its_client_the_same(command, server, queue, run):
    task = {"command": command}
    run(GearmanCMD([server.address]).register_task(queue, Queue()))
    heard, result, failure = [], None, None
    with JSONGearmanClient([server.address], timeout=30) as client:
        try:
            result = client.call(
                queue,
                task,
                on_status=lambda done, total: heard.append(("status", (done, total))),
                on_data=lambda data: heard.append(("data", data)),
                on_warning=lambda data: heard.append(("warning", data)),
            )
        except JobFailed as error:
            failure = error.reason
            if heard and heard[-1] == ("warning", failure):
                heard.pop()  # where the network kept the failure back behind its reason
    assert call_command(Queue(), task, queue=queue) == CommandResult(result, heard, failure)


def test_it_needs_neither_pytest_nor_a_thread():
    source = """
import sys, threading
sys.modules["pytest"] = None
from gearmancmd import GearmanCMDQueue
from gearmancmd.errors import MissingExtra
from gearmancmd.testing import call_command

class Queue(GearmanCMDQueue):
    def threads(self, gcmd, task):
        return threading.active_count()

print(call_command(Queue(), {"command": "threads"}).result)
"""
    done = subprocess.run([sys.executable, "-c", source], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "1\n"), done


# Servers and workers for the time of a test.


def test_a_job_server_is_gearmand_and_ends_with_the_block(gearmand):
    with job_server() as server:
        assert server.name == "gearmand"
        assert server.address != gearmand.address
        with working(GearmanCMD([server.address]).register_task("queue", Queue())) as gcmd:
            assert isinstance(gcmd, GearmanCMD)
            with JSONGearmanClient([server.address], timeout=30) as client:
                assert client.call("queue", {"command": "reverse", "message": "Hello"}) == "olleH"
    with pytest.raises(ServerUnavailable), JSONGearmanClient([server.address], timeout=30) as client:
        client.call("queue", {})
    assert admin(gearmand, "version")


def test_without_gearmand_it_is_the_embedded_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with job_server() as server, JSONGearmanClient([server.address], timeout=30) as client:
        assert server.name == "the embedded server"
        assert client.submit("queue", {}, background=True).handle


def test_without_either_both_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gearmancmd.server", None)
    with pytest.raises(MissingExtra, match="no gearmand on PATH"), job_server():
        pass


def test_a_gearmand_that_ends_at_once_is_told(monkeypatch, tmp_path):
    program = tmp_path / "gearmand"
    program.write_text("#!/bin/sh\nexit 7\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ServerUnavailable, match=r"gearmand does not start: .* ended with status 7"), job_server():
        pass


def test_another_port_is_tried_where_the_first_was_taken(gearmand, monkeypatch, tmp_path):
    program = tmp_path / "gearmand"
    real = shutil.which("gearmand")
    program.write_text(
        f'#!/bin/sh\necho $4 >>{tmp_path}/ports\n[ -e {tmp_path}/again ] && exec {real} "$@"\n'
        f"touch {tmp_path}/again\nexit 1\n",
        "utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with job_server() as server, JSONGearmanClient([server.address], timeout=30) as client:
        assert client.submit("queue", {}, background=True).handle
    assert server.address == "127.0.0.1:" + (tmp_path / "ports").read_text("utf-8").split()[1]


def test_a_command_that_does_not_return_is_told(server, queue, monkeypatch):
    begun, end = threading.Event(), threading.Event()

    class Hangs(GearmanCMDQueue):
        def hang(self, gcmd, task):
            begun.set()
            end.wait(30)

    monkeypatch.setattr(testing, "_LIMIT_SECONDS", 0.05)
    try:
        with pytest.raises(RuntimeError, match=f"the worker of {queue} has not stopped"):
            with working(GearmanCMD([server.address]).register_task(queue, Hangs())):
                with JSONGearmanClient([server.address], timeout=30) as client:
                    client.submit(queue, {"command": "hang"}, background=True)
                assert begun.wait(30)
    finally:
        end.set()
    wait_for(lambda: all(thread.name != "gearmancmd-testing" for thread in threading.enumerate()))


def test_what_left_run_is_raised_at_the_end_of_the_block(server, queue):
    with pytest.raises(LookupError, match="no such row") as raised:
        with working(GearmanCMD([server.address]).register_task(queue, Queue())):
            with JSONGearmanClient([server.address], timeout=30) as client:
                client.call(queue, {"command": "crash"})
    assert isinstance(raised.value.__context__, JobFailed)


def test_a_worker_that_cannot_begin_is_told(queue):
    with pytest.raises(RuntimeError, match="no queue to work on"):
        with working(GearmanCMD(["localhost:4730"])):
            pass
