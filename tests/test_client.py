"""JSONGearmanClient against both job servers, with our worker; test_client_peers.py has workers not written here."""

from __future__ import annotations

import datetime
import functools
import itertools
import re
import socket
import sqlite3
import threading
import tracemalloc
from contextlib import closing

import gear
import gearman.errors
import pytest
from gearman import protocol as packets

from gearmancmd import GearmanCMD, GearmanCMDQueue, JobFailed, JobTimeout, JSONGearmanClient, ServerUnavailable
from tests.support.gearmand import Gearmand, admin, counts, free_port
from tests.support.proxy import Proxy
from tests.support.queues import Serving
from tests.support.waiting import LIMIT, wait_for

HELLO = {"command": "reverse", "message": "Hello"}
HOLD = {"command": "hold"}


@pytest.fixture
def client(server):
    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        yield client


# call()


def test_a_call_returns_the_result(client, serving, queue):
    assert client.call(queue, HELLO) == "olleH"
    assert client.call(queue, {"command": "reverse", "message": [1, None, {"a": "ü"}]}) == [{"a": "ü"}, None, 1]


def test_a_failed_job_raises_with_the_workers_reason(client, serving, queue):
    with pytest.raises(JobFailed, match=r"^job H:\S+ failed: out of paper$") as caught:
        client.call(queue, {"command": "refuse"})
    assert caught.value.reason == "out of paper"
    assert caught.value.handle.startswith("H:")
    assert client.call(queue, HELLO) == "olleH"


def test_a_plain_failure_has_no_reason(gearmand, queue, run):
    run(GearmanCMD([gearmand.address], failures="plain").register_task(queue, Serving()))
    with JSONGearmanClient([gearmand.address], timeout=LIMIT, exceptions=False) as client:
        with pytest.raises(JobFailed, match="gave no reason") as caught:
            client.call(queue, {"command": "refuse"})
        assert caught.value.reason is None
        assert client.call(queue, HELLO) == "olleH"


def test_reports_reach_their_listeners_in_order(client, serving, queue):
    seen = []
    result = client.call(
        queue,
        {"command": "report"},
        on_status=lambda done, total: seen.append((done, total)),
        on_data=seen.append,
        on_warning=seen.append,
    )
    assert result == "printed"
    assert seen == [(0, 3), {"page": 0}, (1, 3), {"page": 1}, (2, 3), {"page": 2}, "paper is low"]


def test_reports_are_kept_for_whoever_listens_later(client, serving, queue):
    job = client.submit(queue, {"command": "report"})
    assert job.result() == "printed"
    told = []
    assert job.result(on_data=told.append) == "printed"
    assert told == [{"page": 0}, {"page": 1}, {"page": 2}]


class Streaming(GearmanCMDQueue):
    """Sends 64 MiB of data ahead of its result."""

    def stream(self, gcmd, task):
        for _ in range(64):
            gcmd.send_data("x" * 2**20)
        return "done"


def test_a_call_keeps_no_reports_that_nobody_listens_to(gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Streaming()))
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        tracemalloc.start()
        try:
            assert client.call(queue, {"command": "stream"}) == "done"
            assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
        finally:
            tracemalloc.stop()


def test_what_a_listener_raises_leaves_the_call(client, serving, queue):
    def listener(data):
        raise KeyError("of the listener")

    with pytest.raises(KeyError, match="of the listener"):
        client.call(queue, {"command": "report"}, on_data=listener)
    assert client.call(queue, HELLO) == "olleH"


def test_a_listener_may_call_itself(client, serving, queue):
    seen = []
    client.call(queue, {"command": "report"}, on_data=lambda data: seen.append(client.call(queue, HELLO)))
    assert seen == ["olleH"] * 3


def test_a_late_answer_disturbs_nobody(client, serving, queue):
    assert client.call(queue, HELLO) == "olleH"  # it is connected
    with pytest.raises(JobTimeout, match="no result of job"):
        client.call(queue, HOLD, timeout=1)
    with pytest.raises(TimeoutError):
        client.call(queue, HOLD, timeout=0.05)
    serving.let_go.set()
    assert [client.call(queue, {"command": "reverse", "message": text}) for text in ("ab", "cd")] == ["ba", "dc"]


