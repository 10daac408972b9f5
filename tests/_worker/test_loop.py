"""Grabs, fairness, capacity and outages, over real job servers."""

from __future__ import annotations

import collections
import json
import logging
import socket
import struct
import threading
import time
import uuid
from contextlib import closing

import gearman
import pytest

import gearmancmd
from gearmancmd import GearmanCMD, GearmanCMDQueue
from tests.support.gear_client import Caller
from tests.support.gearmand import Gearmand, counts
from tests.support.proxy import Proxy
from tests.support.servers import assignment, packet, request
from tests.support.waiting import wait_for

REVERSE = {"command": "reverse", "message": "abc"}


class Queue(GearmanCMDQueue):
    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()

    def reverse(self, gcmd, task):
        return task["message"][::-1]

    def hold(self, gcmd, task):
        self.begun.release()
        assert self.let_go.wait(30)
        return "held"

    def stop(self, gcmd, task):
        gcmd.stop()


@pytest.fixture
def two_servers(gearmand):
    with Gearmand() as first, Gearmand() as second:
        yield first, second


FAIRNESS = """
import sys, time, gearmancmd
class Queue(gearmancmd.GearmanCMDQueue):
    def where(self, gcmd, task):
        time.sleep(0.001)
        print("from", task["server"], flush=True)
print("up", flush=True)
gearmancmd.GearmanCMD(sys.argv[2:], prefetch=int(sys.argv[1])).register_task("fair", Queue()).run()
"""


@pytest.mark.parametrize("prefetch", [1, 3])
def test_each_of_four_workers_takes_jobs_from_both_servers(two_servers, worker_process, prefetch):
    addresses = [server.address for server in two_servers]
    for number, server in enumerate(two_servers):
        submit_background(server, "fair", [{"command": "where", "server": number}] * 600)
    workers = [worker_process(FAIRNESS, str(prefetch), *addresses) for _ in range(4)]
    wait_for(lambda: all(counts(server, "fair")[0] == 0 for server in two_servers), "empty queues")
    wait_for(lambda: sum(line.startswith("from") for worker in workers for line in worker.lines) >= 1200)
    for worker in workers:
        taken = collections.Counter(worker.lines)
        assert taken["from 0"] and taken["from 1"], taken


def test_a_job_from_one_server_does_not_put_the_other_to_sleep_for_ever(two_servers, run):
    """python-gearman answers the NOOP of the second server with PRE_SLEEP, and is never woken again."""
    first, second = two_servers
    target = Queue()
    run(GearmanCMD([first.address, second.address]).register_task("both", target))
    with Caller(first) as one, Caller(second) as two:
        held = one.send("both", {"command": "hold"})
        assert target.begun.acquire(timeout=30)
        waiting = two.send("both", REVERSE)
        target.let_go.set()
        assert one.outcome(held).result == "held"
        assert two.outcome(waiting).result == "cba"


@pytest.mark.parametrize("prefetch", [1, 2, 5])
def test_no_more_jobs_are_assigned_than_prefetch_over_all_servers(two_servers, run, prefetch):
    target = Queue()
    for server in two_servers:
        submit_background(server, "capacity", [{"command": "hold"}] * 10)
    run(GearmanCMD([server.address for server in two_servers], prefetch=prefetch).register_task("capacity", target))

    def running() -> int:
        return sum(counts(server, "capacity")[1] for server in two_servers)

    wait_for(lambda: running() == prefetch, f"{prefetch} assigned jobs")
    assert target.begun.acquire(timeout=30)
    for _ in range(50):
        assert running() == prefetch
    target.let_go.set()
    wait_for(lambda: all(counts(server, "capacity")[0] == 0 for server in two_servers), "empty queues")


def test_a_thousand_jobs_arrive_once_each_and_in_their_order(server, client, queue, run):
    done = []

    class Recording(GearmanCMDQueue):
        def note(self, gcmd, task):
            done.append(task["number"])

    jobs = [client.send(queue, {"command": "note", "number": number}, background=True) for number in range(1000)]
    run(GearmanCMD([server.address], prefetch=16).register_task(queue, Recording()))
    wait_for(lambda: len(done) >= len(jobs))
    wait_for(lambda: counts(server, queue)[0] == 0, "the queue to be empty")
    assert done == list(range(1000))


def test_a_result_does_not_wait_for_a_later_job(server, client, queue, run):
    target = Queue()
    jobs = [client.send(queue, REVERSE) for _ in range(8)] + [client.send(queue, {"command": "hold"})]
    run(GearmanCMD([server.address], prefetch=64).register_task(queue, target))
    assert [client.outcome(job).result for job in jobs[:8]] == ["cba"] * 8
    assert not jobs[8].complete
    target.let_go.set()
    assert client.outcome(jobs[8]).result == "held"


