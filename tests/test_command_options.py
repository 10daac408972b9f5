"""@gearmancmd.command and the attributes of a queue: which options a command has, and what is refused."""

from __future__ import annotations

import functools
import pickle
from unittest.mock import Mock

import pytest

import gearmancmd
from gearmancmd import CommandError, CommandTimeout, GearmanCMD, GearmanCMDQueue
from gearmancmd.command_options import CommandOptions
from gearmancmd.errors import UnknownCommand
from gearmancmd.testing import call_command


def fail(gcmd, error=None):
    """What each command here does: it tells which attempt it is, and fails."""
    gcmd.send_data(gcmd.job.attempt)
    raise error or OSError("out of paper")


def attempts(target, name):
    """The attempts that are made at a command of a queue, or of a GearmanCMD."""
    if isinstance(target, GearmanCMDQueue):
        target = GearmanCMD(["localhost"], exception_handler=repr).register_task("queue", target)
    return [report.value for report in call_command(target, {"command": name}).reports]


def traced(method):
    """A decorator as people write them."""

    @functools.wraps(method)
    def wrapper(*arguments):
        return method(*arguments)

    return wrapper


# On a method.


class Decorated(GearmanCMDQueue):
    @gearmancmd.command
    def bare(self, gcmd, task):
        fail(gcmd)

    @gearmancmd.command()
    def empty(self, gcmd, task):
        fail(gcmd)

    @gearmancmd.command(retries=2)
    def plain(self, gcmd, task):
        fail(gcmd)

    @traced
    @gearmancmd.command(retries=2)
    def below_a_decorator(self, gcmd, task):
        fail(gcmd)

    @gearmancmd.command(retries=2)
    @traced
    def above_a_decorator(self, gcmd, task):
        fail(gcmd)

    @gearmancmd.command(retries=2)
    @gearmancmd.command(retries=5, retry_on=OSError)
    def above_another(self, gcmd, task):
        fail(gcmd)

    @gearmancmd.command(retries=2)
    @classmethod
    def above_a_classmethod(cls, gcmd, task):
        fail(gcmd)

    @classmethod
    @gearmancmd.command(retries=2)
    def below_a_classmethod(cls, gcmd, task):
        fail(gcmd)

    @gearmancmd.command(retries=2)
    @staticmethod
    def above_a_staticmethod(gcmd, task):
        fail(gcmd)

    @functools.singledispatchmethod
    @gearmancmd.command(retries=2)
    def below_a_singledispatchmethod(self, gcmd, task):
        fail(gcmd)

    mock = Mock(side_effect=lambda gcmd, task: fail(gcmd))


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("bare", [1]),
        ("empty", [1]),
        ("plain", [1, 2, 3]),
        ("below_a_decorator", [1, 2, 3]),
        ("above_a_decorator", [1, 2, 3]),
        ("above_another", [1, 2, 3]),
        ("above_a_classmethod", [1, 2, 3]),
        ("below_a_classmethod", [1, 2, 3]),
        ("above_a_staticmethod", [1, 2, 3]),
        ("below_a_singledispatchmethod", [1, 2, 3]),
        ("mock", [1]),
    ],
)
def test_a_command_has_the_options_of_its_decorator(name, made):
    assert attempts(Decorated(), name) == made


def test_of_two_decorators_each_option_holds_and_the_upper_one_where_both_have_it():
    class Queue(GearmanCMDQueue):
        @gearmancmd.command(retries=1)
        @traced
        @gearmancmd.command(retries=5, retry_on=ValueError)
        def of_values(self, gcmd, task):
            fail(gcmd, ValueError())

        @gearmancmd.command(retries=1)
        @gearmancmd.command(retry_on=ValueError)
        def of_files(self, gcmd, task):
            fail(gcmd)

    assert attempts(Queue(), "of_values") == [1, 2]
    assert attempts(Queue(), "of_files") == [1]