def test_the_timeout_of_the_client_holds_for_each_call(server, queue):
    with JSONGearmanClient([server.address], timeout=0.05) as client:
        with pytest.raises((JobTimeout, ServerUnavailable), match=r"in time|did not acknowledge"):
            client.call(queue, HELLO)


def test_a_server_that_is_paused_is_waited_for_no_longer(own_gearmand, queue):
    with JSONGearmanClient([own_gearmand.address]) as client:
        client.submit(queue, HELLO, background=True)
        own_gearmand.pause()
        with pytest.raises(JobTimeout, match="did not acknowledge"):
            client.submit(queue, HELLO, timeout=0.1)
        own_gearmand.resume()
        client.submit(queue, HELLO, background=True, timeout=LIMIT)


def test_jobs_with_one_unique_are_done_once(gearmand, queue, run):
    target = Serving()
    run(GearmanCMD([gearmand.address], prefetch=4).register_task(queue, target))
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client, JSONGearmanClient([gearmand.address]) as other:
        jobs = [
            each.submit(queue, {"command": "hold", "message": i}, unique="one")
            for i, each in enumerate([client, client, other])
        ]
        assert len({job.handle for job in jobs}) == 1
        target.let_go.set()
        assert [job.result(LIMIT) for job in jobs] == [0, 0, 0]
    assert target.started == 1


def test_reports_on_a_shared_job_come_once_to_each(gearmand, queue, run):
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        jobs = [client.submit(queue, {"command": "report"}, unique="one") for _ in range(2)]
        run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
        for job in jobs:
            seen = []
            assert job.result(on_status=lambda done, total: seen.append(done)) == "printed"
            assert seen == [0, 1, 2]


@pytest.mark.parametrize(("priority", "place"), [("high", 0), ("normal", 1), (None, 1), ("LOW", 2)])
def test_the_priority_reaches_the_server(gearmand, queue, priority, place):
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        client.submit(queue, HELLO, priority=priority)
        line = next(line for line in admin(gearmand, "prioritystatus") if line.startswith(f"{queue}\t"))
        assert [int(figure) for figure in line.split("\t")[1:4]] == [int(place == each) for each in range(3)]


def test_fractions_and_large_payloads_survive(client, serving, queue):
    text = "€" * (1 << 20)
    assert client.call(queue, {"command": "reverse", "message": text}) == text
    assert str(client.call(queue, {"command": "reverse", "message": [0.1]})[0]) == "0.1"


# submit()


def test_a_job_tells_how_it_stands(client, serving, queue):
    job = client.submit(queue, {"command": "hold", "message": "at last"})
    wait_for(lambda: job.status().running, "the job to run")
    assert re.fullmatch(rf"<Job H:\S+ unique='{job.unique}' server={re.escape(job.server)}>", repr(job))
    assert re.fullmatch(r"[0-9a-f]{32}", job.unique)
    assert not job.done()
    with pytest.raises(JobTimeout):
        job.result(timeout=0.05)
    serving.let_go.set()
    assert job.result() == "at last"
    assert job.result() == "at last"
    assert job.done()
    assert not job.status().known


def test_a_job_is_found_done_without_being_waited_for(client, serving, queue):
    job = client.submit(queue, HELLO)
    wait_for(job.done, "the job to be done")
    assert job.result(0.001) == "olleH"


def test_many_jobs_are_in_flight_and_end_in_any_order(client, serving, queue):
    held = client.submit(queue, {"command": "hold", "message": "first"})
    jobs = [client.submit(queue, {"command": "reverse", "message": f"{number:03}"}) for number in range(50)]
    assert [job.result() for job in jobs] == [f"{number:03}"[::-1] for number in range(50)]
    assert not held.done()
    serving.let_go.set()
    assert held.result() == "first"


def test_a_background_job_outlives_its_client(server, queue, run):
    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        job = client.submit(queue, HOLD, background=True)
        with pytest.raises(ValueError, match="background job has no result"):
            job.result()
        assert not job.done()
    target = Serving()
    run(GearmanCMD([server.address]).register_task(queue, target))
    wait_for(lambda: target.started, "the job")
    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        assert client.status(job.handle).running
        target.let_go.set()
        wait_for(lambda: not client.status(job.handle).known, "the end of the job")