def test_a_server_that_is_not_there_is_awaited(gearmand, queue, run, caplog):
    server = Gearmand()
    with caplog.at_level(logging.INFO, "gearmancmd"):
        run(GearmanCMD([server.address]).register_task(queue, Queue()))
        wait_for(lambda: "no connection" in caplog.text, "a log line")
        with server, Caller(server) as client:
            assert client.call(queue, REVERSE).result == "cba"
            lines = [line for line in caplog.messages if f"gearmand at {server.address}" in line]
    assert [line.split(",")[0] for line in lines] == [
        f"no connection to gearmand at {server.address}",
        f"gearmand at {server.address} answers",
    ]


def test_the_worker_comes_back_after_gearmand_was_restarted(own_gearmand, queue, run, caplog):
    run(GearmanCMD([own_gearmand.address]).register_task(queue, Queue()))
    with caplog.at_level(logging.INFO, "gearmancmd"):
        for _ in range(3):
            with Caller(own_gearmand) as client:
                assert client.call(queue, REVERSE).result == "cba"
            own_gearmand.stop()
            wait_for(lambda: "no connection" in caplog.text)
            own_gearmand.start()
        with Caller(own_gearmand) as client:
            assert client.call(queue, REVERSE).result == "cba"
    lines = [line for line in caplog.messages if f"gearmand at {own_gearmand.address}" in line]
    assert ["no connection" in line for line in lines[-6:]] == [True, False] * 3
    assert len(lines) <= 7  # and perhaps the first meeting


def test_one_server_lost_does_not_hold_up_the_other(two_servers, run):
    first, second = two_servers
    run(GearmanCMD([first.address, second.address]).register_task("both", Queue()))
    first.stop()
    with Caller(second) as client:
        for _ in range(20):
            assert client.call("both", REVERSE).result == "cba"


def test_a_server_lost_during_a_command_requeues_it(server, client, queue, run, caplog):
    target = Queue()
    with Proxy(server) as proxy:
        run(GearmanCMD([proxy.address]).register_task(queue, target))
        job = client.send(queue, {"command": "hold"})
        assert target.begun.acquire(timeout=30)
        with caplog.at_level(logging.WARNING, "gearmancmd"):
            proxy.break_off()
            wait_for(lambda: "no connection" in caplog.text, "the worker to notice")
            target.let_go.set()
            assert client.outcome(job).result == "held"
        assert target.begun.acquire(timeout=30), "the command did not run a second time"
        assert "was done in vain" in caplog.text
        assert client.call(queue, REVERSE).result == "cba"


def test_prefetched_jobs_of_a_lost_server_are_not_worked_on_twice(server, client, queue, run, caplog):
    done = []

    class Recording(Queue):
        def note(self, gcmd, task):
            done.append(task["number"])

    target = Recording()
    with Proxy(server) as proxy:
        run(GearmanCMD([proxy.address], prefetch=8).register_task(queue, target))
        held = client.send(queue, {"command": "hold"})
        assert target.begun.acquire(timeout=30)
        jobs = [client.send(queue, {"command": "note", "number": number}) for number in range(12)]
        wait_for(lambda: counts(server, queue)[1] > 1, "jobs to be prefetched")
        proxy.break_off()
        wait_for(lambda: "no connection" in caplog.text, "the worker to notice")
        target.let_go.set()
        assert client.outcome(held).result == "held"
        for job in jobs:
            client.outcome(job)
        assert sorted(done) == list(range(12))
        assert client.call(queue, REVERSE).result == "cba"


@pytest.mark.parametrize("prefetch", [1, 16])
def test_connections_that_break_off_under_load_lose_no_job(server, client, queue, run, prefetch):
    jobs = [client.send(queue, {"command": "reverse", "message": str(number)}) for number in range(2000)]
    with Proxy(server) as proxy:
        running = run(GearmanCMD([proxy.address], prefetch=prefetch).register_task(queue, Queue()))
        for _ in range(15):
            before = sum(job.complete for job in jobs)
            wait_for(lambda: sum(job.complete for job in jobs) > before or before == len(jobs), "more jobs done")
            proxy.break_off()
        assert [client.outcome(job).result for job in jobs] == [str(number)[::-1] for number in range(2000)]
    assert running.error is None


def test_a_paused_server_is_only_slow(own_gearmand, queue, run, caplog):
    with Caller(own_gearmand) as client, caplog.at_level(logging.INFO, "gearmancmd"):
        run(GearmanCMD([own_gearmand.address]).register_task(queue, Queue()))
        assert client.call(queue, REVERSE).result == "cba"
        own_gearmand.pause()
        submitted = threading.Thread(target=lambda: jobs.append(client.send(queue, REVERSE)))
        jobs: list[object] = []
        submitted.start()
        own_gearmand.resume()
        submitted.join()
        assert client.outcome(jobs[0]).result == "cba"
    assert "no connection" not in caplog.text


