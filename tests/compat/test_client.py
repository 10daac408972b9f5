"""compat.GearmanClient against both job servers: what python-gearman's users know, and what used to go wrong."""

from __future__ import annotations

import gc
import json
import weakref

import gearman
import pytest
from gearman.constants import JOB_COMPLETE, JOB_CREATED, JOB_FAILED, JOB_UNKNOWN, PRIORITY_HIGH, PRIORITY_LOW
from gearman.job import GearmanJob, GearmanJobRequest

from gearmancmd import GearmanCMD
from gearmancmd.compat import GearmanClient
from gearmancmd.encoder import TextDataEncoder
from tests.compat.conftest import JSONClient
from tests.support.gearmand import admin, counts
from tests.support.queues import Serving
from tests.support.servers import Scripted, packet
from tests.support.waiting import LIMIT, wait_for

HELLO = {"command": "reverse", "message": "Hello"}
HOLD = {"command": "hold"}


def reverse(worker, job):
    return job.data[::-1]


def test_it_is_a_gearman_client(client):
    assert isinstance(client, gearman.GearmanClient)


def test_text_goes_in_and_comes_out(server, connect, work, queue):
    work(server.address, queue, reverse)
    client = connect(server.address)
    for data, result in [("Grüße", "eßürG"), (b"bytes", "setyb"), ("", ""), ("a\0b\n", "\nb\0a")]:
        request = client.submit_job(queue, data, poll_timeout=LIMIT)
        assert (request.result, request.state) == (result, JOB_COMPLETE)


def test_without_a_time_out_a_job_is_waited_for(server, connect, work, queue):
    """pygearman 0.2.6 returns at once where there is none."""
    work(server.address, queue, reverse)
    assert connect(server.address).submit_job(queue, "Hello").result == "olleH"


def test_submit_job(client, serving, queue):
    request = client.submit_job(queue, HELLO, priority=PRIORITY_HIGH, poll_timeout=LIMIT)
    assert (request.state, request.complete, request.timed_out) == (JOB_COMPLETE, True, False)
    assert request.result == "olleH"
    assert isinstance(request.job.handle, str)
    assert isinstance(request.job.unique, str)


def test_submit_multiple_jobs(client, serving, queue):
    jobs = [{"task": queue, "data": {"command": "reverse", "message": text}} for text in ("ab", "cd", "ef")]
    requests = client.submit_multiple_jobs(jobs, poll_timeout=LIMIT)
    assert [request.result for request in requests] == ["ba", "dc", "fe"]


def test_many_jobs_in_one_call(client, serving, queue):
    jobs = [{"task": queue, "data": {"command": "reverse", "message": f"{n:03}"}} for n in range(300)]
    requests = client.submit_multiple_jobs(jobs, poll_timeout=LIMIT)
    assert [request.result for request in requests] == [f"{n:03}"[::-1] for n in range(300)]


@pytest.mark.parametrize("kind", [str, str.encode], ids=["str", "bytes"])
def test_tasks_and_uniques_may_be_bytes(server, connect, work, queue, kind):
    """As gearman3 wanted them."""
    work(server.address, queue, reverse)
    client = connect(server.address)
    assert client.submit_job(kind(queue), "Hello", unique=kind("one"), poll_timeout=LIMIT).result == "olleH"


def test_priorities_are_obeyed(server, connect, work, queue):
    client = connect(server.address)
    for priority in (PRIORITY_LOW, None, PRIORITY_HIGH):
        client.submit_job(queue, str(priority), priority=priority, background=True, poll_timeout=LIMIT)
    seen = []
    work(server.address, queue, lambda worker, job: seen.append(job.data) or "")
    wait_for(lambda: len(seen) == 3, "the jobs")
    assert seen == ["HIGH", "None", "LOW"]


def test_jobs_with_one_unique_all_end(gearmand, connect, queue, run):
    client = connect(gearmand.address, kind=JSONClient)
    jobs = [{"task": queue, "data": {"command": "report"}, "unique": "one"}] * 3
    requests = client.submit_multiple_jobs(jobs, wait_until_complete=False)
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    client.wait_until_jobs_completed(requests, poll_timeout=LIMIT)
    assert len({request.job.handle for request in requests}) == 1
    assert [request.result for request in requests] == ["printed"] * 3
    assert [len(request.data_updates) for request in requests] == [3, 3, 3]


