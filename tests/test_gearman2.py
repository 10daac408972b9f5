"""The API of python-gearman 2.x's GearmanClient, as its users know it."""

from __future__ import annotations

import gearman
import gearman.errors
import pytest
from gearman.constants import JOB_COMPLETE, JOB_CREATED, JOB_FAILED, PRIORITY_HIGH

from gearmancmd import GearmanCMD, JSONGearmanClient, ServerUnavailable
from tests.gearmand import counts, free_port
from tests.serving import Serving
from tests.waiting import LIMIT, wait_for

HELLO = {"command": "reverse", "message": "Hello"}
HOLD = {"command": "hold"}


@pytest.fixture
def serving(server, queue, run):
    target = Serving()
    for _ in range(2):
        run(GearmanCMD([server.address]).register_task(queue, target))
    yield target
    target.let_go.set()


@pytest.fixture
def client(server):
    with JSONGearmanClient([server.address]) as client:
        yield client


def test_it_is_a_gearman_client(client):
    assert isinstance(client, gearman.GearmanClient)


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


def test_jobs_with_one_unique_all_end(gearmand, queue, run):
    with JSONGearmanClient([gearmand.address]) as client:
        jobs = [{"task": queue, "data": {"command": "report"}, "unique": "one"}] * 3
        requests = client.submit_multiple_jobs(jobs, wait_until_complete=False)
        run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
        client.wait_until_jobs_completed(requests, poll_timeout=LIMIT)
        assert len({request.job.handle for request in requests}) == 1
        assert [request.result for request in requests] == ["printed"] * 3
        assert [len(request.data_updates) for request in requests] == [3, 3, 3]


def test_a_failed_job_has_its_exception(client, serving, queue):
    request = client.submit_job(queue, {"command": "refuse"}, poll_timeout=LIMIT)
    assert (request.state, request.exception) == (JOB_FAILED, "out of paper")
    assert client.submit_job(queue, HELLO, poll_timeout=LIMIT).result == "olleH"


def test_without_exceptions_a_failed_job_is_failed(gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    with JSONGearmanClient([gearmand.address], exceptions=False) as client:
        request = client.submit_job(queue, {"command": "refuse"}, poll_timeout=LIMIT)
        assert (request.state, request.exception) == (JOB_FAILED, None)


def test_updates_are_kept_with_the_request(client, serving, queue):
    request = client.submit_job(queue, {"command": "report"}, poll_timeout=LIMIT)
    assert list(request.data_updates) == [{"page": page} for page in range(3)]
    assert list(request.warning_updates) == ["paper is low"]
    assert (request.status["numerator"], request.status["denominator"]) == (2, 3)


def test_a_late_answer_disturbs_nobody(client, serving, queue):
    """python-gearman died of it with a KeyError."""
    late = client.submit_job(queue, HOLD, poll_timeout=0.1)
    assert late.timed_out
    del late
    serving.let_go.set()
    assert [client.submit_job(queue, HELLO, poll_timeout=LIMIT).result for _ in range(3)] == ["olleH"] * 3


def test_a_status_can_be_asked_for(client, serving, queue):
    request = client.submit_job(queue, HOLD, wait_until_complete=False)
    assert request.state == JOB_CREATED
    wait_for(lambda: client.get_job_status(request, poll_timeout=LIMIT).status["running"], "the job to run")
    assert request.status["known"] is True
    serving.let_go.set()
    client.wait_until_jobs_completed([request], poll_timeout=LIMIT)
    assert request.complete
    assert client.get_job_status(request, poll_timeout=LIMIT).status["known"] is False


def test_a_background_job(client, server, queue):
    request = client.submit_job(queue, HELLO, background=True)
    assert request.complete
    assert counts(server, queue)[0] == 1


def test_a_refused_job_is_failed(own_gearmand, queue):
    with JSONGearmanClient([own_gearmand.address]) as client:
        request = client.submit_job(queue, HELLO, unique="x" * 65, wait_until_complete=False, poll_timeout=LIMIT)
        assert request.state == JOB_FAILED
        assert request.exception.startswith("ARGUMENT_TOO_LARGE")
        assert client.submit_job(queue, HELLO, background=True).complete


def test_no_server_is_gearmans_own_error(queue):
    with JSONGearmanClient([f"127.0.0.1:{free_port()}"]) as client, pytest.raises(gearman.errors.ServerUnavailable):
        client.submit_job(queue, HELLO)


def test_a_server_that_was_restarted_between_two_jobs_is_no_error(own_gearmand, queue, run):
    run(GearmanCMD([own_gearmand.address]).register_task(queue, Serving()))
    with JSONGearmanClient([own_gearmand.address]) as client:
        request = client.submit_job(queue, HELLO, poll_timeout=LIMIT)
        own_gearmand.stop()
        with pytest.raises(ServerUnavailable):
            client.get_job_status(request, poll_timeout=LIMIT)
            client.get_job_status(request, poll_timeout=LIMIT)
        own_gearmand.start()
        assert client.submit_job(queue, HELLO, poll_timeout=LIMIT).result == "olleH"


def test_a_job_goes_on_to_another_server(gearmand, own_gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    with JSONGearmanClient([own_gearmand.address]) as client:
        client.add_connection(gearmand.address)
        own_gearmand.stop()
        assert [client.submit_job(queue, HELLO, poll_timeout=LIMIT).result for _ in range(4)] == ["olleH"] * 4
        client.shutdown()
