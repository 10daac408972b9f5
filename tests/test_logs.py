"""Whatever others chose to say becomes one harmless line of the log."""

from __future__ import annotations

import logging
import threading
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue, JSONGearmanWorker, logs
from gearmancmd.errors import UnexpectedError
from gearmancmd.job_log import JobLog
from gearmancmd.logs import LINE_LIMIT, Flood, logger, one_line, reason
from tests.support.waiting import LIMIT, wait_for

#: Text as it may come from anywhere; hypothesis leaves halves of surrogate pairs out unless it is asked.
ANY_TEXT = st.text(st.characters(exclude_categories=[]))

UNSAFE = {
    "a line break": "a\r\nb",
    "a NUL": "a\0b",
    "an escape sequence": "\x1b]0;title\x07\x1b[2J",
    "DEL": "\x7f",
    "C1": "\x85\x9b31m",
    "separators": "\u2028\u2029",
    "text in the other direction": "\u202ecod.exe\u2066\u2069\u200f\u061c",
    "invisible text": "\u200b\ufeff\u2060\xad\u180e\U000e0041",
    "halves of surrogate pairs": "\ud83d \udcff",
}


def is_one_printable_line(text: str) -> bool:
    return len(text) <= LINE_LIMIT and not any(
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in text
    )


def logged(caplog: pytest.LogCaptureFixture, message: str, *arguments: object) -> str:
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        logger.warning(message, *arguments)
    return caplog.records[-1].getMessage()


def all_characters() -> str:
    return "".join(map(chr, range(0x110000)))


@given(ANY_TEXT)
def test_any_text_is_one_printable_line(text):
    assert is_one_printable_line(one_line(text))


def test_every_character_of_unicode_is_printable_or_escaped():
    text = all_characters()
    for start in range(0, len(text), 50):
        assert is_one_printable_line(one_line(text[start : start + 50]))


@pytest.mark.parametrize("text", UNSAFE.values(), ids=UNSAFE.keys())
def test_what_is_unsafe_is_escaped_and_still_to_be_seen(text):
    line = one_line(text)
    assert is_one_printable_line(line)
    assert line.encode("ascii").decode("unicode_escape") == text


@pytest.mark.parametrize("text", ["", "Grüße", "印刷　完了", "طباعة", "a\\nb", "🖨", "100 %s"])
def test_what_people_write_stays_as_it_is(text):
    assert one_line(text) == text


def test_a_line_has_a_thousand_characters_at_most():
    assert one_line("x" * 1000) == "x" * 1000
    assert one_line("x" * 1001) == "x" * 997 + "..."
    assert len(one_line("\0" * 1000)) == 1000
    assert len(one_line("\U000e0041" * 10**6)) == 1000


@pytest.mark.parametrize("text", [*UNSAFE.values(), "x" * 10**6])
def test_the_logger_cleans_its_arguments(caplog, text):
    class Speaking:
        def __str__(self):
            return text

    for argument in (text, text.encode("utf-8", "surrogatepass"), OSError(text), [text], Speaking()):
        line = logged(caplog, "said: %s", argument)
        assert line.startswith("said: ")
        assert is_one_printable_line(line.removeprefix("said: "))


def test_the_logger_leaves_numbers_alone(caplog):
    assert logged(caplog, "%d jobs in %.1f s, %s", 3, 1.25, None) == "3 jobs in 1.2 s, None"


class Lines(str):
    """A str that is not what it seems."""

    def __getitem__(self, index):
        return "\n" * 10

    def split(self, *arguments):
        return ["\x1b[2J"]


def failing(error: BaseException) -> object:
    def fail(self):
        raise error

    return fail


def endless(self):
    return str(self)


MUTE = {
    "it raises": failing(ValueError("no words")),
    "it raises SystemExit": failing(SystemExit(3)),
    "it raises GeneratorExit": failing(GeneratorExit()),
    "it raises MemoryError": failing(MemoryError()),
    "it recurses": endless,
    "it returns bytes": lambda self: b"bytes",
    "it returns None": lambda self: None,
    "it says nothing": lambda self: "",
    "it says white space": lambda self: " \n\t",
}


@pytest.mark.parametrize("base", [Exception, CommandError, BaseException])
@pytest.mark.parametrize("speak", MUTE.values(), ids=MUTE.keys())
def test_the_reason_of_an_exception_that_cannot_speak_is_its_type(speak, base):
    assert reason(type("Mute", (base,), {"__str__": speak})()) == "Mute"


