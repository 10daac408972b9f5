"""The README's contract: commands, and the four ways to dispatch."""

from __future__ import annotations

import json
import multiprocessing
import threading
from typing import Any

import gearman
import pytest

import gearmancmd
from gearmancmd import GearmanCMD, GearmanCMDQueue
from tests.support.gearmand import counts
from tests.support.waiting import wait_for


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd: GearmanCMD, task: Any) -> Any:
        return task["message"][::-1]

    def default(self, gcmd: GearmanCMD, task: Any) -> Any:
        return ["default", task]

    def who(self, gcmd: GearmanCMD, task: Any) -> Any:
        return [gcmd.job.queue, gcmd.job.handle, gcmd.job.unique]


def test_a_command_reverses_a_message(server, client, queue, run):
    run(GearmanCMD([server.address]).register_task(queue, Queue()))
    assert client.call(queue, {"command": "reverse", "message": "Hello"}).data == b'"olleH"'


def test_the_command_is_called_with_the_running_gearmancmd_and_the_task(server, client, queue, run):
    seen = []

    class Curious(GearmanCMDQueue):
        def look(self, gcmd, task):
            seen.append((gcmd, task))

    gcmd = GearmanCMD([server.address]).register_task(queue, Curious())
    run(gcmd)
    assert client.call(queue, {"command": "look", "x": 1}).result is None
    assert seen == [(gcmd, {"command": "look", "x": 1})]


@pytest.mark.parametrize(
    "task", [{"command": "nothing"}, {}, {"command": 5}, {"command": ["x"]}, {"command": None}, [1, 2], 7, "text", None]
)
def test_a_task_without_a_routine_goes_to_default(server, client, queue, run, task):
    run(GearmanCMD([server.address]).register_task(queue, Queue()))
    assert client.call(queue, task).result == ["default", task]


def test_another_key_can_name_the_command(server, client, queue, run):
    run(GearmanCMD([server.address], command="verb").register_task(queue, Queue()))
    assert client.call(queue, {"verb": "reverse", "message": "abc"}).result == "cba"
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result[0] == "default"


def test_a_queue_can_dispatch_its_tasks(server, client, queue, run):
    class Dispatching(Queue):
        def dispatch(self, task):
            return task["do"]

    run(GearmanCMD([server.address]).register_task(queue, Dispatching()))
    assert client.call(queue, {"do": "reverse", "message": "abc"}).result == "cba"
    assert client.call(queue, {"do": "unknown"}).result[0] == "default"
    assert client.call(queue, {"do": 5}).result[0] == "default"


def test_a_task_that_dispatch_ignores_is_answered_with_null(server, client, queue, run):
    class Ignoring(Queue):
        def dispatch(self, task):
            return None

    run(GearmanCMD([server.address]).register_task(queue, Ignoring()))
    assert client.call(queue, {"command": "reverse", "message": "abc"}).data == b"null"


def test_a_gearmancmd_can_dispatch_to_another_queue(server, client, queue, run):
    class Loud(GearmanCMDQueue):
        def shout(self, gcmd, task):
            return task["message"].upper()

    class Dispatching(GearmanCMD):
        def dispatch(self, name, task):
            if "loud" in task:
                return (f"{queue}-loud", "shout")
            return super().dispatch(name, task)

    gcmd = Dispatching([server.address]).register_task(queue, Queue()).register_task(f"{queue}-loud", Loud())
    run(gcmd)
    assert client.call(queue, {"loud": True, "message": "abc"}).result == "ABC"
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"


def test_a_gearmancmds_dispatch_gets_the_name_of_the_queue(server, client, queue, run):
    class Dispatching(GearmanCMD):
        def dispatch(self, name, task):
            return "reverse" if name == queue else None

    run(Dispatching([server.address]).register_task(queue, Queue()).register_task(f"{queue}-b", Queue()))
    assert client.call(queue, {"message": "abc"}).result == "cba"
    assert client.call(f"{queue}-b", {"message": "abc"}).result is None