def test_the_progress_of_a_background_job_is_told(gearmand, queue, run):
    class Printing(GearmanCMDQueue):
        done = threading.Event()

        def pages(self, gcmd, task):
            gcmd.send_status(2, 7)
            assert self.done.wait(LIMIT)

    run(GearmanCMD([gearmand.address]).register_task(queue, Printing()))
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        job = client.submit(queue, {"command": "pages"}, background=True)
        wait_for(lambda: job.status().total, "the progress")
        assert (job.status().done, job.status().total, job.status().running) == (2, 7, True)
        assert not job.done()
        Printing.done.set()
        wait_for(job.done, "the end of the job")


def test_an_abandoned_job_is_not_heard_of_again(client, serving, queue):
    job = client.submit(queue, HOLD)
    job.abandon()
    serving.let_go.set()
    assert client.call(queue, HELLO) == "olleH"


def test_the_result_of_an_abandoned_job_is_refused(client, serving, queue):
    job = client.submit(queue, HOLD)
    job.abandon()
    serving.let_go.set()
    with pytest.raises(ValueError, match="abandoned"):
        job.result()


def test_a_queue_that_is_full_refuses(own_gearmand, queue):
    with JSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
        client.submit(queue, HELLO, background=True)
        with closing(socket.create_connection((own_gearmand.host, own_gearmand.port))) as connection:
            connection.sendall(f"maxqueue {queue} 1\n".encode())
            assert connection.recv(100).startswith(b"OK")
        with pytest.raises(JobFailed, match="refused the job: QUEUE_ERROR") as caught:
            client.submit(queue, HELLO, background=True)
        assert caught.value.handle is None
        assert client.submit(f"{queue}-other", HELLO, background=True).handle


# submit_many() and map()


def test_many_submissions_yield_a_handle_each(client, server, queue):
    handles = list(client.submit_many(queue, ({"number": number} for number in range(3000))))
    assert len(set(handles)) == 3000
    assert counts(server, queue)[0] == 3000


def test_tasks_are_read_as_they_are_sent(client, queue):
    read = itertools.count()
    handles = client.submit_many(queue, ({"number": next(read)} for _ in itertools.repeat(None)))
    assert len(list(itertools.islice(handles, 5000))) == 5000
    assert next(read) < 7000


def test_handles_come_before_the_error_of_a_later_task(client, server, queue):
    handles = client.submit_many(queue, [*[{}] * 10, object()])
    assert len({next(handles) for _ in range(10)}) == 10
    with pytest.raises(TypeError, match="task cannot be encoded"):
        next(handles)
    assert counts(server, queue)[0] == 10


def test_other_calls_go_on_between_two_handles(client, serving, queue):
    handles = client.submit_many(f"{queue}-other", ({} for _ in range(2000)))
    assert next(handles)
    assert client.call(queue, HELLO) == "olleH"
    assert len(list(handles)) == 1999


def test_a_map_yields_results_in_order(client, serving, queue):
    tasks = ({"command": "reverse", "message": f"{number:03}"} for number in range(300))
    assert list(client.map(queue, tasks, window=7)) == [f"{number:03}"[::-1] for number in range(300)]


def test_a_map_has_a_window_of_jobs_under_way(client, serving, queue):
    read = itertools.count()
    results = client.map(queue, ({**HELLO, "number": next(read)} for _ in itertools.repeat(None)), window=10)
    assert next(results) == "olleH"
    assert next(read) == 10
    results.close()


def test_a_map_raises_or_yields_what_failed(client, serving, queue):
    tasks = [HELLO, {"command": "refuse"}, object(), HELLO]
    results = list(client.map(queue, tasks, return_exceptions=True))
    assert (results[0], results[3]) == ("olleH", "olleH")
    assert isinstance(results[1], JobFailed)
    assert isinstance(results[2], TypeError)
    results = client.map(queue, tasks)
    assert next(results) == "olleH"
    with pytest.raises(JobFailed, match="out of paper"):
        next(results)


def test_a_map_yields_what_is_late_as_such(client, serving, queue):
    assert client.call(queue, HELLO) == "olleH"
    late, result = client.map(queue, [HOLD, HELLO], timeout=1, return_exceptions=True)
    assert isinstance(late, JobTimeout)
    assert result == "olleH"


# schedule()


