"""What a server owes a client, packet by packet."""

from __future__ import annotations

import pytest
from gearman import protocol as packets

from gearmancmd import JSONDataEncoder
from gearmancmd.errors import JobFailed, ServerUnavailable
from gearmancmd.inflight import Event, Inflight, JobStatus, Pending, StatusQuery
from gearmancmd.outcome import Listeners, result_of, said

CREATED = packets.GEARMAN_COMMAND_JOB_CREATED
COMPLETE = packets.GEARMAN_COMMAND_WORK_COMPLETE
FAIL = packets.GEARMAN_COMMAND_WORK_FAIL
ERROR = packets.GEARMAN_COMMAND_ERROR
DATA = packets.GEARMAN_COMMAND_WORK_DATA
STATUS = packets.GEARMAN_COMMAND_WORK_STATUS
STATUS_RES = packets.GEARMAN_COMMAND_STATUS_RES


@pytest.fixture
def inflight():
    return Inflight("server:4730")


def submitted(inflight, *handles):
    jobs = [Pending(f"unique of {handle}", background=False) for handle in handles]
    assert inflight.submit(jobs, b"their packets") == b"their packets"
    inflight.receive([(CREATED, [handle]) for handle in handles])
    return jobs


def test_jobs_are_acknowledged_in_the_order_of_submitting(inflight):
    first, second = submitted(inflight, b"H:1", b"H:2")
    assert (first.handle, second.handle) == ("H:1", "H:2")
    assert first.acknowledged and not first.ended


def test_results_come_in_any_order(inflight):
    first, second = submitted(inflight, b"H:1", b"H:2")
    inflight.receive([(COMPLETE, [b"H:2", b"two"]), (COMPLETE, [b"H:1", b"one"])])
    assert (first.result, second.result) == (b"one", b"two")
    assert first.ended and second.ended


def test_a_refusal_answers_the_oldest_submission(inflight):
    first, second = Pending("a", background=True), Pending("b", background=True)
    inflight.submit([first, second], b"")
    inflight.receive([(ERROR, [b"QUEUE_ERROR", b""]), (CREATED, [b"H:2"])])
    assert isinstance(first.error, JobFailed)
    assert str(first.error) == "server:4730 refused the job: QUEUE_ERROR"
    assert (second.handle, second.ended, second.error) == ("H:2", True, None)


def test_an_error_about_the_option_is_about_no_job(inflight):
    job = Pending("a", background=True)
    inflight.submit([job], b"")
    inflight.receive([(ERROR, [b"UNKNOWN_OPTION", b"Server does not recognize given option"]), (CREATED, [b"H:1"])])
    assert job.handle == "H:1"


@pytest.mark.parametrize(
    "packet",
    [
        (CREATED, [b"H:9"]),
        (ERROR, [b"JOB_NOT_FOUND", b"text"]),
        (COMPLETE, [b"H:9", b"late"]),
        (FAIL, [b"H:9\0"]),
        (STATUS, [b"H:9", b"1", b"2"]),
        (STATUS_RES, [b"H:9", b"1", b"1", b"0", b"0"]),
        (packets.GEARMAN_COMMAND_OPTION_RES, [b"exceptions"]),
        (packets.GEARMAN_COMMAND_NOOP, []),
        (99, [b""]),
    ],
)
def test_what_nobody_waits_for_disturbs_nobody(inflight, packet):
    (job,) = submitted(inflight, b"H:1")
    inflight.receive([packet, (COMPLETE, [b"H:1", b"one"])])
    assert job.result == b"one"


def test_the_nul_byte_behind_a_failed_handle_is_no_part_of_it(inflight):
    (job,) = submitted(inflight, b"H:1")
    inflight.receive([(FAIL, [b"H:1\0"])])
    assert job.failed and job.result is None


def test_a_shared_handle_brings_each_packet_to_each_job_once(inflight):
    first, second = submitted(inflight, b"H:1", b"H:1")
    first.ignored = True
    inflight.receive([(DATA, [b"H:1", b"page"])] * 2 + [(COMPLETE, [b"H:1", b"one"])])
    assert first.ended and not second.ended
    inflight.receive([(COMPLETE, [b"H:1", b"one"])])
    assert second.result == b"one"
    assert (len(first.events), list(second.events)) == (0, [Event(DATA, b"page")])


@pytest.mark.parametrize(("sent", "told"), [(b"7", 7), (b"", 0), (b"0.5", 0), (b"-1", 0), (b"9" * 5000, 0)])
def test_progress_that_is_no_number_is_none(inflight, sent, told):
    (job,) = submitted(inflight, b"H:1")
    inflight.receive([(STATUS, [b"H:1", sent, b"9"])])
    assert list(job.events) == [Event(STATUS, b"", told, 9)]


def test_a_status_answers_the_oldest_query(inflight):
    queries = [StatusQuery("H:1"), StatusQuery("H:2"), StatusQuery("H:1")]
    assert inflight.ask(queries[0]).endswith(b"H:1")
    for query in queries[1:]:
        inflight.ask(query)
    inflight.receive([(STATUS_RES, [b"H:1", b"1", b"0", b"3", b"4"])])
    assert [query.ended for query in queries] == [True, False, False]
    assert queries[0].status == JobStatus(known=True, running=False, done=3, total=4)


def test_a_lost_connection_ends_everything(inflight):
    (running,) = submitted(inflight, b"H:1")
    waiting, query = Pending("b", background=True), StatusQuery("H:1")
    inflight.submit([waiting], b"")
    inflight.ask(query)
    inflight.lost("why")
    for error in (running.error, waiting.error, query.error):
        assert isinstance(error, ServerUnavailable)
        assert str(error).endswith(": why")
    inflight.receive([(COMPLETE, [b"H:1", b"late"])])
    assert running.result is None


def test_a_failed_job_is_raised_with_what_the_worker_said(inflight):
    jobs = submitted(inflight, b"H:1", b"H:2", b"H:3")
    inflight.receive([(packets.GEARMAN_COMMAND_WORK_EXCEPTION, [f"H:{n}".encode(), text]) for n, text in
                      enumerate([b'"quoted"', b"plain", b"\xff"], 1)])
    reasons = []
    for job in jobs:
        with pytest.raises(JobFailed) as caught:
            result_of(job, JSONDataEncoder.decode)
        reasons.append(caught.value.reason)
    assert reasons == ["quoted", "plain", "\udcff"]


def test_whoever_did_not_ask_is_told_nothing():
    Listeners().tell(Event(STATUS, b"", 1, 2), JSONDataEncoder.decode)
    Listeners().tell(Event(DATA, b"1"), JSONDataEncoder.decode)
    assert said(b"[" * 100_000, JSONDataEncoder.decode) == "[" * 100_000
