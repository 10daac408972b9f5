"""What a server owes a client, packet by packet."""

from __future__ import annotations

import pytest
from gearman import protocol as packets

from gearmancmd import JSONDataEncoder
from gearmancmd._client.awaited import Event, JobStatus, PendingBatch, PendingJob, StatusQuery
from gearmancmd._client.base import handles_of
from gearmancmd._client.inflight import DROPPED_JOBS, WARNING_SECONDS, Inflight
from gearmancmd._client.result import Listeners, result_of, said
from gearmancmd.errors import JobFailed, JobTimeout, ServerUnavailable

CREATED = packets.GEARMAN_COMMAND_JOB_CREATED
COMPLETE = packets.GEARMAN_COMMAND_WORK_COMPLETE
FAIL = packets.GEARMAN_COMMAND_WORK_FAIL
ERROR = packets.GEARMAN_COMMAND_ERROR
DATA = packets.GEARMAN_COMMAND_WORK_DATA
STATUS = packets.GEARMAN_COMMAND_WORK_STATUS
STATUS_RES = packets.GEARMAN_COMMAND_STATUS_RES
WARNING = packets.GEARMAN_COMMAND_WORK_WARNING

NOW = 100.0


@pytest.fixture
def inflight():
    return Inflight("server:4730")


def submitted(inflight, *handles):
    jobs = [PendingJob(f"unique of {handle}", background=False) for handle in handles]
    for job in jobs:
        inflight.add(job)
    inflight.receive([(CREATED, [handle]) for handle in handles], NOW)
    return jobs


def test_jobs_are_acknowledged_in_the_order_of_submitting(inflight):
    first, second = submitted(inflight, b"H:1", b"H:2")
    assert (first.handle, second.handle) == ("H:1", "H:2")
    assert first.acknowledged and not first.ended


def test_results_come_in_any_order(inflight):
    first, second = submitted(inflight, b"H:1", b"H:2")
    inflight.receive([(COMPLETE, [b"H:2", b"two"]), (COMPLETE, [b"H:1", b"one"])], NOW)
    assert (first.result, second.result) == (b"one", b"two")
    assert first.ended and second.ended


def test_a_refusal_answers_the_oldest_submission(inflight):
    first, second = PendingJob("a", background=True), PendingJob("b", background=True)
    inflight.add(first)
    inflight.add(second)
    inflight.receive([(ERROR, [b"QUEUE_ERROR", b""]), (CREATED, [b"H:2"])], NOW)
    assert isinstance(first.error, JobFailed)
    assert str(first.error) == "server:4730 refused the job: QUEUE_ERROR"
    assert (second.handle, second.ended, second.error) == ("H:2", True, None)


def test_an_error_about_the_option_is_about_no_job(inflight):
    job = PendingJob("a", background=True)
    inflight.add(job)
    inflight.receive(
        [(ERROR, [b"UNKNOWN_OPTION", b"Server does not recognize given option"]), (CREATED, [b"H:1"])], NOW
    )
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
    inflight.receive([packet, (COMPLETE, [b"H:1", b"one"])], NOW)
    assert job.result == b"one"


def test_the_nul_byte_behind_a_failed_handle_is_no_part_of_it(inflight):
    (job,) = submitted(inflight, b"H:1")
    inflight.receive([(FAIL, [b"H:1\0"])], NOW)
    assert job.failed and job.result is None


def test_a_shared_handle_brings_each_packet_to_each_job_once(inflight):
    first, second = submitted(inflight, b"H:1", b"H:1")
    first.drop()
    inflight.receive([(DATA, [b"H:1", b"page"])] * 2 + [(COMPLETE, [b"H:1", b"one"])], NOW)
    assert first.ended and not second.ended
    inflight.receive([(COMPLETE, [b"H:1", b"one"])], NOW)
    assert second.result == b"one"
    assert (len(first.events), list(second.events)) == (0, [Event(DATA, b"page")])


@pytest.mark.parametrize(("sent", "told"), [(b"7", 7), (b"", 0), (b"0.5", 0), (b"-1", 0), (b"9" * 5000, 0)])
def test_progress_that_is_no_number_is_none(inflight, sent, told):
    (job,) = submitted(inflight, b"H:1")
    inflight.receive([(STATUS, [b"H:1", sent, b"9"])], NOW)
    assert list(job.events) == [Event(STATUS, b"", told, 9)]


def test_a_status_answers_the_oldest_query(inflight):
    queries = [StatusQuery("H:1"), StatusQuery("H:2"), StatusQuery("H:1")]
    for query in queries:
        inflight.add(query)
    inflight.receive([(STATUS_RES, [b"H:1", b"1", b"0", b"3", b"4"])], NOW)
    assert [query.ended for query in queries] == [True, False, False]
    assert queries[0].status == JobStatus(known=True, running=False, done=3, total=4)


def test_a_lost_connection_ends_everything(inflight):
    (running,) = submitted(inflight, b"H:1")
    waiting, query = PendingJob("b", background=True), StatusQuery("H:1")
    batch = PendingBatch(2)
    for each in (waiting, batch, query):
        inflight.add(each)
    inflight.lost("why")
    for error in (running.error, waiting.error, batch.error, query.error):
        assert isinstance(error, ServerUnavailable)
        assert str(error).endswith(": why")
    inflight.receive([(COMPLETE, [b"H:1", b"late"])], NOW)
    assert running.result is None


