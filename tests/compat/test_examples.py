"""The examples of python-gearman's documentation, each with `gearman.GearmanClient` and `gearman.GearmanAdminClient`
replaced and nothing else; Python 2 spellings took their forms of today.
"""

from __future__ import annotations

import pickle
import re
import subprocess
import sys

import gearman
import pytest
from gearman.constants import JOB_UNKNOWN

import gearmancmd.compat
from gearmancmd import CommandError, GearmanCMD, JobFailed
from tests.support.blocks import blocks_of
from tests.support.gearmand import counts
from tests.support.queues import Serving
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ENVIRONMENT, ROOT


@pytest.fixture
def task_name(server, queue, work):
    work(server.address, queue, lambda worker, job: job.data[::-1])
    return queue


@pytest.fixture
def other_task(server, queue, work):
    work(server.address, f"{queue}-other", lambda worker, job: job.data.upper())
    return f"{queue}-other"


@pytest.fixture
def gm_client(server):
    client = gearmancmd.compat.GearmanClient([server.address])
    yield client
    client.shutdown()


@pytest.fixture
def gm_admin_client(server):
    client = gearmancmd.compat.GearmanAdminClient([server.address])
    yield client
    client.shutdown()


def check_request_status(job_request):
    """The function "available to all examples"; it returns what that one printed."""
    if job_request.complete:
        return f"Job {job_request.job.unique} finished!  Result: {job_request.state} - {job_request.result}"
    elif job_request.timed_out:
        return f"Job {job_request.unique} timed out!"
    elif job_request.state == JOB_UNKNOWN:
        return f"Job {job_request.unique} connection failed!"


def test_sending_a_simple_job_as_a_blocking_call(gm_client, task_name):
    completed_job_request = gm_client.submit_job(task_name, "arbitrary binary data")
    assert check_request_status(completed_job_request).endswith("finished!  Result: COMPLETE - atad yranib yrartibra")


def test_sending_a_high_priority_background_blocking_call(gm_client, server, queue):
    submitted_job_request = gm_client.submit_job(
        queue, "arbitrary binary data", priority=gearman.PRIORITY_HIGH, background=True
    )
    assert check_request_status(submitted_job_request).endswith("finished!  Result: CREATED - None")
    assert counts(server, queue)[0] == 1


def test_sending_multiple_jobs_all_at_once_and_behave_like_a_non_blocking_call(gm_client, task_name, other_task):
    list_of_jobs = [{"task": task_name, "data": "binary data"}, {"task": other_task, "data": "other binary data"}]
    submitted_requests = gm_client.submit_multiple_jobs(list_of_jobs, background=False, wait_until_complete=False)

    # Once we know our jobs are accepted, we can do other stuff and wait for results later in the function

    completed_requests = gm_client.wait_until_jobs_completed(submitted_requests, poll_timeout=LIMIT)
    told = [check_request_status(completed_job_request) for completed_job_request in completed_requests]
    assert [line.partition(" finished!  ")[2] for line in told] == [
        "Result: COMPLETE - atad yranib",
        "Result: COMPLETE - OTHER BINARY DATA",
    ]


def test_a_job_that_is_not_done_in_time(gm_client, queue):
    """The second branch of check_request_status()."""
    request = gm_client.submit_job(queue, "nobody works on it", unique="mine", poll_timeout=1)
    assert check_request_status(request) == "Job mine timed out!"


def test_recovering_from_failed_connections(server, connect, own_gearmand, task_name, other_task):
    gm_client = connect(own_gearmand.address)
    list_of_jobs = [
        {"task": task_name, "data": "task binary string"},
        {"task": other_task, "data": "other binary string"},
    ]
    failed_requests = gm_client.submit_multiple_jobs(list_of_jobs, background=False, wait_until_complete=False)

    # Let's pretend our assigned requests' Gearman servers all failed
    own_gearmand.stop()
    gm_client.establish_connection(gm_client.add_connection(server.address))
    gm_client.wait_until_jobs_completed(failed_requests, poll_timeout=LIMIT)
    assert all(request.state == JOB_UNKNOWN for request in failed_requests), "All connections didn't fail!"

    # Let's pretend our assigned requests' don't fail but some simply timeout
    retried_requests = gm_client.submit_multiple_requests(
        failed_requests, wait_until_complete=True, poll_timeout=LIMIT / 2
    )
    timed_out_requests = [job_request for job_request in retried_requests if job_request.timed_out]

    # For our timed out requests, lets wait a little longer until they're complete
    gm_client.submit_multiple_requests(timed_out_requests, wait_until_complete=True, poll_timeout=LIMIT)
    assert [request.result for request in retried_requests] == ["gnirts yranib ksat", "OTHER BINARY STRING"]


def test_requests_that_timed_out_are_waited_for_a_little_longer(gm_client, server, queue, work):
    """The same example's other half."""
    (request,) = gm_client.submit_multiple_jobs([{"task": queue, "data": "late"}], poll_timeout=1)
    assert request.timed_out
    work(server.address, queue, lambda worker, job: job.data[::-1])
    gm_client.submit_multiple_requests([request], wait_until_complete=True, poll_timeout=LIMIT)
    assert (request.result, request.timed_out) == ("etal", False)


