"""compat's clients where servers are down, lost, mute or back: errors in time, and the next call works."""

from __future__ import annotations

import socket
import threading

import gearman.errors
import pytest
from gearman.constants import JOB_COMPLETE, JOB_CREATED, JOB_PENDING, JOB_UNKNOWN
from gearman.errors import ExceededConnectionAttempts
from gearman.job import GearmanJob, GearmanJobRequest

from gearmancmd import ServerUnavailable
from gearmancmd.compat import GearmanAdminClient, GearmanClient
from gearmancmd.encoder import TextDataEncoder
from tests.support.gearmand import free_port
from tests.support.names import DeadAddress
from tests.support.servers import Scripted, packet
from tests.support.waiting import LIMIT, wait_for

SUBMIT_JOB, GET_STATUS, SUBMIT_JOB_BG = 7, 15, 18


def reverse(worker, job):
    return job.data[::-1]


@pytest.fixture
def mute():
    """A server that takes everything and says nothing."""
    with Scripted(lambda kind, body: b"") as server:
        yield server


def test_no_server_is_gearmans_own_error(connect, queue):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(gearman.errors.ServerUnavailable, match=f"no job server could be reached: {address}: .*refused"):
        connect(address).submit_job(queue, "Hello")
    with pytest.raises(ServerUnavailable, match=f"{address}: .*refused"):
        connect(address, kind=GearmanAdminClient).get_status()


def test_a_client_without_servers_says_so(queue):
    with pytest.raises(ServerUnavailable, match="this client has none"):
        GearmanClient().submit_job(queue, "Hello")


def test_connecting_ends_with_the_time_out(connect, queue):
    """Without it, it takes five seconds; python-gearman waited for two minutes."""
    with DeadAddress() as dead:
        with pytest.raises(ServerUnavailable, match=r"could not be reached within 0\.\d+ s"):
            connect(dead.address).submit_job(queue, "Hello", poll_timeout=0.1)
        with pytest.raises(ServerUnavailable, match=r"could not be reached within 0\.\d+ s"):
            connect(dead.address, kind=GearmanAdminClient, poll_timeout=0.1).ping_server()


def test_looking_up_a_name_ends_with_the_time_out(connect, queue, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: over.wait(LIMIT) and [])
    try:
        with pytest.raises(ServerUnavailable, match=r"somewhere:4730: it could not be reached within 0\.\d+ s"):
            connect("somewhere").submit_job(queue, "Hello", poll_timeout=0.1)
        assert not over.is_set()
    finally:
        over.set()


def test_a_server_that_cannot_be_reached_keeps_no_job_from_the_others(gearmand, connect, work, queue):
    work(gearmand.address, queue, reverse)
    with DeadAddress() as dead:
        client = connect(dead.address, gearmand.address)
        jobs = [{"task": queue, "data": f"{n:02}"} for n in range(40)]
        requests = client.submit_multiple_jobs(jobs, poll_timeout=LIMIT)
        assert [request.result for request in requests] == [f"{n:02}"[::-1] for n in range(40)]


def test_a_mute_server_ends_every_wait(mute, connect, queue):
    client = connect(mute.address)
    request = client.submit_job(queue, "Hello", poll_timeout=1)
    assert (request.timed_out, request.complete, request.state) == (True, False, JOB_PENDING)
    assert client.wait_until_jobs_completed([request], poll_timeout=0.1)[0].timed_out
    assert client.submit_multiple_requests([request], poll_timeout=0.1)[0].timed_out
    background = client.submit_job(queue, "Hello", background=True, poll_timeout=0.1)
    assert (background.timed_out, background.complete) == (True, False)
    request.job.handle = "H:x:1"
    assert client.get_job_status(request, poll_timeout=0.1).timed_out


def test_a_server_that_answers_too_late_is_no_trouble(connect, queue):
    more = threading.Event()

    def answer(kind, body):
        assert more.wait(LIMIT)
        return packet(8, b"H:x:1") + packet(13, b"H:x:1\0done") if kind == SUBMIT_JOB else b""

    with Scripted(answer) as server:
        client = connect(server.address)
        request = client.submit_job(queue, "Hello", poll_timeout=1)
        assert request.timed_out
        more.set()
        client.wait_until_jobs_completed([request], poll_timeout=LIMIT)
        assert (request.result, request.timed_out) == ("done", False)


def test_the_last_server_that_is_lost_is_an_error(own_gearmand, connect, queue):
    client = connect(own_gearmand.address)
    request = client.submit_job(queue, "Hello", wait_until_complete=False, poll_timeout=LIMIT)
    own_gearmand.stop()
    with pytest.raises(ServerUnavailable, match=own_gearmand.address):
        client.wait_until_jobs_completed([request], poll_timeout=LIMIT)
    assert (request.state, request.complete) == (JOB_UNKNOWN, False)


def test_the_jobs_of_a_lost_server_are_unknown_and_can_be_submitted_again(gearmand, own_gearmand, connect, work, queue):
    client = connect(own_gearmand.address, gearmand.address)
    jobs = [{"task": queue, "data": f"{n:02}"} for n in range(12)]
    requests = client.submit_multiple_jobs(jobs, wait_until_complete=False, poll_timeout=LIMIT)
    own_gearmand.stop()
    work(gearmand.address, queue, reverse)
    client.wait_until_jobs_completed(requests, poll_timeout=LIMIT)
    lost = [request for request in requests if request.state == JOB_UNKNOWN]
    assert all(request.state == JOB_COMPLETE for request in requests if request not in lost)
    client.submit_multiple_requests(lost, poll_timeout=LIMIT)
    assert [request.result for request in requests] == [f"{n:02}"[::-1] for n in range(12)]