def test_a_scheduled_task_is_done_when_it_is_due(gearmand, queue, run):
    target = Serving()
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
        job = client.schedule(queue, HOLD, when)
        assert job.background
        run(GearmanCMD([gearmand.address]).register_task(queue, target))
        wait_for(lambda: target.started, "the task")
        assert datetime.datetime.now(datetime.timezone.utc) >= when, "gearmand counts whole seconds"
        target.let_go.set()


@pytest.mark.parametrize(
    ("when", "error", "text"),
    [
        (datetime.datetime(2030, 1, 1), ValueError, r"when must have a time zone.*datetime\.datetime\(2030, 1, 1"),
        (1893456000, TypeError, "when must be a datetime, not 1893456000"),
        (datetime.datetime(1960, 1, 1, tzinfo=datetime.timezone.utc), ValueError, "when must not be before 1970"),
    ],
)
def test_a_time_that_is_none_is_refused(client, queue, when, error, text):
    with pytest.raises(error, match=text):
        client.schedule(queue, HELLO, when)


# Uniques.


def test_background_jobs_of_a_persistent_queue_are_all_kept(tmp_path, queue, gearmand):
    file = tmp_path / "queue.db"
    with Gearmand("-q", "libsqlite3", f"--libsqlite3-db={file}") as persistent:
        with JSONGearmanClient([persistent.address], timeout=LIMIT) as client:
            list(client.submit_many(queue, [{"number": number} for number in range(20)]))
            client.submit(queue, {}, background=True)
        with closing(sqlite3.connect(file)) as database:
            kept = database.execute("SELECT count(*), count(DISTINCT unique_key) FROM gearman_queue").fetchone()
        assert kept == (21, 21)


def test_a_unique_of_63_bytes_coalesces_and_one_of_64_is_refused(gearmand, queue):
    with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
        assert len({client.submit(queue, HELLO, unique="é" * 31 + "x").handle for _ in range(2)}) == 1
        with pytest.raises(ValueError, match="unique must have at most 63 bytes, not 64: 'éé"):
            client.submit(queue, HELLO, unique="é" * 32)


# Servers.


def test_no_server_is_an_error(queue):
    address = f"127.0.0.1:{free_port()}"
    with JSONGearmanClient([address]) as client, pytest.raises(ServerUnavailable, match=re.escape(address)) as caught:
        client.call(queue, HELLO)
    assert isinstance(caught.value, gearman.errors.ServerUnavailable)


def test_a_dead_server_is_skipped_and_taken_back(gearmand, own_gearmand, queue, run):
    run(GearmanCMD([gearmand.address, own_gearmand.address]).register_task(queue, Serving()))
    with JSONGearmanClient([gearmand.address, own_gearmand.address], timeout=LIMIT) as client:
        own_gearmand.stop()
        assert [client.call(queue, HELLO) for _ in range(4)] == ["olleH"] * 4
        own_gearmand.start()
        wait_for(lambda: client.submit(queue, HELLO).server == own_gearmand.address, "the server that came back")


def test_servers_take_turns(gearmand, own_gearmand, queue):
    with JSONGearmanClient([gearmand.address, own_gearmand.address], timeout=LIMIT) as client:
        for _ in range(10):
            client.submit(queue, HELLO, background=True)
    assert counts(gearmand, queue)[0] == counts(own_gearmand, queue)[0] == 5


def test_jobs_with_one_unique_go_to_one_server(gearmand, own_gearmand, queue):
    with JSONGearmanClient([gearmand.address, own_gearmand.address], timeout=LIMIT) as client:
        for number in range(16):
            assert len({client.submit(queue, HELLO, unique=f"u{number}").server for _ in range(4)}) == 1
        assert counts(gearmand, queue)[0] and counts(own_gearmand, queue)[0]


def test_jobs_whose_unique_is_their_payload_meet_and_spread(gearmand, own_gearmand, queue):
    with JSONGearmanClient([gearmand.address, own_gearmand.address], timeout=LIMIT) as client:
        for number in range(16):
            jobs = [client.submit(queue, {"number": number}, unique="-", background=True) for _ in range(3)]
            assert len({job.server for job in jobs}) == len({job.handle for job in jobs}) == 1
        assert counts(gearmand, queue)[0] and counts(own_gearmand, queue)[0]
        assert counts(gearmand, queue)[0] + counts(own_gearmand, queue)[0] == 16