def test_an_attribute_error_in_a_users_dispatch_is_raised(server, client, queue, run):
    class Broken(Queue):
        def dispatch(self, task):
            return task.no_such_attribute

    running = run(GearmanCMD([server.address]).register_task(queue, Broken()))
    assert client.call(queue, {}).reason == "AttributeError: 'dict' object has no attribute 'no_such_attribute'"
    assert isinstance(running.wait(), AttributeError)


def test_the_job_in_hand_has_text_for_names(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    run(gcmd)
    job = client.send(queue, {"command": "who"}, unique="einzig-ü")
    assert client.outcome(job).result == [queue, job.handle.decode(), "einzig-ü"]
    with pytest.raises(RuntimeError, match="no job in hand"):
        gcmd.job


def test_several_queues_are_worked_on(server, client, queue, run):
    class Other(GearmanCMDQueue):
        def reverse(self, gcmd, task):
            return "other"

    run(GearmanCMD([server.address]).register_task(queue, Queue()).register_task(f"{queue}-b", Other()))
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert client.call(f"{queue}-b", {"command": "reverse"}).result == "other"


def test_a_queue_registered_while_it_runs_is_used_from_the_next_run_on(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    running = run(gcmd)
    client.call(queue, {})
    gcmd.register_task(f"{queue}-b", Queue())
    late = client.send(f"{queue}-b", {"command": "reverse", "message": "abc"})
    client.call(queue, {})
    assert not late.complete
    gcmd.stop()
    assert running.wait() is None
    run(gcmd)
    assert client.outcome(late).result == "cba"


def test_the_worker_names_itself(gearmand, queue, run):
    from tests.support.gearmand import admin

    run(GearmanCMD([gearmand.address], client_id=f"id-{queue}").register_task(queue, Queue()))
    line = wait_for(lambda: next((w for w in admin(gearmand, "workers") if queue in w), None))
    assert f"id-{queue}" in line


def test_an_old_encoder_that_returns_text_works(server, client, queue, run):
    class OldEncoder(gearman.DataEncoder):
        @classmethod
        def encode(cls, obj):
            return json.dumps({"old": obj})

        @classmethod
        def decode(cls, data):
            return json.loads(data)

    class OldWorker(gearman.GearmanWorker):
        data_encoder = OldEncoder

    class OldCMD(GearmanCMD):
        worker = OldWorker

    run(OldCMD([server.address]).register_task(queue, Queue()))
    assert client.call(queue, {"command": "reverse", "message": "Grüße"}).result == {"old": "eßürG"}


def test_a_workers_own_hooks_come_first(server, client, queue, run):
    calls = []

    class Hooked(gearman.worker.GearmanWorker):
        data_encoder = gearmancmd.JSONDataEncoder

        def __init__(self, host_list=None):
            gearman.worker.GearmanWorker.__init__(self, host_list)  # as Python 2 code does it
            calls.append("init")

        def after_poll(self, any_activity):
            calls.append("after_poll")
            return True

        def after_job(self):
            calls.append("after_job")
            return True

        def on_job_execute(self, current_job):
            calls.append("execute")
            return super().on_job_execute(current_job)

        def on_job_complete(self, current_job, job_result):
            calls.append(("complete", job_result))
            return super().on_job_complete(current_job, job_result)

    class HookedCMD(GearmanCMD):
        worker = Hooked

    run(HookedCMD([server.address]).register_task(queue, Queue()))
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    wait_for(lambda: "after_job" in calls, "after_job")
    in_order = [call for call in calls if call != "after_poll"]
    assert in_order == ["init", "execute", ("complete", "cba"), "after_job"]
    assert "after_poll" in calls


def test_a_workers_after_job_can_end_the_run(server, client, queue, run):
    class OneJob(gearmancmd.JSONGearmanWorker):
        def after_job(self):
            return False

    class OneJobCMD(GearmanCMD):
        worker = OneJob

    running = run(OneJobCMD([server.address]).register_task(queue, Queue()))
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert running.wait() is None


@pytest.mark.parametrize("error", [OSError("no disk left"), SystemExit(3)])
def test_what_after_poll_raises_leaves_run(server, queue, run, error):
    class Broken(gearmancmd.JSONGearmanWorker):
        def after_poll(self, any_activity):
            raise error

    class BrokenCMD(GearmanCMD):
        worker = Broken

    running = run(BrokenCMD([server.address]).register_task(queue, Queue()))
    assert running.wait() is error


@pytest.mark.parametrize("event", [threading.Event, multiprocessing.Event])
def test_a_stop_trigger_ends_the_run(server, client, queue, run, event):
    trigger = event()
    running = run(GearmanCMD([server.address]).register_task(queue, Queue()), stop_trigger=trigger)
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    trigger.set()
    assert running.wait() is None


def test_a_command_reports_its_progress(server, client, queue, run):
    class Steps(GearmanCMDQueue):
        def work(self, gcmd, task):
            gcmd.send_status(1, 3)
            gcmd.send_data({"part": 1})
            gcmd.send_warning("careful")
            return "done"

    run(GearmanCMD([server.address]).register_task(queue, Steps()))
    job = client.send(queue, {"command": "work"})
    assert client.outcome(job).data == b'{"part":1}"careful""done"'
    assert job.warning
    assert client.statuses[job.handle] == [(b"1", b"3")]


def test_tracked_items_are_reported(server, client, queue, run):
    class Steps(GearmanCMDQueue):
        def work(self, gcmd, task):
            return [item * 2 for item in gcmd.track([1, 2, 3])]

        def count(self, gcmd, task):
            return list(gcmd.track(iter("abc")))

    run(GearmanCMD([server.address]).register_task(queue, Steps()))
    job = client.send(queue, {"command": "work"})
    assert client.outcome(job).result == [2, 4, 6]
    assert client.statuses[job.handle] == [(b"0", b"3"), (b"3", b"3")]
    job = client.send(queue, {"command": "count"})
    assert client.outcome(job).result == ["a", "b", "c"]
    assert client.statuses[job.handle] == [(b"0", b"0"), (b"3", b"0")]


def test_a_long_stream_of_data_arrives_whole(server, client, queue, run):
    class Stream(GearmanCMDQueue):
        def pour(self, gcmd, task):
            for number in range(40):
                gcmd.send_data(str(number) * 250_000)
            return "end"

    run(GearmanCMD([server.address]).register_task(queue, Stream()))
    outcome = client.call(queue, {"command": "pour"})
    assert outcome.data == b"".join(b'"%s"' % (str(n).encode() * 250_000) for n in range(40)) + b'"end"'


@pytest.mark.parametrize("report", ["send_status", "send_data", "send_warning"])
def test_reports_between_jobs_are_refused(report, server, queue):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    with pytest.raises(RuntimeError, match="no job in hand"):
        getattr(gcmd, report)(*((1, 2) if report == "send_status" else ("x",)))


def test_a_second_run_at_the_same_time_is_refused(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    run(gcmd)
    client.call(queue, {})
    with pytest.raises(RuntimeError, match="running already"):
        gcmd.run()
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"


def test_the_queue_counts_one_worker(gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Queue()))
    wait_for(lambda: counts(gearmand, queue) == (0, 0, 1), "one worker")


# What a subclass or its user may set.


@pytest.mark.parametrize("command", [None, ""])
def test_no_key_means_command(server, client, queue, run, command):
    run(GearmanCMD([server.address], command=command).register_task(queue, Queue()))
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"


@pytest.mark.parametrize("command", [None, ""])
def test_no_key_on_the_instance_means_command(server, client, queue, run, command):
    gcmd = GearmanCMD([server.address], command="verb").register_task(queue, Queue())
    gcmd.command = command
    run(gcmd)
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"


class Shouted(gearmancmd.JSONDataEncoder):
    @classmethod
    def encode(cls, obj):
        return super().encode({"shouted": obj})


class ShoutingWorker(gearman.GearmanWorker):
    data_encoder = Shouted


def answer_with_text(error):
    return f"handled {error}"


def _set(gcmd, address):
    gcmd.servers = [address]
    gcmd.command = "verb"
    gcmd.poll_timeout = 0.02
    gcmd.prefetch = 3
    gcmd.worker = ShoutingWorker
    gcmd.client_id = "set"
    gcmd.exception_handler = answer_with_text


class SetBefore(GearmanCMD):
    def __init__(self, address):
        _set(self, address)
        super().__init__(None)


class SetAfter(GearmanCMD):
    def __init__(self, address):
        super().__init__([])
        _set(self, address)


def set_on_the_class(address):
    class OnTheClass(GearmanCMD):
        servers = [address]
        command = "verb"
        poll_timeout = 0.02
        prefetch = 3
        worker = ShoutingWorker
        client_id = "set"

        def exception_handler(self, error):
            return answer_with_text(error)

    return OnTheClass(None)


def set_on_the_instance(address):
    gcmd = GearmanCMD(["localhost:1"])
    _set(gcmd, address)
    return gcmd


@pytest.mark.parametrize("make", [SetBefore, SetAfter, set_on_the_class, set_on_the_instance])
def test_attributes_count_wherever_they_are_set(server, client, queue, run, make):
    gcmd = make(server.address).register_task(queue, Queue())
    run(gcmd)
    assert client.call(queue, {"verb": "reverse", "message": "abc"}).result == {"shouted": "cba"}
    assert client.call(queue, {"verb": "reverse"}).result == {"shouted": "handled 'message'"}
    assert (gcmd.poll_timeout, gcmd.prefetch, gcmd.client_id) == (0.02, 3, "set")


def test_attributes_are_read_anew_by_each_run(server, client, queue, run):
    gcmd = GearmanCMD([server.address]).register_task(queue, Queue())
    running = run(gcmd)
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    gcmd.worker, gcmd.poll_timeout = ShoutingWorker, "of a later run"
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    gcmd.stop()
    assert running.wait() is None
    gcmd.command, gcmd.poll_timeout = "verb", 0.1
    run(gcmd)
    assert client.call(queue, {"verb": "reverse", "message": "abc"}).result == {"shouted": "cba"}


def test_servers_may_come_from_an_iterator_and_last_for_each_run(server, client, queue, run):
    gcmd = GearmanCMD(iter([server.address])).register_task(queue, Queue())
    for _ in range(2):
        running = run(gcmd)
        assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
        gcmd.stop()
        assert running.wait() is None


BAD = {
    "servers": ["localhost:port"],
    "command": 5,
    "poll_timeout": -1,
    "prefetch": 0,
    "worker": dict,
    "client_id": "two words",
    "failures": "loud",
    "max_payload": "1",
    "exception_handler": 5,
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_an_attribute_is_an_error_at_construction(name):
    class SetOnTheClass(GearmanCMD):
        locals()[name] = BAD[name]

    class SetBeforehand(GearmanCMD):
        def __init__(self):
            setattr(self, name, BAD[name])
            super().__init__(None if name == "servers" else ["localhost"])

    with pytest.raises((TypeError, ValueError), match=f"^{name}"):
        SetOnTheClass(None if name == "servers" else ["localhost"])
    with pytest.raises((TypeError, ValueError), match=f"^{name}"):
        SetBeforehand()


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_an_attribute_later_is_an_error_of_run(name):
    gcmd = GearmanCMD(["localhost"]).register_task("queue", Queue())
    setattr(gcmd, name, BAD[name])
    with pytest.raises((TypeError, ValueError), match=f"^{name}"):
        gcmd.run()


@pytest.mark.parametrize(
    ("name", "value"), [("prefetch", 0), ("prefetch", -1), ("prefetch", "4"), ("max_payload", 0), ("max_payload", "1M")]
)
def test_what_is_wrong_with_a_worker_class_is_an_error_of_run_that_names_it(gearmand, queue, name, value):
    class Worker(gearmancmd.JSONGearmanWorker):
        locals()[name] = value

    class Mine(GearmanCMD):
        worker = Worker

    with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*{value!r}"):
        Mine([gearmand.address]).register_task(queue, Queue()).run()
    by_itself = Worker([gearmand.address])
    by_itself.register_task(queue, lambda worker, job: "")
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*{value!r}"):
        by_itself.work()


@pytest.mark.parametrize("servers", [None, [], ()])
def test_servers_that_a_constructor_never_sets_are_an_error_of_run(servers):
    class Never(GearmanCMD):
        def __init__(self):
            super().__init__(servers)

    with pytest.raises((TypeError, ValueError), match="servers must"):
        Never().register_task("queue", Queue()).run()
    with pytest.raises((TypeError, ValueError), match="servers must"):
        GearmanCMD(servers)


@pytest.mark.parametrize("form", ["site:%s", {"site": "%s"}, None, 5])
def test_a_worker_with_a_constructor_of_its_own_gets_servers_as_they_are(server, client, queue, run, form):
    form = {"site": form["site"] % server.address} if isinstance(form, dict) else form
    form = form % server.address if isinstance(form, str) else form
    given = []

    class OfASite(gearmancmd.JSONGearmanWorker):
        def __init__(self, site):
            given.append(site)
            super().__init__([server.address])

    class OfASiteCMD(GearmanCMD):
        worker = OfASite

    run(OfASiteCMD(form).register_task(queue, Queue()))
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert given == [form] and given[0] is form


@pytest.mark.parametrize(
    "name", ["two words", " lead", "trail ", "grün und blau", "a/b:c=d,e", "no\u00a0break", '"quoted"']
)
def test_a_queues_name_may_hold_what_gearmands_may(server, client, queue, run, name):
    name = f"{queue} {name}"
    run(GearmanCMD([server.address]).register_task(name, Queue()))
    with gearmancmd.JSONGearmanClient([server.address], timeout=30) as caller:
        assert caller.call(name, {"command": "who"})[0] == name
    assert client.call(name, {"command": "reverse", "message": "abc"}).result == "cba"
    assert counts(server, name)[2] == 1


FORMER = [
    "_process_task",
    "_thread",
    "_create_thread",
    "_queues",
    "_servers",
    "_command",
    "_poll_timeout",
    "_exc_handler",
]


@pytest.mark.parametrize("name", FORMER)
def test_a_name_of_2014_that_nothing_calls_any_more_is_warned_of_at_construction(name):
    class Old(GearmanCMD):
        locals()[name] = lambda self, *arguments: None

    with pytest.warns(UserWarning, match=rf"Old\.{name} is not used any more: use .*docs/migrating\.md") as warned:
        Old(["localhost"])
    assert [warning.filename for warning in warned] == [__file__]


def test_an_override_of_process_task_is_told_what_to_override_instead():
    class Old(GearmanCMD):
        def _process_task(self, queue, task):
            return None

    with pytest.warns(UserWarning, match=r"use dispatch\(queue, task\)"):
        Old(["localhost"])


def test_a_dispatch_may_look_at_the_registered_queues(server, client, queue, run):
    class Loud(GearmanCMDQueue):
        def shout(self, gcmd, task):
            return task["message"].upper()

    class Looking(GearmanCMD):
        def dispatch(self, name, task):
            return next((other, "shout") for other, target in self.queues.items() if isinstance(target, Loud))

    gcmd = Looking([server.address]).register_task(queue, Queue()).register_task(f"{queue}-loud", Loud())
    run(gcmd)
    assert client.call(queue, {"message": "abc"}).result == "ABC"