def test_wait_until_jobs_accepted(gm_client, queue):
    job = gearman.job.GearmanJob(connection=None, handle=None, task=queue, unique="one", data="any")
    requests = [gearman.job.GearmanJobRequest(job, initial_priority=gearman.PRIORITY_LOW, background=True)]
    assert gm_client.wait_until_jobs_accepted(requests, poll_timeout=LIMIT)[0].state == gearman.JOB_CREATED


def test_retrieving_job_status(gm_client, queue):
    requests = [gm_client.submit_job(queue, "any", background=True) for _ in range(2)]
    assert gm_client.get_job_status(requests[0]).status["known"] is True
    assert [request.status["running"] for request in gm_client.get_job_statuses(requests)] == [False, False]


class PickleDataEncoder(gearman.DataEncoder):
    @classmethod
    def encode(cls, encodable_object):
        return pickle.dumps(encodable_object)

    @classmethod
    def decode(cls, decodable_string):
        return pickle.loads(decodable_string)


class PickleExampleClient(gearmancmd.compat.GearmanClient):
    data_encoder = PickleDataEncoder


class PickleExampleWorker(gearmancmd.GearmanWorker):
    data_encoder = PickleDataEncoder


def test_sending_and_receiving_python_objects(server, connect, queue, work):
    work(server.address, queue, lambda worker, job: {"had": job.data}, kind=PickleExampleWorker)
    gm_client = connect(server.address, kind=PickleExampleClient)
    assert gm_client.submit_job(queue, {1, (2, 3)}).result == {"had": {1, (2, 3)}}


def test_in_flight_updates(gm_client, server, queue, work):
    def report(worker, job):
        worker.send_job_status(job, 1, 4)
        worker.send_job_data(job, "page")
        worker.send_job_warning(job, "paper is low")
        return "printed"

    work(server.address, queue, report)
    request = gm_client.submit_job(queue, "any")
    assert (list(request.data_updates), list(request.warning_updates)) == (["page"], ["paper is low"])
    status = {name: request.status[name] for name in ("handle", "known", "running", "numerator", "denominator")}
    handle = request.job.handle
    assert status == {"handle": handle, "known": True, "running": True, "numerator": 1, "denominator": 4}
    assert isinstance(request.status["time_received"], float)


def test_an_exception_of_the_worker(gm_client, server, queue, work):
    def refuse(worker, job):
        raise CommandError("out of paper")

    work(server.address, queue, refuse)
    request = gm_client.submit_job(queue, "any")
    assert (request.state, request.exception) == (gearman.JOB_FAILED, "out of paper")
    assert not isinstance(request.exception, JobFailed)


def test_jobs_with_the_same_unique_are_one_job(gearmand, connect, queue):
    gm_client = connect(gearmand.address)
    requests = [gm_client.submit_job(queue, "any", unique="same", background=True) for _ in range(3)]
    assert len({request.job.handle for request in requests}) == 1
    assert counts(gearmand, queue)[0] == 1


# The admin client: "Checking server state" and "Checking server response time".


def test_get_status(gm_admin_client, task_name):
    (row,) = wait_for(lambda: [row for row in gm_admin_client.get_status() if row["task"] == task_name], "the worker")
    assert row == {"task": task_name, "queued": 0, "running": 0, "workers": 1}


def test_get_workers(gm_admin_client, task_name):
    (row,) = wait_for(lambda: [row for row in gm_admin_client.get_workers() if task_name in row["tasks"]], "the worker")
    assert row == {**row, "ip": "127.0.0.1", "client_id": "-", "tasks": (task_name,)}
    assert row["file_descriptor"].isdigit()


def test_get_version(gearmand, connect):
    version = connect(gearmand.address, kind=gearmancmd.compat.GearmanAdminClient).get_version()
    assert version[0].isdigit()
    assert "." in version


def test_send_maxqueue(gearmand, connect, queue):
    client = connect(gearmand.address)
    client.submit_job(queue, "first", background=True)
    assert connect(gearmand.address, kind=gearmancmd.compat.GearmanAdminClient).send_maxqueue(queue, 1) == "OK"
    request = client.submit_job(queue, "one too many", background=True)
    assert (request.state, request.exception.partition(":")[0]) == (gearman.JOB_FAILED, "QUEUE_ERROR")


def test_ping_server(gearmand, connect):
    response_time = connect(gearmand.address, kind=gearmancmd.compat.GearmanAdminClient).ping_server()
    assert 0 <= response_time < LIMIT


# Our own page of the documentation.


def test_the_blocks_of_our_documentation(server, queue, work, run):
    work(server.address, f"text-{queue}", lambda worker, job: job.data[::-1])
    run(GearmanCMD([server.address]).register_task(f"queue-{queue}", Serving()))
    printed = []
    for block in blocks_of(ROOT / "docs" / "compat.md"):
        source = re.sub(r'"(text|queue)",', rf'"\1-{queue}",', block.replace("localhost:4730", server.address))
        done = subprocess.run(
            [sys.executable, "-c", source], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines())
    assert printed[0][0] == "COMPLETE olleH"
    assert f"text-{queue} 0" in printed[0]
    assert printed[1] == ["olleH"]
