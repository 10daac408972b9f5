"""What users pass in is checked at once, and the error names the argument and the value."""

from __future__ import annotations

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue, JSONGearmanWorker


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"poll_timeout": 0}, ValueError, "poll_timeout must be above 0 and finite, not 0"),
        ({"poll_timeout": -1}, ValueError, "not -1"),
        ({"poll_timeout": float("nan")}, ValueError, "poll_timeout .* nan"),
        ({"poll_timeout": float("inf")}, ValueError, "poll_timeout .* inf"),
        ({"poll_timeout": "1"}, TypeError, "poll_timeout must be a number of seconds, not '1'"),
        ({"poll_timeout": True}, TypeError, "poll_timeout .* True"),
        ({"prefetch": 0}, ValueError, "prefetch must be at least 1, not 0"),
        ({"prefetch": -3}, ValueError, "not -3"),
        ({"prefetch": 1.5}, TypeError, "prefetch must be a whole number, not 1.5"),
        ({"failures": "loud"}, ValueError, "failures must be 'warning', 'exception' or 'plain', not 'loud'"),
        ({"max_payload": 0}, ValueError, "max_payload must be at least 1, not 0"),
        ({"command": 5}, TypeError, "command must be a str, not 5"),
        ({"exception_handler": 5}, TypeError, "exception_handler must be callable, not 5"),
        ({"client_id": "two words"}, ValueError, "client_id .* 'two words'"),
        ({"client_id": "x" * 128}, ValueError, "client_id must have at most 127 bytes"),
        ({"client_id": b"x"}, TypeError, "client_id must be a str"),
    ],
)
def test_bad_options_of_a_gearmancmd(options, error, text):
    with pytest.raises(error, match=text):
        GearmanCMD(["localhost"], **options)


@pytest.mark.parametrize(
    "queue, error, text",
    [
        ("", ValueError, "queue must be a name"),
        ("nul\0", ValueError, "queue must be a name without control characters"),
        ("two\nlines", ValueError, r"'two\\nlines'"),
        ("tab\t", ValueError, "control characters"),
        ("\x7f", ValueError, "control characters"),
        ("\x85", ValueError, "control characters"),
        ("\u2028", ValueError, "control characters"),
        ("\ud800", ValueError, "queue must be a name that UTF-8 can hold"),
        ("é" * 256, ValueError, "at most 511 bytes"),
        ("x" * 512, ValueError, "at most 511 bytes"),
        (b"queue", TypeError, "queue must be a str, not b'queue'"),
        (None, TypeError, "queue must be a str, not None"),
    ],
)
def test_bad_names_of_queues(queue, error, text):
    with pytest.raises(error, match=text):
        GearmanCMD(["localhost"]).register_task(queue, Queue())


class Empty(GearmanCMDQueue):
    number = 5

    def _private(self, gcmd, task):
        pass


@pytest.mark.parametrize(
    "target, error, text",
    [
        (object(), TypeError, "target must be an instance of a GearmanCMDQueue subclass"),
        (None, TypeError, "not None"),
        (Queue, TypeError, "instance"),
        (Empty(), ValueError, "target has no command: Empty defines no public method"),
        (GearmanCMDQueue(), ValueError, "target has no command"),
    ],
)
def test_bad_targets(target, error, text):
    with pytest.raises(error, match=text):
        GearmanCMD(["localhost"]).register_task("queue", target)


def test_a_worker_must_be_a_gearman_worker():
    class Wrong(GearmanCMD):
        worker = dict

    with pytest.raises(TypeError, match=r"worker must be a subclass of .*, not <class 'dict'>"):
        Wrong(["localhost"])


def test_run_needs_a_queue():
    with pytest.raises(RuntimeError, match="no queue to work on"):
        GearmanCMD(["localhost"]).run()


def test_run_needs_a_trigger_that_can_be_asked():
    with pytest.raises(TypeError, match=r"stop_trigger must have is_set\(\), not 5"):
        GearmanCMD(["localhost"]).register_task("queue", Queue()).run(5)


def test_bad_arguments_of_a_worker():
    worker = JSONGearmanWorker(["localhost"])
    with pytest.raises(TypeError, match="callback_function must be callable, not 5"):
        worker.register_task("task", 5)
    with pytest.raises(ValueError, match="task must be a name"):
        worker.register_task("two\nlines", print)
    with pytest.raises(ValueError, match="client_id"):
        worker.set_client_id("two words")
    with pytest.raises(ValueError, match="poll_timeout"):
        worker.work(poll_timeout=0)
    with pytest.raises(ValueError, match="prefetch"):
        JSONGearmanWorker(["localhost"], prefetch=0)
    with pytest.raises(ValueError, match="server: port must be a number"):
        worker.add_connection("localhost:x")
