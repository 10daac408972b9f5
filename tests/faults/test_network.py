"""Connections that end at any byte, and servers that say the same without end or speak TLS where nobody does."""

from __future__ import annotations

import contextlib
import json
import logging

import pytest

from gearmancmd import GearmanCMD, JobTimeout, JSONGearmanClient, ServerUnavailable
from tests.support.killing import Numbered, task
from tests.support.proxy import Proxy
from tests.support.servers import LastWords, Scripted, assignment, packet
from tests.support.tls import tls_for
from tests.support.waiting import LIMIT, wait_for

NOOP, SUBMIT_JOB, JOB_CREATED, NO_JOB, WORK_COMPLETE, GRAB_JOB_UNIQ = 6, 7, 8, 10, 13, 30


def cut_at(words: bytes, offset: int, reset: bool) -> LastWords:
    """The first `offset` bytes of what a server says, and the end of the connection."""
    last = LastWords(words[:offset])
    last.reset = reset
    return last


def assigning(*answers: bytes) -> Scripted:
    """A server that answers each GRAB_JOB_UNIQ with the next of the `answers`, and has no more jobs then."""
    left = iter(answers)
    return Scripted(lambda kind, body: next(left, packet(NO_JOB)) if kind == GRAB_JOB_UNIQ else b"")


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_a_job_that_is_cut_at_any_byte_is_done_once_it_comes_whole(queue, run, reset):
    jobs = [assignment(1, queue, task(offset)) for offset in range(100)]
    jobs = [job for offset, job in enumerate(jobs) if offset < len(job)]
    target = Numbered()
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(assigning(cut_at(job, offset, reset), job)) for offset, job in enumerate(jobs)]
        running = run(GearmanCMD([each.address for each in servers]).register_task(queue, target))
        for number, server in enumerate(servers):
            answer = (WORK_COMPLETE, b"H:x:1\0%d" % -number)
            wait_for(
                lambda server=server, answer=answer: answer in server.requests, f"the job that was cut at {number}"
            )
    assert sorted(target.done) == list(range(len(jobs)))
    assert running.error is None


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_an_answer_that_is_cut_at_any_byte_is_an_error_and_the_client_works_on(queue, reset):
    answer = packet(JOB_CREATED, b"H:x:1") + packet(WORK_COMPLETE, b"H:x:1\0" + json.dumps("done").encode())
    answers = iter([words for offset in range(len(answer)) for words in (cut_at(answer, offset, reset), answer)])
    submissions = []

    def say(kind, body):
        if kind != SUBMIT_JOB:
            return b""
        submissions.append(body)
        return next(answers)

    with Scripted(say) as server, JSONGearmanClient([server.address], timeout=LIMIT) as client:
        for _ in range(len(answer)):
            with pytest.raises(ServerUnavailable):
                client.call(queue, task(1))
            assert client.call(queue, task(1)) == "done"
    assert len(submissions) == 2 * len(answer)


@pytest.mark.parametrize("kind", [NOOP, NO_JOB], ids=["NOOP", "NO_JOB"])
def test_a_flood_of_packets_that_say_nothing_is_read_past_and_not_logged(queue, run, caplog, kind):
    flood = packet(kind) * 20_000 + packet(NO_JOB) + packet(NOOP)
    with assigning(flood, assignment(1, queue, task(1))) as server, caplog.at_level(logging.INFO, "gearmancmd"):
        running = run(GearmanCMD([server.address]).register_task(queue, Numbered()))
        wait_for(lambda: (WORK_COMPLETE, b"H:x:1\0-1") in server.requests, "the job behind the flood")
    assert running.error is None
    assert len(caplog.records) < 10


def test_plain_connections_to_a_server_that_speaks_tls_keep_nobody_from_work(gearmand, queue, run, authority, caplog):
    with Proxy(gearmand, tls=tls_for(authority, "localhost")) as proxy:
        with caplog.at_level(logging.WARNING, "gearmancmd"):
            running = run(GearmanCMD([proxy.address, gearmand.address]).register_task(queue, Numbered()))
            wait_for(lambda: proxy.connections > 1, "a second attempt")
            with JSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
                assert client.call(queue, task(1)) == -1
        assert len([line for line in caplog.messages if proxy.address in line]) == 1
        with JSONGearmanClient([proxy.address], timeout=LIMIT) as client, pytest.raises(ServerUnavailable):
            client.call(queue, task(1))
    assert running.error is None


def test_connections_that_pass_nothing_on_keep_no_other_servers_jobs_and_are_used_again(
    gearmand, own_gearmand, queue, run
):
    target = Numbered()
    with Proxy(own_gearmand) as proxy, contextlib.ExitStack() as stack:
        held, other = [
            stack.enter_context(JSONGearmanClient([each.address], timeout=LIMIT)) for each in (proxy, gearmand)
        ]
        for _ in held.submit_many(queue, map(task, range(1, 2000))):
            pass
        running = run(GearmanCMD([proxy.address, gearmand.address]).register_task(queue, target))
        wait_for(lambda: len(target.done) > 100, "some jobs to be done")
        proxy.hold()  # on the way there is a request for a job, which is not answered
        assert [other.call(queue, task(-number)) for number in range(50)] == list(range(50))
        with pytest.raises(JobTimeout):
            held.call(queue, task(2000), timeout=1)
        proxy.flow()
        assert held.call(queue, task(0)) == 0
        wait_for(lambda: set(range(1, 2000)) <= set(target.done), "all jobs to be done")
    assert running.error is None