@pytest.mark.parametrize("speak", list(MUTE.values())[:-2], ids=list(MUTE)[:-2])
def test_the_logger_names_the_type_of_what_cannot_speak(caplog, speak):
    for base in (Exception, object):
        assert logged(caplog, "said: %s", type("Mute", (base,), {"__str__": speak})()) == "said: Mute"


def test_ctrl_c_while_an_exception_speaks_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        reason(type("Slow", (Exception,), {"__str__": failing(KeyboardInterrupt())})())


@given(ANY_TEXT)
@example("x" * 10**6)
@example("\ud800" * 10**6)
@example("\n" * 10**6)
def test_a_reason_is_one_printable_line_with_the_type_first(text):
    line = reason(ValueError(text))
    assert is_one_printable_line(line)
    assert line.startswith("ValueError")
    assert is_one_printable_line(reason(CommandError(text)))


def test_a_reason_of_several_lines_becomes_one():
    assert reason(ValueError("broken\n\tcompletely ")) == "ValueError: broken completely"
    assert reason(CommandError("out of\r\npaper")) == "out of paper"


def test_a_str_of_the_exceptions_own_class_cannot_forge_a_line():
    forger = type("Forger", (Exception,), {"__str__": lambda self: Lines("text")})()
    assert reason(forger) == "Forger: text"


def test_a_types_name_cannot_forge_a_line(caplog):
    forger = type("Two\nlines" + "x" * 2000, (Exception,), {"__str__": failing(ValueError())})()
    assert is_one_printable_line(reason(forger))
    assert is_one_printable_line(logged(caplog, "%s", forger))