def test_a_failed_job_is_raised_with_what_the_worker_said(inflight):
    jobs = submitted(inflight, b"H:1", b"H:2", b"H:3")
    inflight.receive(
        [
            (packets.GEARMAN_COMMAND_WORK_EXCEPTION, [f"H:{n}".encode(), text])
            for n, text in enumerate([b'"quoted"', b"plain", b"\xff"], 1)
        ],
        NOW,
    )
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


def test_the_warning_right_before_a_failure_is_its_reason_and_no_other_is(inflight):
    job, other = submitted(inflight, b"H:1", b"H:2")
    for packet in ((WARNING, [b"H:1", b'"low"']), (WARNING, [b"H:1", b'"out"']), (FAIL, [b"H:1"])):
        inflight.receive([packet], NOW)  # each arrives by itself
    assert [event.data for event in job.events] == [b'"low"']
    assert (job.failed, job.result) == (True, b'"out"')
    inflight.receive([(WARNING, [b"H:2", b'"low"']), (DATA, [b"H:2", b"1"]), (FAIL, [b"H:2"])], NOW)
    assert [event.data for event in other.events] == [b'"low"', b"1"]
    assert (other.failed, other.result) == (True, None)


def test_a_warning_right_before_a_result_is_told(inflight):
    (job,) = submitted(inflight, b"H:1")
    inflight.receive([(WARNING, [b"H:1", b'"low"']), (COMPLETE, [b"H:1", b"1"])], NOW)
    assert [event.data for event in job.events] == [b'"low"']
    assert (job.failed, job.result) == (False, b"1")


def test_a_warning_that_no_failure_follows_is_told_after_a_moment(inflight):
    (job,) = submitted(inflight, b"H:1")
    inflight.receive([(WARNING, [b"H:1", b'"low"'])], NOW)
    assert inflight.due() == NOW + WARNING_SECONDS
    inflight.act(NOW + WARNING_SECONDS / 2)
    assert not job.events
    inflight.act(NOW + WARNING_SECONDS)
    assert [event.data for event in job.events] == [b'"low"']
    inflight.receive([(FAIL, [b"H:1"])], NOW + 5)
    assert (job.failed, job.result, len(job.events)) == (True, b'"low"', 1)


@pytest.mark.parametrize(("answers", "told"), [([b"H:1", b"H:2", None], 2), ([None, b"H:1", b"H:2"], 0)])
def test_a_batch_has_an_answer_for_each_of_its_jobs(inflight, answers, told):
    batch, job = PendingBatch(3), PendingJob("a", background=True)
    inflight.add(batch)
    inflight.add(job)
    packets = [(ERROR, [b"QUEUE_ERROR", b"full"]) if each is None else (CREATED, [each]) for each in answers]
    inflight.receive(packets[:2], NOW)
    assert not batch.ended
    inflight.receive([*packets[2:], (CREATED, [b"H:9"])], NOW)
    assert batch.ended and job.handle == "H:9"
    handles = []
    with pytest.raises(JobFailed, match="QUEUE_ERROR: full"):
        handles.extend(handles_of(batch))
    assert [each if isinstance(each, bytes) else None for each in batch.answers] == answers
    assert len(handles) in {0, told}


def test_a_submission_that_is_not_acknowledged_in_time_ends_and_keeps_its_place(inflight):
    late, next_one = PendingJob("a", background=False), PendingJob("b", background=False)
    inflight.add(late, NOW + 30)
    inflight.add(next_one)
    assert inflight.due() == NOW + 30
    inflight.act(NOW + 30)
    assert isinstance(late.error, JobTimeout) and not next_one.ended
    assert inflight.due() == float("inf")
    inflight.receive([(CREATED, [b"H:1"]), (CREATED, [b"H:2"]), (COMPLETE, [b"H:2", b"two"])], NOW + 31)
    assert (next_one.handle, next_one.result) == ("H:2", b"two")


def test_what_was_given_up_is_forgotten_but_for_its_place(inflight):
    """gearmand may tell of each of them still; what a client keeps for that is bounded."""
    first, second = submitted(inflight, b"H:1", b"H:1")
    first.drop()
    inflight.drop(first)
    inflight.receive([(DATA, [b"H:1", b"page"])] * 2 + [(COMPLETE, [b"H:1", b"one"])] * 2, NOW)
    assert (len(first.events), [event.data for event in second.events]) == (0, [b"page"])
    assert (first.result, second.result) == (None, b"one")
    many = submitted(inflight, *(f"H:{number}".encode() for number in range(DROPPED_JOBS + 5)))
    for job in many:
        job.drop()
        inflight.drop(job)
    inflight.receive([(COMPLETE, [b"H:0", b""]), (COMPLETE, [f"H:{DROPPED_JOBS}".encode(), b""])], NOW)
    assert not many[0].ended and many[DROPPED_JOBS].ended


def test_a_job_that_was_given_up_before_it_was_acknowledged_is_dropped_then(inflight):
    job = PendingJob("a", background=False)
    inflight.add(job)
    job.drop()
    inflight.drop(job)
    inflight.receive([(CREATED, [b"H:1"]), (DATA, [b"H:1", b"page"]), (COMPLETE, [b"H:1", b"one"])], NOW)
    assert (job.ended, job.result, len(job.events)) == (True, None, 0)


def test_a_status_query_that_was_given_up_takes_no_answer_from_another(inflight):
    late, query = StatusQuery("H:1"), StatusQuery("H:1")
    inflight.add(late)
    inflight.drop(late)
    inflight.add(query)
    inflight.receive([(STATUS_RES, [b"H:1", b"1", b"0", b"3", b"4"])], NOW)
    assert query.status == JobStatus(known=True, running=False, done=3, total=4)