def test_a_server_that_was_restarted_between_two_calls_is_no_error(own_gearmand, queue, run):
    run(GearmanCMD([own_gearmand.address]).register_task(queue, Serving()))
    with JSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
        assert client.call(queue, HELLO) == "olleH"
        own_gearmand.stop()
        own_gearmand.start()
        assert client.call(queue, HELLO) == "olleH"


def test_a_server_that_is_lost_in_a_call_is_an_error_and_nothing_is_sent_twice(own_gearmand, queue, run):
    target = Serving()
    run(GearmanCMD([own_gearmand.address]).register_task(queue, target))
    with JSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
        job = client.submit(queue, HOLD)
        wait_for(lambda: target.started, "the command")
        own_gearmand.stop()
        with pytest.raises(ServerUnavailable, match=f"lost with the job {job.handle}"):
            job.result()
        target.let_go.set()
        own_gearmand.start()
        wait_for(lambda: counts(own_gearmand, queue)[2], "the worker to come back")
        assert client.call(queue, HELLO) == "olleH"
    assert target.started == 1


def test_a_submission_that_is_not_acknowledged_raises(queue):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        received = []

        def hang_up():
            for _ in range(2):
                connection, _ = listener.accept()
                while packets.GEARMAN_COMMAND_SUBMIT_JOB_BG not in (seen := connection.recv(65536)):
                    pass
                received.append(seen)
                connection.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        with JSONGearmanClient([listener.getsockname()], timeout=LIMIT) as client:
            with pytest.raises(ServerUnavailable, match="before the job was acknowledged"):
                client.submit(queue, HELLO, background=True)
            with pytest.raises(ServerUnavailable, match="before the job was acknowledged"):
                list(client.submit_many(queue, [HELLO]))
        thread.join(LIMIT)
        assert [seen.count(b"Hello") for seen in received] == [1, 1]


def test_the_stream_may_be_cut_anywhere(server, queue, serving):
    with Proxy(server, chunk=3) as proxy, JSONGearmanClient([proxy.address], timeout=LIMIT) as client:
        assert client.call(queue, HELLO) == "olleH"
        assert len(list(client.submit_many(f"{queue}-other", [HELLO] * 200))) == 200


def test_a_connection_that_breaks_is_made_again(server, queue, serving):
    with Proxy(server) as proxy, JSONGearmanClient([proxy.address], timeout=LIMIT) as client:
        for _ in range(3):
            assert client.call(queue, HELLO) == "olleH"
            proxy.break_off()
            wait_for(lambda: client.call(queue, HELLO) == "olleH" if _settled(client, queue) else False)
        assert proxy.connections >= 4


def _settled(client, queue):
    try:
        client.call(queue, HELLO)
    except ServerUnavailable:
        return False
    return True


def test_what_is_no_job_server_is_an_error(queue):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer():
            connection, _ = listener.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(65536)

        threading.Thread(target=answer, daemon=True).start()
        with JSONGearmanClient([listener.getsockname()], timeout=LIMIT) as client:
            with pytest.raises(ServerUnavailable, match="expected a response of a job server"):
                client.call(queue, HELLO)


# Threads and closing.


def test_threads_share_a_client(client, serving, queue):
    held = client.submit(queue, {"command": "hold", "message": "held"})
    wrong = []

    def work(name):
        for number in range(50):
            text = f"{name}-{number}"
            if client.call(queue, {"command": "reverse", "message": text}) != text[::-1]:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    waiting = threading.Thread(target=lambda: wrong.extend([held.result()] * (held.result() != "held")))
    for thread in [waiting, *threads]:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    serving.let_go.set()
    waiting.join(LIMIT)
    assert not waiting.is_alive()
    assert not wrong


def test_the_job_of_one_thread_keeps_no_other_waiting(client, serving, queue):
    """The thread that reads is in the middle of its own wait: others must get their answers all the same."""
    results = []
    threads = []
    for number in range(3):
        job = client.submit(queue, {"command": "hold", "message": number})
        threads.append(threading.Thread(target=lambda job=job: results.append(job.result())))
        threads[-1].start()
    wait_for(lambda: serving.started == 3, "the commands")
    assert client.call(queue, HELLO) == "olleH"
    serving.let_go.set()
    for thread in threads:
        thread.join(LIMIT)
    assert sorted(results) == [0, 1, 2]