def test_the_decorator_changes_neither_the_method_nor_how_it_is_called():
    def method(self, gcmd, task):
        return "called"

    assert gearmancmd.command(method) is method
    assert gearmancmd.command(retries=3)(method) is method
    assert method(None, None, None) == "called"


# Of the queue.


class Limited(GearmanCMDQueue):
    retries = 2
    retry_on = (OSError, LookupError)

    def plain(self, gcmd, task):
        fail(gcmd)

    def of_values(self, gcmd, task):
        fail(gcmd, ValueError())

    @gearmancmd.command(retries=1)
    def own(self, gcmd, task):
        fail(gcmd)

    @gearmancmd.command(retries=0)
    def none(self, gcmd, task):
        fail(gcmd)

    @gearmancmd.command(retry_on=ValueError)
    def own_errors(self, gcmd, task):
        fail(gcmd, ValueError())

    def default(self, gcmd, task):
        fail(gcmd)


class Mixin:
    retries = 1

    def mixed_in(self, gcmd, task):
        fail(gcmd)

    @gearmancmd.command(retries=3)
    def own_mixed_in(self, gcmd, task):
        fail(gcmd)


class Inheriting(Mixin, Limited):
    def own(self, gcmd, task):
        fail(gcmd)

    def none(self, gcmd, task):
        return super().none(gcmd, task)


@pytest.mark.parametrize(
    ("target", "name", "made"),
    [
        (Limited(), "plain", [1, 2, 3]),
        (Limited(), "of_values", [1]),
        (Limited(), "own", [1, 2]),
        (Limited(), "none", [1]),
        (Limited(), "own_errors", [1, 2, 3]),
        (Limited(), "no such command", [1, 2, 3]),
        (Inheriting(), "plain", [1, 2]),
        (Inheriting(), "mixed_in", [1, 2]),
        (Inheriting(), "own_mixed_in", [1, 2, 3, 4]),
        (Inheriting(), "own_errors", [1, 2]),
        (Inheriting(), "own", [1, 2]),
        (Inheriting(), "none", [1, 2]),
        (Inheriting(), "no such command", [1, 2]),
    ],
)
def test_the_attributes_of_a_queue_are_for_all_commands_that_have_no_options_of_their_own(target, name, made):
    assert attempts(target, name) == made


def test_a_queue_may_set_them_in_its_constructor():
    class Configured(Limited):
        def __init__(self, retries):
            self.retries = retries

    assert attempts(Configured(retries=4), "plain") == [1, 2, 3, 4, 5]


def test_a_method_that_is_called_as_an_option_is_a_command():
    class Printers(GearmanCMDQueue):
        time_limit = 60

        def retries(self, gcmd, task):
            return "retries"

        @classmethod
        def backoff(cls, gcmd, task):
            return "backoff"

        def dead_letter(self, gcmd, task):
            return "dead_letter"

        def retry_on(self, gcmd, task):
            fail(gcmd)

    for name in ("retries", "backoff", "dead_letter"):
        assert call_command(Printers(), {"command": name}).result == name
    assert attempts(Printers(), "retry_on") == [1]


def test_a_dispatch_that_names_another_queue_takes_that_queues_options():
    class CMD(GearmanCMD):
        def dispatch(self, queue, task):
            return "patient", task["command"]

    class Impatient(GearmanCMDQueue):
        def plain(self, gcmd, task):
            raise AssertionError

    gcmd = CMD(["localhost"], exception_handler=repr)
    gcmd.register_task("impatient", Impatient()).register_task("patient", Limited())
    told = call_command(gcmd, {"command": "plain"}, queue="impatient")
    assert [report.value for report in told.reports] == [1, 2, 3]