def test_nothing_to_wait_for_needs_no_server(own_gearmand, connect, work, queue):
    work(own_gearmand.address, queue, reverse)
    client = connect(own_gearmand.address)
    request = client.submit_job(queue, "Hello", poll_timeout=LIMIT)
    own_gearmand.stop()
    client.shutdown()
    assert client.wait_until_jobs_completed([request], poll_timeout=LIMIT)[0].result == "olleH"
    assert client.wait_until_jobs_completed([]) == client.submit_multiple_requests([]) == []


def test_a_server_that_comes_back_is_connected_to_again(own_gearmand, connect, work, queue):
    work(own_gearmand.address, queue, reverse)
    client = connect(own_gearmand.address)
    admin_client = connect(own_gearmand.address, kind=GearmanAdminClient)
    request = client.submit_job(queue, "Hello", poll_timeout=LIMIT)
    admin_client.get_status()
    own_gearmand.stop()
    for call in (client.submit_job, lambda *_, **__: admin_client.get_status()):
        with pytest.raises(ServerUnavailable):
            call(queue, "Hello", poll_timeout=LIMIT)
    with pytest.raises(ServerUnavailable, match=f"no status of job {request.job.handle}"):
        client.get_job_status(request, poll_timeout=LIMIT)
    own_gearmand.start()
    assert client.get_job_status(request, poll_timeout=LIMIT).status["known"] is False
    assert client.submit_job(queue, "Hello", poll_timeout=LIMIT).result == "olleH"
    wait_for(lambda: admin_client.get_status(), "the worker to be back")


def test_a_job_goes_on_to_another_server(gearmand, own_gearmand, connect, work, queue):
    work(gearmand.address, queue, reverse)
    client = connect(own_gearmand.address)
    client.add_connection(gearmand.address)
    own_gearmand.stop()
    assert [client.submit_job(queue, "Hello", poll_timeout=LIMIT).result for _ in range(4)] == ["olleH"] * 4


def failing_first(failures):
    """A server that hangs up on that many submissions, and does the next ones."""
    left = [None] * failures

    def answer(kind, body):
        if kind != SUBMIT_JOB:
            return b""
        return left.pop() if left else packet(8, b"H:x:1") + packet(13, b"H:x:1\0done")

    return Scripted(answer)


def test_a_job_that_was_not_accepted_is_tried_again_as_often_as_max_retries_says(connect, queue):
    with failing_first(2) as server:
        client = connect(server.address)
        request = client.submit_job(queue, "Hello", max_retries=2, poll_timeout=LIMIT)
        assert (request.result, request.connection_attempts) == ("done", 3)


def test_it_is_tried_again_at_another_server(gearmand, connect, work, queue):
    work(gearmand.address, queue, reverse)
    with Scripted(lambda kind, body: None if kind == SUBMIT_JOB else b"") as server:
        client = connect(server.address, gearmand.address)
        jobs = [{"task": queue, "data": f"{n:02}"} for n in range(40)]
        requests = client.submit_multiple_jobs(jobs, max_retries=1, poll_timeout=LIMIT)
        assert [request.result for request in requests] == [f"{n:02}"[::-1] for n in range(40)]
        assert any(request.connection_attempts == 2 for request in requests)


@pytest.mark.parametrize("max_retries", [0, 2])
def test_one_failure_more_is_an_error(connect, queue, max_retries):
    with failing_first(max_retries + 1) as server:
        client = connect(server.address)
        with pytest.raises(ExceededConnectionAttempts, match=f"Exceeded {max_retries + 1} connection"):
            client.submit_job(queue, "Hello", max_retries=max_retries, poll_timeout=LIMIT)
        assert client.submit_job(queue, "Hello", poll_timeout=LIMIT).result == "done"


def test_the_status_of_a_job_whose_server_is_lost_meanwhile_is_an_error(gearmand, connect, queue):
    """Though another server is connected."""
    answers = {SUBMIT_JOB_BG: packet(8, b"H:x:1"), GET_STATUS: None}
    with Scripted(lambda kind, body: answers.get(kind, b"")) as lost:
        client = connect(lost.address)
        request = client.submit_job(queue, "Hello", background=True, poll_timeout=LIMIT)
        client.establish_connection(client.add_connection(gearmand.address))
        with pytest.raises(ServerUnavailable, match="the server of job H:x:1 was lost before it told its status"):
            client.get_job_status(request, poll_timeout=LIMIT)
        assert request.state == JOB_CREATED


def test_what_is_not_a_job_server_is_an_error(queue, connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(
            ExceededConnectionAttempts, match=r"expected a response of a job server, got b'HTTP/1.1 400"
        ):
            connect(f"127.0.0.1:{listener.getsockname()[1]}").submit_job(queue, "Hello", poll_timeout=LIMIT)
        thread.join(LIMIT)


def test_ctrl_c_while_a_result_is_decoded_costs_that_connection_only(server, connect, work, queue):
    """Nobody knows how far the packet was handled, so its connection is made anew."""

    class Encoder(TextDataEncoder):
        struck = False

        @classmethod
        def decode(cls, decodable_string):
            if not cls.struck:
                cls.struck = True
                raise KeyboardInterrupt
            return super().decode(decodable_string)

    class Client(GearmanClient):
        data_encoder = Encoder

    work(server.address, queue, reverse)
    client = connect(server.address, kind=Client)
    request = GearmanJobRequest(GearmanJob(None, None, queue, "one", "Hello"))
    with pytest.raises(KeyboardInterrupt):
        client.submit_multiple_requests([request], poll_timeout=LIMIT)
    assert client.submit_job(queue, "again", poll_timeout=LIMIT).result == "niaga"
    assert request.state == JOB_UNKNOWN