def test_a_second_server_is_heard_while_a_thread_waits_for_the_first(gearmand, own_gearmand, queue, run):
    target = Serving()
    for _ in range(2):
        run(GearmanCMD([gearmand.address, own_gearmand.address]).register_task(queue, target))
    with JSONGearmanClient([gearmand.address, own_gearmand.address], timeout=LIMIT) as client:
        job = client.submit(queue, HOLD)
        thread = threading.Thread(target=job.result)
        thread.start()
        wait_for(lambda: target.started, "the command")
        assert [client.call(queue, HELLO) for _ in range(4)] == ["olleH"] * 4
        target.let_go.set()
        thread.join(LIMIT)


def test_closing_ends_every_wait(client, serving, queue):
    errors = []

    def wait(job):
        try:
            job.result()
        except ServerUnavailable as error:
            errors.append(str(error))

    threads = [threading.Thread(target=wait, args=(client.submit(queue, HOLD),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(lambda: serving.started == 3, "the commands")
    client.close()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert len(errors) == 3
    assert all("the client was closed" in error for error in errors)
    with pytest.raises(ServerUnavailable, match="the client was closed"):
        client.call(queue, HELLO)
    client.close()


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (([],), ValueError, r"servers must name at least one server, not \[\]"),
        (("localhost",), TypeError, "servers must be a list of servers, not 'localhost'"),
        ((["localhost:x"],), ValueError, r"servers\[0\]: port must be a number, not 'x'"),
    ],
)
def test_servers_that_are_none_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        JSONGearmanClient(*arguments)


def test_a_timeout_that_is_none_is_refused(client, queue):
    with pytest.raises(ValueError, match="timeout must be above 0 and finite, not 0"):
        JSONGearmanClient(["localhost"], timeout=0)
    with pytest.raises(TypeError, match="timeout must be a number of seconds, not '1'"):
        client.call(queue, HELLO, timeout="1")


async def coroutine(*said):
    pass


class Coroutine:
    async def __call__(self, said):
        pass


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"priority": "urgent"}, ValueError, "priority must be 'high', 'normal' or 'low', not 'urgent'"),
        ({"priority": 1}, TypeError, "priority must be 'high', 'normal' or 'low', not 1"),
        ({"unique": ""}, ValueError, "unique must be a text without white space, not ''"),
        ({"unique": 5}, TypeError, "unique must be a str, not 5"),
        ({"unique": "a b"}, ValueError, "unique must be a text without white space, not 'a b'"),
        ({"on_status": 5}, TypeError, "on_status must be callable, not 5"),
        ({"on_status": coroutine}, TypeError, "on_status must be a plain function, not <function coroutine"),
        ({"on_data": functools.partial(coroutine, 1)}, TypeError, "on_data must be a plain function"),
        ({"on_warning": Coroutine()}, TypeError, "on_warning must be a plain function"),
    ],
)
def test_options_of_a_call_are_checked_at_once(client, queue, options, error, text):
    with pytest.raises(error, match=text):
        client.call(queue, HELLO, **options)


@pytest.mark.parametrize("background", ["yes", None, 2, []])
def test_background_is_true_or_false(client, queue, background):
    with pytest.raises(TypeError, match="background must be True or False, not "):
        client.submit(queue, HELLO, background=background)


def test_a_task_or_queue_that_cannot_be_sent_is_refused(client, queue):
    with pytest.raises(ValueError, match=r"queue must be .*, not 'a\\nb'"):
        client.call("a\nb", HELLO)
    with pytest.raises(TypeError, match=r"task cannot be encoded: .*object"):
        client.call(queue, object())
    with pytest.raises(ValueError, match="task cannot be encoded"):
        client.call(queue, float("nan"))
    with pytest.raises(ValueError, match="window must be at least 1, not 0"):
        client.map(queue, [], window=0)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        client.call(queue, deep)


def test_a_result_that_is_not_json_fails_that_call(server, client, queue):
    worker = gear.Worker(queue)
    worker.addServer(server.host, server.port)
    worker.registerFunction(queue)

    def work():
        worker.getJob().sendWorkComplete(b"\xff not JSON")

    threading.Thread(target=work, daemon=True).start()
    with pytest.raises(JobFailed, match="its result cannot be decoded"):
        client.call(queue, HELLO)
    worker.shutdown()