def test_a_gearmancmd_with_options_can_be_pickled():
    gcmd = GearmanCMD(["localhost"], exception_handler=repr).register_task("queue", Decorated())
    gcmd.register_task("limited", Limited())
    again = pickle.loads(pickle.dumps(gcmd))
    assert [report.value for report in call_command(again, {"command": "plain"}, queue="queue").reports] == [1, 2, 3]
    assert [report.value for report in call_command(again, {"command": "own"}, queue="limited").reports] == [1, 2]


# Names.


class Named(GearmanCMDQueue):
    @gearmancmd.command(name="print-pages")
    def print_pages(self, gcmd, task):
        return "printed"

    @gearmancmd.command(name="swapped")
    def other(self, gcmd, task):
        return "other"

    @gearmancmd.command(name="other")
    def swapped(self, gcmd, task):
        return "swapped"


def test_a_command_is_called_by_its_name_on_the_wire_alone():
    assert call_command(Named(), {"command": "print-pages"}).result == "printed"
    assert call_command(Named(), {"command": "other"}).result == "swapped"
    assert call_command(Named(), {"command": "swapped"}).result == "other"
    told = call_command(Named(), {"command": "print_pages"})
    assert "has no command 'print_pages'" in told.failure


def test_a_dispatch_chooses_by_the_name_on_the_wire():
    class Choosing(Named):
        def dispatch(self, task):
            return task[0]

    assert call_command(Choosing(), ["print-pages"]).result == "printed"


# What is refused.


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"time_limit": 0}, ValueError, "time_limit must be above 0 and finite, not 0"),
        ({"time_limit": -1.5}, ValueError, "time_limit must be above 0 and finite, not -1.5"),
        ({"time_limit": float("nan")}, ValueError, "time_limit must be above 0 and finite, not nan"),
        ({"time_limit": float("inf")}, ValueError, "time_limit must be above 0 and finite, not inf"),
        ({"time_limit": 2e9}, ValueError, "time_limit must be at most 1e+09, not 2000000000.0"),
        ({"time_limit": "60"}, TypeError, "time_limit must be a number of seconds, not '60'"),
        ({"time_limit": True}, TypeError, "time_limit must be a number of seconds, not True"),
        ({"retries": -1}, ValueError, "retries must be at least 0, not -1"),
        ({"retries": 1.5}, TypeError, "retries must be a whole number, not 1.5"),
        ({"retries": None}, TypeError, "retries must be a whole number, not None"),
        ({"backoff": -1}, ValueError, "backoff must be at least 0 and finite, not -1"),
        ({"backoff": "1"}, TypeError, "backoff must be a number of seconds, not '1'"),
        ({"retry_on": "OSError"}, TypeError, "retry_on must be Exception or classes below it, not 'OSError'"),
        ({"retry_on": (OSError, None)}, TypeError, "retry_on must be Exception or classes below it, not (<class 'OSE"),
        ({"retry_on": OSError()}, TypeError, "retry_on must be Exception or classes below it, not OSError()"),
        ({"retry_on": KeyboardInterrupt}, TypeError, "retry_on must be Exception or classes below it, not <class 'Key"),
        ({"retry_on": BaseException}, TypeError, "retry_on must be Exception or classes below it, not <class 'Base"),
        ({"dead_letter": ""}, ValueError, "dead_letter must be a name without control characters, not ''"),
        ({"dead_letter": b"dead"}, TypeError, "dead_letter must be a str, not b'dead'"),
        ({"dead_letter": "x" * 512}, ValueError, "dead_letter must have at most 511 bytes, not 'xxx"),
    ],
)
def test_an_option_that_makes_no_sense_is_named_with_its_value(options, error, told):
    with pytest.raises(error) as raised:
        gearmancmd.command(**options)
    assert str(raised.value).startswith(told)
    with pytest.raises(error) as raised:
        GearmanCMD(["localhost"]).register_task("queue", type("Printers", (Limited,), options)())
    assert str(raised.value).startswith(f"Printers.{told}")


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"name": ""}, ValueError, "name must be that of a command, not ''"),
        ({"name": "default"}, ValueError, "name must be that of a command, not 'default'"),
        ({"name": 5}, TypeError, "name must be a str, not 5"),
        ({"retires": 5}, TypeError, "command() has no argument 'retires'"),
    ],
)
def test_what_the_decorator_alone_takes_is_checked_too(options, error, told):
    with pytest.raises(error) as raised:
        gearmancmd.command(**options)
    assert str(raised.value) == told