class Rubbish:
    """A server that answers whatever it is told to."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                with closing(connection):
                    connection.sendall(self.answer)
                    connection.recv(65536)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0RES" + struct.pack("!II", 31, 3) + b"abc",
        b"\0RES" + struct.pack("!II", 19, 0),
        b"",
    ],
    ids=["another protocol", "a job without arguments", "an empty error", "a server that hangs up"],
)
def test_a_server_that_talks_rubbish_is_dropped_and_logged_once(server, client, queue, run, caplog, answer):
    rubbish = Rubbish(answer)
    with closing(rubbish), caplog.at_level(logging.WARNING, "gearmancmd"):
        run(GearmanCMD([rubbish.address, server.address]).register_task(queue, Queue()))
        assert client.call(queue, REVERSE).result == "cba"
        wait_for(lambda: rubbish.accepted >= 3, "more attempts")
        assert client.call(queue, REVERSE).result == "cba"
        assert len([r for r in caplog.records if rubbish.address in r.getMessage()]) == 1


@pytest.mark.parametrize("kind, body", [(99, b"what"), (19, b"CODE\0text"), (8, b"H:x:1"), (17, b"echo")])
def test_a_packet_that_nobody_asked_for_is_survived(queue, run, kind, body):
    script = packet(kind, body) + assignment(1, queue, REVERSE)
    seen = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        run(GearmanCMD([listener.getsockname()]).register_task(queue, Queue()))
        connection, _ = listener.accept()
        with closing(connection):
            connection.settimeout(30)
            connection.sendall(script)
            wait_for(lambda: seen.append(connection.recv(65536)) or b'H:x:1\0"cba"' in b"".join(seen))


def test_a_reply_and_the_next_grab_leave_in_one_write(queue, run):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        run(GearmanCMD([listener.getsockname()], poll_timeout=600).register_task(queue, Queue()))
        connection, _ = listener.accept()
        with closing(connection):
            connection.settimeout(10)
            assert connection.recv(65536).endswith(request(30))
            connection.sendall(assignment(1, queue, REVERSE))
            assert connection.recv(65536) == request(13, b'H:x:1\0"cba"') + request(30)


def test_an_answer_does_not_wait_for_the_next_job_of_its_batch(queue, run):
    target = Queue()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        run(GearmanCMD([listener.getsockname()], prefetch=3, poll_timeout=600).register_task(queue, target))
        connection, _ = listener.accept()
        with closing(connection):
            connection.settimeout(10)
            assert connection.recv(65536).endswith(request(30))
            connection.sendall(assignment(1, queue, REVERSE))
            seen = b""
            while seen.count(request(30)) < 2:
                seen += connection.recv(65536)
            connection.sendall(assignment(2, queue, REVERSE) + assignment(3, queue, {"command": "hold"}))
            while b'H:x:2\0"cba"' not in seen:
                seen += connection.recv(65536)
            target.let_go.set()


def test_a_job_that_streams_waits_for_a_server_that_does_not_read(queue, run):
    finished = threading.Event()

    class Stream(GearmanCMDQueue):
        def pour(self, gcmd, task):
            for _ in range(64):
                gcmd.send_data("x" * (1 << 20))
            finished.set()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        run(GearmanCMD([listener.getsockname()]).register_task(queue, Stream()))
        connection, _ = listener.accept()
        with closing(connection):
            connection.settimeout(10)
            connection.sendall(assignment(1, queue, {"command": "pour"}))
            assert not finished.wait(1), "64 MiB were taken from the command though nobody reads them"
            while not finished.is_set():
                connection.recv(1 << 20)


def test_an_epoch_job_is_taken_when_it_falls_due_and_costs_nothing_before(gearmand, queue, run):
    target = Queue()
    running = run(GearmanCMD([gearmand.address]).register_task(queue, target))
    wait_for(lambda: counts(gearmand, queue)[2] == 1, "the worker")
    body = b"\0".join([queue.encode(), b"u", str(int(time.time()) + 3).encode(), b'{"command": "stop"}'])
    cpu = time.process_time()
    with closing(socket.create_connection((gearmand.host, gearmand.port))) as connection:
        connection.sendall(request(36, body))
        assert connection.recv(100).startswith(b"\0RES")
    assert running.wait() is None
    # an endless circle of PRE_SLEEP, NOOP, GRAB_JOB and NO_JOB would have burnt all of the three seconds
    assert time.process_time() - cpu < 1.5


def test_a_plain_gearman_worker_class_will_do(server, client, queue, run):
    class Plain(gearman.GearmanWorker):
        data_encoder = gearmancmd.JSONDataEncoder

    class PlainCMD(GearmanCMD):
        worker = Plain

    run(PlainCMD([server.address], prefetch=4).register_task(queue, Queue()))
    jobs = [client.send(queue, REVERSE) for _ in range(20)]
    assert [client.outcome(job).result for job in jobs] == ["cba"] * 20


def test_gearmans_own_worker_class_will_do(server, client, queue, run):
    class Upper(GearmanCMDQueue):
        def dispatch(self, task):
            return "upper"

        def upper(self, gcmd, task):
            return task.upper()

    class BareCMD(GearmanCMD):
        worker = gearman.GearmanWorker

    run(BareCMD([server.address]).register_task(queue, Upper()))
    assert client.call(queue, b"abc").data == b"ABC"


def submit_background(server: Gearmand, queue: str, tasks: list[object]) -> None:
    """Fill a queue through a plain socket."""
    with closing(socket.create_connection((server.host, server.port))) as connection:
        for task in tasks:
            body = b"\0".join([queue.encode(), uuid.uuid4().hex.encode(), json.dumps(task).encode()])
            connection.sendall(request(18, body))
        wait_for(lambda: counts(server, queue)[0] == len(tasks), "the jobs in the queue")


def test_a_server_that_accepts_and_never_speaks_delays_no_job_of_another(server, client, queue, run):
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        run(GearmanCMD([mute.getsockname(), server.address], poll_timeout=600).register_task(queue, Queue()))
        for _ in range(20):
            assert client.call(queue, REVERSE).result == "cba"


def test_a_server_that_stands_still_delays_no_job_of_another_and_is_served_again(two_servers, run):
    first, second = two_servers
    run(GearmanCMD([first.address, second.address]).register_task("both", Queue()))
    with Caller(first) as one, Caller(second) as two:
        for still, other, stopped in ((first, two, one), (second, one, two)):
            assert stopped.call("both", REVERSE).result == "cba"
            still.pause()
            for _ in range(20):
                assert other.call("both", REVERSE).result == "cba"
            still.resume()
            assert stopped.call("both", REVERSE).result == "cba"


def test_a_job_that_a_mute_server_sends_after_all_is_done(server, client, queue, run):
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        run(GearmanCMD([mute.getsockname(), server.address]).register_task(queue, Queue()))
        connection, _ = mute.accept()
        with closing(connection):
            connection.settimeout(30)
            assert client.call(queue, REVERSE).result == "cba"
            seen = b""
            while request(30) not in seen:
                seen += connection.recv(65536)
            connection.sendall(assignment(1, queue, REVERSE))
            while b'H:x:1\0"cba"' not in seen:
                seen += connection.recv(65536)
        assert client.call(queue, REVERSE).result == "cba"


@pytest.mark.parametrize("method", ["poll_connections_until_stopped", "establish_worker_connections"])
def test_a_worker_class_that_replaces_the_loop_is_told_what_to_use(queue, method):
    class Replacing(gearman.GearmanWorker):
        pass

    setattr(Replacing, method, lambda self, *arguments: None)

    class ReplacingCMD(GearmanCMD):
        worker = Replacing

    with pytest.raises(TypeError, match=rf"Replacing\.{method}\(\) is never called: .* use "):
        ReplacingCMD(["localhost:4730"])
    with pytest.raises(TypeError, match="is never called"):
        type("Both", (Replacing, gearmancmd.GearmanWorker), {})(["localhost:4730"]).work()


def test_gearmans_own_work_called_by_name_is_told_what_to_use():
    class ByName(gearmancmd.JSONGearmanWorker):
        def work(self, poll_timeout=60.0):
            gearman.GearmanWorker.work(self, poll_timeout)

    with pytest.raises(TypeError, match=r"call super\(\)\.work\(\)"):
        ByName(["localhost:4730"]).work()


def test_after_poll_is_called_in_the_loops_thread_and_the_other_hooks_in_the_dispatchers(server, client, queue, run):
    threads = collections.defaultdict(set)

    class Hooked(gearmancmd.JSONGearmanWorker):
        def after_poll(self, any_activity):
            threads["after_poll"].add(threading.get_ident())
            return True

        def after_job(self):
            threads["after_job"].add(threading.get_ident())
            return True

        def on_job_execute(self, current_job):
            threads["on_job_execute"].add(threading.get_ident())
            return super().on_job_execute(current_job)

    class HookedCMD(GearmanCMD):
        worker = Hooked

    class Noting(Queue):
        def note(self, gcmd, task):
            threads["command"].add(threading.get_ident())

    run(HookedCMD([server.address]).register_task(queue, Noting()))
    for _ in range(3):
        client.call(queue, {"command": "note"})
    assert threads["command"] == threads["on_job_execute"] == threads["after_job"]
    assert len(threads["after_poll"]) == len(threads["command"]) == 1
    assert threads["after_poll"] != threads["command"]