def test_jobs_with_one_unique_all_hear_why_it_failed(gearmand, connect, queue, run):
    client = connect(gearmand.address, kind=JSONClient)
    jobs = [{"task": queue, "data": {"command": "refuse"}, "unique": "one"}] * 3
    requests = client.submit_multiple_jobs(jobs, wait_until_complete=False)
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    client.wait_until_jobs_completed(requests, poll_timeout=LIMIT)
    assert [(request.state, request.exception) for request in requests] == [(JOB_FAILED, "out of paper")] * 3


def test_the_request_that_was_dropped_of_two_with_one_unique_takes_nothing_from_the_other(
    gearmand, connect, queue, run
):
    client = connect(gearmand.address, kind=JSONClient)
    jobs = [{"task": queue, "data": {"command": "report"}, "unique": "one"}] * 2
    requests = client.submit_multiple_jobs(jobs, wait_until_complete=False)
    del requests[0]
    gc.collect()
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    client.wait_until_jobs_completed(requests, poll_timeout=LIMIT)
    assert (requests[0].result, len(requests[0].data_updates)) == ("printed", 3)


def test_a_failed_job_has_its_exception(client, serving, queue):
    request = client.submit_job(queue, {"command": "refuse"}, poll_timeout=LIMIT)
    assert (request.state, request.exception) == (JOB_FAILED, "out of paper")
    assert client.submit_job(queue, HELLO, poll_timeout=LIMIT).result == "olleH"


@pytest.mark.parametrize("failures, reason", [("warning", "out of paper"), ("exception", None), ("plain", None)])
def test_without_exceptions_a_failed_job_is_failed(gearmand, connect, queue, run, failures, reason):
    run(GearmanCMD([gearmand.address], failures=failures).register_task(queue, Serving()))
    client = connect(gearmand.address, kind=JSONClient, exceptions=False)
    request = client.submit_job(queue, {"command": "refuse"}, poll_timeout=LIMIT)
    assert (request.state, request.exception) == (JOB_FAILED, reason)


def test_updates_are_kept_with_the_request(client, serving, queue):
    request = client.submit_job(queue, {"command": "report"}, poll_timeout=LIMIT)
    assert list(request.data_updates) == [{"page": page} for page in range(3)]
    assert list(request.warning_updates) == ["paper is low"]
    assert (request.status["numerator"], request.status["denominator"]) == (2, 3)


def test_a_late_answer_disturbs_nobody(client, serving, queue):
    """python-gearman died of it with a KeyError."""
    late = client.submit_job(queue, HOLD, poll_timeout=1)
    assert late.timed_out
    del late
    serving.let_go.set()
    assert [client.submit_job(queue, HELLO, poll_timeout=LIMIT).result for _ in range(3)] == ["olleH"] * 3


def test_a_request_that_nobody_keeps_is_not_kept_by_the_client(client, serving, queue):
    late = client.submit_job(queue, HOLD, wait_until_complete=False, poll_timeout=LIMIT)
    dropped = weakref.ref(late)
    del late
    gc.collect()
    assert dropped() is None


def test_a_request_that_was_reset_can_be_submitted_again(client, serving, queue):
    request = client.submit_job(queue, HELLO, poll_timeout=LIMIT)
    request.reset()
    assert (request.result, request.state) == (None, JOB_UNKNOWN)
    client.submit_multiple_requests([request], poll_timeout=LIMIT)
    assert request.result == "olleH"


@pytest.mark.parametrize("acknowledged", [True, False])
def test_the_answer_to_what_was_reset_is_not_the_answer_to_what_was_submitted_again(connect, acknowledged):
    """A request is reset while its job is under way, or before the server has acknowledged it."""
    results = packet(13, b"H:x:1\0first") + packet(13, b"H:x:2\0second")
    if acknowledged:
        answers = [packet(8, b"H:x:1"), packet(8, b"H:x:2") + results]
    else:
        answers = [b"", packet(8, b"H:x:1") + packet(8, b"H:x:2") + results]
    with Scripted(lambda kind, body: answers.pop(0) if kind == 7 else b"") as scripted:
        client = connect(scripted.address)
        request = client.submit_job(
            "any", "data", wait_until_complete=False, poll_timeout=LIMIT if acknowledged else 0.1
        )
        request.reset()
        client.submit_multiple_requests([request], poll_timeout=LIMIT)
        told = (request.job.handle, request.result)
        assert told == (("H:x:2", "second") if acknowledged else ("H:x:1", "first"))
        assert client.submit_multiple_requests([request], poll_timeout=LIMIT)[0].complete