@pytest.mark.parametrize("thing", [60, "print", None, object(), functools.partialmethod(fail), property(fail), len])
def test_the_decorator_is_for_methods(thing):
    with pytest.raises(TypeError, match="command\\(\\) decorates a method, not"):
        gearmancmd.command(retries=1)(thing)


def test_two_commands_of_one_name_are_refused():
    class Twice(Named):
        @gearmancmd.command(name="print-pages")
        def print_all(self, gcmd, task):
            pass

    with pytest.raises(ValueError, match="two methods of Twice are command 'print-pages'"):
        GearmanCMD(["localhost"]).register_task("queue", Twice())


@pytest.mark.parametrize(
    ("name", "method", "told"),
    [
        ("default", lambda self, gcmd, task: None, r"default\(\) is for tasks that name no command"),
        ("dispatch", lambda self, task: None, r"Wrong.dispatch\(\) is not a command, and has no options"),
        ("page", lambda self, number: None, r"Wrong.page\(\) must take \(gcmd, task\), not"),
    ],
)
def test_a_decorator_on_a_method_that_is_not_a_command_is_refused(name, method, told):
    wrong = type("Wrong", (Limited,), {name: gearmancmd.command(name="page")(method)})
    with pytest.raises((TypeError, ValueError), match=told):
        GearmanCMD(["localhost"]).register_task("queue", wrong())


def test_the_queue_for_dead_letters_is_another_one():
    class Circular(Limited):
        dead_letter = "queue"

    with pytest.raises(ValueError, match="dead_letter of command 'default' must be another queue than its own, not 'q"):
        GearmanCMD(["localhost"]).register_task("queue", Circular())
    GearmanCMD(["localhost"]).register_task("other", Circular())


# When there is another attempt, and after what pause.


class Group(Exception):
    """As an exception group of Python 3.11."""

    exceptions = (ValueError(), KeyboardInterrupt())


@pytest.mark.parametrize(
    ("retry_on", "error", "again"),
    [
        (Exception, ValueError(), True),
        (OSError, ConnectionError(), True),
        ((KeyError, OSError), ConnectionError(), True),
        (OSError, ValueError(), False),
        (Exception, CommandError(), False),
        (Exception, CommandTimeout(), False),
        (RuntimeError, gearmancmd.JobEnded(), False),
        (gearmancmd.GearmanCMDError, CommandError(), False),
        (gearmancmd.GearmanCMDError, gearmancmd.JobFailed("x"), True),
        (CommandError, CommandError(), True),
        (CommandError, CommandTimeout(), True),
        ((OSError, CommandTimeout), CommandTimeout(), True),
        (CommandTimeout, CommandError(), False),
        (Exception, UnknownCommand(), False),
        (Exception, KeyboardInterrupt(), False),
        (Exception, SystemExit(), False),
        (Exception, Group(), False),
        ((), ValueError(), False),
    ],
)
def test_which_exceptions_there_is_another_attempt_after(retry_on, error, again):
    options = CommandOptions(retries=1, retry_on=retry_on)
    assert options.retries_after(error, 1) is again
    assert not options.retries_after(error, 2)


def test_pauses_double_and_are_jittered():
    options = CommandOptions(retries=100, backoff=2)
    for attempt, longest in ((1, 2), (2, 4), (3, 8), (10, 1024), (12, 3600), (100, 3600), (10_000, 3600)):
        pauses = [options.pause(attempt) for _ in range(50)]
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 1
    assert CommandOptions(backoff=0).pause(5) == 0
