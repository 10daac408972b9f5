"""Whom compat.GearmanClient tells the status of a job: the request that asked, whatever else arrives meanwhile."""

from __future__ import annotations

import gearman
import pytest
from gearman.constants import JOB_CREATED
from gearman.job import GearmanJob, GearmanJobRequest

from gearmancmd import GearmanCMD
from gearmancmd.compat import GearmanClient
from tests.compat.conftest import JSONClient
from tests.support.queues import Serving
from tests.support.servers import Scripted, packet
from tests.support.waiting import LIMIT, wait_for

SUBMIT_JOB, GET_STATUS = 7, 15
CREATED = packet(8, b"H:x:1")
REPORTS = {
    "status": packet(12, b"H:x:1\0" + b"7\0" + b"8"),
    "data": packet(28, b"H:x:1\0page"),
    "warning": packet(29, b"H:x:1\0paper is low"),
    "complete": packet(13, b"H:x:1\0printed"),
    "fail": packet(14, b"H:x:1"),
}


def told(known=1, running=1, numerator=3, denominator=9, handle="H:x:1"):
    return packet(20, f"{handle}\0{known}\0{running}\0{numerator}\0{denominator}".encode())


def asked_by(connection, handle="H:x:1"):
    """A request of the user's own making, for a job that somebody else submitted."""
    return GearmanJobRequest(GearmanJob(connection, handle, "any", None, None))


def figures(request):
    return request.status["numerator"], request.status["denominator"]


@pytest.fixture
def held(server, queue, run):
    """A queue whose `hold` waits for the end of the test."""
    target = Serving()
    run(GearmanCMD([server.address]).register_task(queue, target))
    yield target
    target.let_go.set()


def test_a_status_can_be_asked_for(client, held, queue):
    request = client.submit_job(queue, {"command": "hold"}, wait_until_complete=False)
    assert request.state == JOB_CREATED
    wait_for(lambda: client.get_job_status(request, poll_timeout=LIMIT).status["running"], "the job to run")
    assert request.status["known"] is True
    assert request.status["handle"] == request.job.handle
    held.let_go.set()
    client.wait_until_jobs_completed([request], poll_timeout=LIMIT)
    assert request.complete
    assert client.get_job_status(request, poll_timeout=LIMIT).status["known"] is False
    assert request.complete


def test_a_waiting_job_is_known_and_does_not_run(client, queue):
    request = client.submit_job(queue, {"command": "hold"}, background=True, poll_timeout=LIMIT)
    status = client.get_job_status(request, poll_timeout=LIMIT).status
    assert (status["known"], status["running"]) == (True, False)


def test_the_status_of_a_job_that_another_client_submitted(server, client, connect, held, queue):
    request = connect(server.address, kind=JSONClient).submit_job(queue, {"command": "hold"}, wait_until_complete=False)
    other = asked_by(client.connection_list[0], request.job.handle)
    wait_for(lambda: client.get_job_status(other, poll_timeout=LIMIT).status["running"], "the job to run")
    assert client.get_job_status(request, poll_timeout=LIMIT).status["running"]


def test_the_status_of_a_job_that_gearmans_own_client_submitted(server, client, queue):
    connection = gearman.GearmanClient([server.address]).connection_list[0]
    request = client.submit_job(queue, {"command": "hold"}, background=True, poll_timeout=LIMIT)
    assert client.get_job_status(asked_by(connection, request.job.handle), poll_timeout=LIMIT).status["known"]


def test_a_handle_may_be_bytes(client, queue):
    request = client.submit_job(queue, {"command": "hold"}, background=True, poll_timeout=LIMIT)
    other = asked_by(client.connection_list[0], request.job.handle.encode())
    assert client.get_job_status(other, poll_timeout=LIMIT).status["known"]


def test_several_requests_for_several_jobs(client, queue):
    requests = [client.submit_job(queue, {"command": "hold"}, background=True, poll_timeout=LIMIT) for _ in range(3)]
    unknown = asked_by(client.connection_list[0], "H:nowhere:1")
    others = [asked_by(client.connection_list[0], request.job.handle) for request in requests]
    asked = client.get_job_statuses([*requests, unknown, *others, requests[0]], poll_timeout=LIMIT)
    assert [request.status["known"] for request in asked] == [True] * 3 + [False] + [True] * 4
    assert not any(request.timed_out for request in asked)


@pytest.mark.parametrize("report", REPORTS)
def test_a_second_request_for_the_handle_is_told_when_a_report_comes_in_between(report):
    def answer(kind, body):
        return {SUBMIT_JOB: CREATED, GET_STATUS: REPORTS[report] + told()}.get(kind, b"")

    with Scripted(answer) as server:
        client = GearmanClient([server.address])
        first = client.submit_job("any", "data", wait_until_complete=False, poll_timeout=LIMIT)
        second = client.get_job_status(asked_by(first.job.connection), poll_timeout=LIMIT)
        assert not second.timed_out
        assert figures(second) == (3, 9)
        assert list(second.data_updates) == list(second.warning_updates) == []
        seen = {"status": first.status.get("numerator") == 7, "data": list(first.data_updates) == ["page"]}
        seen |= {"warning": list(first.warning_updates) == ["paper is low"], "complete": first.result == "printed"}
        seen["fail"] = first.state == "FAILED"
        assert [name for name in seen if seen[name]] == [report]
        client.shutdown()


def test_a_report_of_the_worker_is_not_the_answer():
    """It says nothing of whether the job is known still, and the answer behind it would be taken for the next one."""
    answers = iter([REPORTS["status"] + told(), told(known=0, running=0, numerator=0, denominator=0)])

    def answer(kind, body):
        return CREATED if kind == SUBMIT_JOB else next(answers) if kind == GET_STATUS else b""

    with Scripted(answer) as server:
        client = GearmanClient([server.address])
        request = client.submit_job("any", "data", wait_until_complete=False, poll_timeout=LIMIT)
        assert figures(client.get_job_status(request, poll_timeout=LIMIT)) == (3, 9)
        assert client.get_job_status(request, poll_timeout=LIMIT).status["known"] is False
        client.shutdown()


@pytest.mark.parametrize("same", [True, False], ids=["of the same request", "of another request"])
def test_a_late_answer_is_not_the_answer_to_the_next_question(same):
    """The first question is answered with the second one only."""
    answers = iter([b"", told() + told(known=0, running=0, numerator=0, denominator=0)])

    def answer(kind, body):
        return CREATED if kind == SUBMIT_JOB else next(answers) if kind == GET_STATUS else b""

    with Scripted(answer) as server:
        client = GearmanClient([server.address])
        first = client.submit_job("any", "data", wait_until_complete=False, poll_timeout=LIMIT)
        assert client.get_job_status(first, poll_timeout=0.1).timed_out
        second = first if same else asked_by(first.job.connection)
        assert client.get_job_status(second, poll_timeout=LIMIT).status["known"] is False
        assert not second.timed_out
        client.shutdown()


@pytest.mark.parametrize("request_of", [lambda client: None, lambda client: GearmanClient(["no.such.host"])])
def test_a_job_of_no_server_of_the_client_is_an_error(client, request_of):
    other = request_of(client)
    request = asked_by(other and other.connection_list[0])
    with pytest.raises(ValueError, match="the connection of job H:x:1 must be to a server of this client, not"):
        client.get_job_status(request, poll_timeout=LIMIT)


def test_a_job_without_a_handle_has_no_status(client):
    with pytest.raises(ValueError, match="a job without a handle has no status"):
        client.get_job_status(asked_by(client.connection_list[0], None), poll_timeout=LIMIT)