def test_a_flood_makes_a_few_lines_and_a_count(caplog, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    flood = Flood()
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        for number in range(10_000):
            flood.warning("error %d", number)
        clock.now += Flood.SECONDS
        flood.warning("error %s", "later")
    few = [f"error {number}" for number in range(Flood.LINES)]
    assert [record.getMessage() for record in caplog.records] == [
        *few,
        "more such lines within 10 s are only counted",
        f"{10_000 - Flood.LINES} more such lines were left out",
        "error later",
    ]


def test_what_is_no_flood_is_logged_line_by_line(caplog, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    flood = Flood()
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        for number in range(50):
            flood.warning("error %d", number)
            clock.now += Flood.SECONDS / Flood.LINES
    assert [record.getMessage() for record in caplog.records] == [f"error {number}" for number in range(50)]


# One line a job.


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]

    def refuse(self, gcmd, task):
        raise CommandError(task.get("text", "out of paper"))

    def crash(self, gcmd, task):
        raise ValueError("a bug")

    def odd(self, gcmd, task):
        return {1, 2}

    def _private(self, gcmd, task):
        raise AssertionError("called")


def job_records(caplog, queue):
    """The records of jobs: those of a worker's start have no handle."""
    return [
        record
        for record in caplog.records
        if getattr(record, "gearman_queue", None) == queue and hasattr(record, "gearman_handle")
    ]


#: Task, level, command, how it ended, and the end of the line.
JOBS = {
    "done": ({"command": "reverse", "message": "ab"}, "INFO", "reverse", "done", None),
    "a CommandError": ({"command": "refuse"}, "INFO", "refuse", "failed", "out of paper"),
    "no JSON": (b"{", "WARNING", None, "failed", "the payload cannot be decoded: JSONDecodeError"),
    "unknown": ({"command": "missing"}, "WARNING", None, "failed", "has no command 'missing'"),
    "no JSON as its result": ({"command": "odd"}, "WARNING", "odd", "failed", "the result cannot be encoded"),
    "a bug": ({"command": "crash"}, "ERROR", "crash", "failed", "ValueError: a bug"),
}


@pytest.mark.parametrize(("task", "level", "command", "outcome", "why"), JOBS.values(), ids=JOBS.keys())
def test_one_line_a_job_with_its_fields(server, client, queue, run, caplog, task, level, command, outcome, why):
    with caplog.at_level(logging.DEBUG, "gearmancmd"):
        running = run(GearmanCMD([server.address]).register_task(queue, Queue()))
        job = client.send(queue, task)
        client.outcome(job)
        wait_for(lambda: job_records(caplog, queue), "the line")
        running.end()
    handle = job.handle.decode()
    (record,) = [record for record in caplog.records if handle in record.getMessage()]
    assert record.levelname == level and record.name == "gearmancmd"
    assert record.gearman_handle == handle
    assert record.gearman_command == command
    assert record.gearman_outcome == outcome
    assert record.gearman_seconds > 0
    line = f"job {handle} of {queue} ({command or '-'}) {outcome} in {record.gearman_seconds:.6f} s"
    assert record.getMessage().startswith(line)
    if why is None:
        assert record.getMessage() == line and record.gearman_reason is None
    else:
        assert record.getMessage() == f"{line}: {record.gearman_reason}" and why in record.gearman_reason
    assert (record.exc_info is not None) == (level == "ERROR")


def test_an_error_that_a_handler_calls_unexpected_has_its_own_traceback(server, client, queue, run, caplog):
    def handle(error):
        raise UnexpectedError(f"sorry: {error}") from error

    with caplog.at_level(logging.INFO, "gearmancmd"):
        run(GearmanCMD([server.address], exception_handler=handle).register_task(queue, Queue()))
        assert client.call(queue, {"command": "crash"}).reason == "sorry: a bug"
        (record,) = wait_for(lambda: job_records(caplog, queue), "the line")
    assert record.levelname == "ERROR" and record.exc_info[0] is ValueError
    assert record.getMessage().endswith("s: sorry: a bug")


@pytest.mark.parametrize("text", UNSAFE.values(), ids=UNSAFE.keys())
def test_the_fields_are_harmless_too(server, client, queue, run, caplog, text):
    with caplog.at_level(logging.INFO, "gearmancmd"):
        run(GearmanCMD([server.address]).register_task(queue, Queue()))
        client.call(queue, {"command": "refuse", "text": text})
        (record,) = wait_for(lambda: job_records(caplog, queue), "the line")
    assert is_one_printable_line(record.gearman_reason)
    assert is_one_printable_line(record.getMessage())


def test_a_queues_name_that_steers_a_terminal_is_harmless_in_the_fields(server, client, queue, run, caplog):
    odd = f"{queue}\u202e"
    with caplog.at_level(logging.INFO, "gearmancmd"):
        run(GearmanCMD([server.address]).register_task(odd, Queue()))
        client.call(odd, {"command": "refuse"})
        safe = f"{queue}\\u202e"
        (record,) = wait_for(lambda: job_records(caplog, safe), "the line")
    assert record.gearman_queue == safe


def test_the_start_and_the_end_of_a_worker_are_told(server, queue, run, caplog):
    with caplog.at_level(logging.INFO, "gearmancmd"):
        gcmd = GearmanCMD([server.address]).register_task(queue, Queue()).register_task(f"{queue}-2", Queue())
        running = run(gcmd)
        wait_for(lambda: "answers" in caplog.text, "the first answer of the server")
        gcmd.stop()
        assert running.wait() is None
    lines = [line for line in caplog.messages if line.startswith("worker ")]
    assert lines == [
        f"worker starts; servers: {server.address}",
        f"worker takes jobs of {queue}; commands: crash, odd, refuse, reverse",
        f"worker takes jobs of {queue}-2; commands: crash, odd, refuse, reverse",
        "worker has ended",
    ]


def test_the_end_is_told_when_an_exception_leaves_run(server, client, queue, run, caplog):
    with caplog.at_level(logging.INFO, "gearmancmd"):
        running = run(GearmanCMD([server.address]).register_task(queue, Queue()))
        client.call(queue, {"command": "crash"})
        assert isinstance(running.wait(), ValueError)
    assert caplog.messages[-1] == "worker has ended"


def test_above_info_failures_are_told_all_the_same_and_no_job_is_looked_at(
    server, client, queue, run, caplog, monkeypatch
):
    called = []
    monkeypatch.setattr(JobLog, "on_done", lambda self, job, result, seconds: called.append(job))
    with caplog.at_level(logging.WARNING, "gearmancmd"):
        run(GearmanCMD([server.address]).register_task(queue, Queue()))
        for task in ({"command": "reverse", "message": "ab"}, {"command": "refuse"}, {"command": "missing"}):
            client.call(queue, task)
        client.call(queue, {"command": "crash"})
        wait_for(lambda: len(job_records(caplog, queue)) == 2, "the lines")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert all(record.gearman_seconds > 0 for record in caplog.records)
    assert called == []


def test_a_worker_by_itself_logs_its_failures(server, client, queue, caplog):
    class Worker(JSONGearmanWorker):
        def after_job(self):
            return False

    def work(worker, job):
        raise CommandError("out of paper") if job.data else ValueError("a bug")

    worker = Worker([server.address])
    worker.register_task(queue, work)
    with caplog.at_level(logging.INFO, "gearmancmd"):
        for task in (1, 0):
            thread = threading.Thread(target=worker.work)
            thread.start()
            assert client.call(queue, task).state == "failed"
            thread.join(LIMIT)
    records = [record for record in caplog.records if "failed" in record.getMessage()]
    assert [record.levelname for record in records] == ["INFO", "WARNING"]