def test_a_request_of_the_users_own_making(server, connect, work, queue):
    work(server.address, queue, reverse)
    job = GearmanJob(connection=None, handle=None, task=queue, unique="one", data="Hello")
    (request,) = connect(server.address).submit_multiple_requests([GearmanJobRequest(job)], poll_timeout=LIMIT)
    assert request.result == "olleH"


def test_a_background_job(client, server, queue):
    request = client.submit_job(queue, HELLO, background=True)
    assert (request.complete, request.state) == (True, JOB_CREATED)
    assert counts(server, queue)[0] == 1


@pytest.mark.parametrize("background", [False, True])
def test_a_refused_job_is_failed(gearmand, connect, queue, background):
    client = connect(gearmand.address)
    request = client.submit_job(queue, "any", unique="x" * 65, background=background)
    assert (request.state, request.timed_out) == (JOB_FAILED, False)
    assert request.exception.startswith("ARGUMENT_TOO_LARGE")
    assert client.submit_job(queue, "any", background=True).complete


# Data encoders.


class Unreadable(Exception):
    """An error of the user's own."""


def decoder_that_raises(error):
    class Encoder(TextDataEncoder):
        @classmethod
        def decode(cls, decodable_string):
            if b"bad" in decodable_string:
                raise error
            return super().decode(decodable_string)

    return type("Client", (GearmanClient,), {"data_encoder": Encoder})


@pytest.mark.parametrize("error", [ValueError("cut off"), KeyError("cut off"), Unreadable("cut off"), RecursionError()])
def test_a_result_that_cannot_be_decoded_fails_its_request(server, connect, work, queue, error):
    work(server.address, queue, lambda worker, job: job.data)
    client = connect(server.address, kind=decoder_that_raises(error))
    jobs = [{"task": queue, "data": data} for data in ("good", "a bad one", "as good")]
    good, bad, as_good = client.submit_multiple_jobs(jobs, poll_timeout=LIMIT)
    assert (bad.state, bad.result) == (JOB_FAILED, None)
    assert bad.exception.startswith(f"its result cannot be decoded: {type(error).__name__}: {error}")
    assert bad.exception.endswith(": b'a bad one'")
    assert [good.result, as_good.result] == ["good", "as good"]


@pytest.mark.parametrize("error", [ValueError(), KeyError(), Unreadable()])
def test_reports_that_cannot_be_decoded_are_kept_as_text(server, connect, work, queue, error):
    def report(worker, job):
        worker.send_job_data(job, "bad data")
        worker.send_job_warning(job, "bad warning")
        worker.send_job_failure(job)

    work(server.address, queue, report)
    request = connect(server.address, kind=decoder_that_raises(error)).submit_job(queue, "", poll_timeout=LIMIT)
    assert (request.state, request.exception) == (JOB_FAILED, "bad warning")
    assert [*request.data_updates, *request.warning_updates] == ["bad data", "bad warning"]


def test_an_encoder_of_python_2_may_return_str(server, connect, serving, queue):
    class Encoder(gearman.DataEncoder):
        @classmethod
        def encode(cls, encodable_object):
            return json.dumps(encodable_object, ensure_ascii=False)

        @classmethod
        def decode(cls, decodable_string):
            return json.loads(decodable_string)

    class Client(GearmanClient):
        data_encoder = Encoder

    client = connect(server.address, kind=Client)
    assert client.submit_job(queue, {"command": "reverse", "message": "Grüße"}, poll_timeout=LIMIT).result == "eßürG"


@pytest.mark.parametrize("returned", [None, 5])
def test_an_encoder_that_returns_something_else_is_an_error(server, connect, work, queue, returned):
    class Encoder(TextDataEncoder):
        @classmethod
        def encode(cls, encodable_object):
            return returned if encodable_object == "bad" else super().encode(encodable_object)

    class Client(GearmanClient):
        data_encoder = Encoder

    work(server.address, queue, reverse)
    client = connect(server.address, kind=Client)
    with pytest.raises(TypeError, match=f"the data encoder must return bytes or str, not {returned}"):
        client.submit_job(queue, "bad", poll_timeout=LIMIT)
    assert client.submit_job(queue, "good", poll_timeout=LIMIT).result == "doog"


def test_what_an_encoder_raises_reaches_the_caller_and_disturbs_no_other_job(server, connect, work, queue):
    class Encoder(TextDataEncoder):
        @classmethod
        def encode(cls, encodable_object):
            raise Unreadable if encodable_object == "bad" else StopIteration

    client = connect(server.address)
    held = client.submit_job(queue, "held", wait_until_complete=False, poll_timeout=LIMIT)
    client.data_encoder = Encoder
    with pytest.raises(Unreadable):
        client.submit_job(queue, "bad", poll_timeout=LIMIT)
    client.data_encoder = TextDataEncoder
    work(server.address, queue, reverse)
    client.wait_until_jobs_completed([held], poll_timeout=LIMIT)
    assert held.result == "dleh"


# Bad input.


@pytest.mark.parametrize("task", ["", "two\nlines", "nul\0", b"", 5, None, "x" * 512])
def test_a_bad_task_is_an_error(client, task):
    with pytest.raises((TypeError, ValueError), match=r"^task must"):
        client.submit_job(task, "any", poll_timeout=LIMIT)


def test_data_that_is_no_text_is_an_error(server, connect, queue):
    with pytest.raises(TypeError, match=r"expected str or bytes, got {'a': 1}"):
        connect(server.address).submit_job(queue, {"a": 1}, poll_timeout=LIMIT)


def test_a_bad_priority_is_an_error(client, queue):
    with pytest.raises(ValueError, match="priority must be PRIORITY_NONE, PRIORITY_LOW or PRIORITY_HIGH, not 'urgent'"):
        client.submit_job(queue, HELLO, priority="urgent", poll_timeout=LIMIT)


@pytest.mark.parametrize("poll_timeout, error", [("5", TypeError), (float("nan"), ValueError), (True, TypeError)])
def test_a_bad_time_out_is_an_error(client, queue, poll_timeout, error):
    with pytest.raises(error, match=r"^poll_timeout must be"):
        client.submit_job(queue, HELLO, poll_timeout=poll_timeout)


@pytest.mark.parametrize("host_list", ["localhost:4730", [5], ["localhost:port"], [{"port": 4730}]])
def test_a_bad_list_of_servers_is_an_error(host_list):
    with pytest.raises((TypeError, ValueError), match=r"^host_list"):
        GearmanClient(host_list)


def test_python_gearmans_second_argument_is_the_length_of_uniques(server, queue):
    client = GearmanClient([server.address], 4)
    try:
        assert len(client.submit_job(queue, "any", background=True).unique) == 8
    finally:
        client.shutdown()


def test_servers_may_be_added_in_any_form(server, work, connect, queue):
    work(server.address, queue, reverse)
    for form in (server.address, (server.host, server.port), {"host": server.host, "port": server.port}):
        client = connect()
        client.add_connection(form)
        assert client.submit_job(queue, "Hello", poll_timeout=LIMIT).result == "olleH"


# Closing.


def test_a_client_that_was_shut_down_has_no_connections_and_connects_again(gearmand, connect, work, queue):
    client = connect(gearmand.address)
    held = client.submit_job(queue, "held", wait_until_complete=False, poll_timeout=LIMIT)
    lines = len(admin(gearmand, "workers"))
    client.shutdown()
    wait_for(lambda: len(admin(gearmand, "workers")) < lines, "the connection to be closed")
    assert held.state == JOB_UNKNOWN
    work(gearmand.address, queue, reverse)
    assert client.submit_job(queue, "Hello", poll_timeout=LIMIT).result == "olleH"


def test_requests_that_have_ended_keep_their_state_when_the_connection_is_lost(client, serving, queue):
    done = client.submit_job(queue, HELLO, poll_timeout=LIMIT)
    failed = client.submit_job(queue, {"command": "refuse"}, poll_timeout=LIMIT)
    background = client.submit_job(queue, HELLO, background=True, poll_timeout=LIMIT)
    client.shutdown()
    assert [done.state, failed.state, background.state] == [JOB_COMPLETE, JOB_FAILED, JOB_CREATED]
