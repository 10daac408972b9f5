"""Which methods of a queue are commands."""

from __future__ import annotations

import functools
import operator
import os
import sys
import threading
import time
import types
from functools import cached_property, partialmethod
from unittest.mock import MagicMock

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd.queue import CommandTable


class Mixin:
    def mixed(self, gcmd, task):
        return "mixed"


class Base(GearmanCMDQueue):
    def inherited(self, gcmd, task):
        return "inherited"


class Queue(Mixin, Base):
    number = 5

    class Nested:
        pass

    def __init__(self):
        self.on_instance = lambda gcmd, task: None

    def own(self, gcmd, task):
        return "own"

    @staticmethod
    def static(gcmd, task):
        return "static"

    @classmethod
    def of_class(cls, gcmd, task):
        return "class"

    partial = partialmethod(own)

    @property
    def prop(self):
        raise AssertionError("looked up at registration")

    @cached_property
    def cached(self):
        raise AssertionError("looked up at registration")

    def _private(self, gcmd, task):
        pass

    def __call__(self, gcmd, task):
        pass

    def dispatch(self, task):
        return "own"


def test_commands_are_the_public_methods_of_the_users_classes():
    assert sorted(CommandTable(Queue()).commands) == ["inherited", "mixed", "of_class", "own", "partial", "static"]


def test_each_command_is_called_as_a_method():
    commands = CommandTable(Queue()).commands
    assert [commands[name](None, None) for name in ("own", "static", "of_class", "partial", "mixed")] == [
        "own",
        "static",
        "class",
        "own",
        "mixed",
    ]


def test_a_default_of_the_users_own_is_a_command_too():
    class WithDefault(GearmanCMDQueue):
        def default(self, gcmd, task):
            return "default"

    assert list(CommandTable(WithDefault()).commands) == ["default"]
    assert CommandTable(Queue()).default is None


def test_a_method_that_hides_a_name_of_the_base_class_is_none():
    assert "dispatch" not in CommandTable(Queue()).commands


class Store(dict, GearmanCMDQueue):
    def put(self, gcmd, task):
        self[task["key"]] = task["value"]

    def update(self, gcmd, task):
        return "updated"

    def keys(self):
        return ["of another arity"]


class Background(threading.Thread, GearmanCMDQueue):
    def work(self, gcmd, task):
        return "worked"


@pytest.mark.parametrize(
    "queue, commands, some_left_out",
    [
        (Store(), {"put", "update"}, {"clear", "get", "pop", "popitem", "setdefault", "fromkeys", "keys", "items"}),
        (Background(), {"work"}, {"run", "start", "join", "is_alive"}),
    ],
)
def test_what_the_standard_library_defines_is_no_command(queue, commands, some_left_out):
    table = CommandTable(queue)
    assert set(table.commands) == commands
    assert some_left_out <= set(table.left_out)
    assert not set(table.left_out) & commands


def test_a_mixins_method_that_the_standard_library_hides_is_no_command():
    class Popping:
        def pop(self, gcmd, task):
            raise AssertionError("dict.pop comes first")

    class Hiding(dict, Popping, GearmanCMDQueue):
        def own(self, gcmd, task):
            return "own"

    class Showing(Popping, dict, GearmanCMDQueue):
        pass

    assert list(CommandTable(Hiding()).commands) == ["own"]
    assert list(CommandTable(Showing()).commands) == ["pop"]


class Arities(GearmanCMDQueue):
    def none(self):
        pass

    def one(self, text):
        pass

    def two(self, gcmd, task):
        pass

    def three(self, gcmd, task, more):
        pass

    def optional(self, gcmd, task=None, more=5, *, switch=False):
        pass

    def keyword(self, gcmd, *, task):
        pass

    def needs_keyword(self, gcmd, task, *, switch):
        pass

    def any(self, *args, **kwargs):
        pass

    def keywords(self, **kwargs):
        pass

    @staticmethod
    def static_one(task):
        pass

    @staticmethod
    def static_three(self, gcmd, task):
        pass

    @classmethod
    def class_one(cls, task):
        pass

    partial_three = partialmethod(three, more=1)
    partial_one = partialmethod(two, None)


def test_commands_take_the_gearmancmd_and_the_task():
    table = CommandTable(Arities())
    assert sorted(table.commands) == ["any", "optional", "partial_three", "two"]
    assert table.left_out == [
        "class_one",
        "keyword",
        "keywords",
        "needs_keyword",
        "none",
        "one",
        "partial_one",
        "static_one",
        "static_three",
        "three",
    ]


class Shout:
    def __call__(self, gcmd, task):
        return "shouted"


def of_module(gcmd, task):
    return "module"


def with_database(method):
    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        return method(*args, database="database", **kwargs)

    return wrapper


class Attributes(GearmanCMDQueue):
    shout = Shout()
    part = staticmethod(functools.partial(of_module))
    of_module = staticmethod(of_module)
    mock = MagicMock(return_value="mocked")

    @functools.lru_cache(maxsize=1)
    def cached(self, gcmd, task):
        return "cached"

    @functools.singledispatchmethod
    def single(self, gcmd, task):
        return "single"

    @with_database
    def injected(self, gcmd, task, database):
        return database


class Foreign(GearmanCMDQueue):
    own = of_module
    log = print
    size = len
    now = time.time
    join = os.path.join
    static_join = staticmethod(os.path.join)
    part = staticmethod(functools.partial(os.path.join, "/"))
    pick = operator.itemgetter("password")
    lower = str.lower
    add = [].append
    quit = sys.exit

    def ok(self, gcmd, task):
        return "ok"


def test_what_a_class_has_as_an_attribute_is_a_command_when_it_is_the_users_own():
    commands = CommandTable(Attributes()).commands
    assert {name: command(None, None) for name, command in commands.items()} == {
        "cached": "cached",
        "injected": "database",
        "mock": "mocked",
        "of_module": "module",
        "part": "module",
        "shout": "shouted",
        "single": "single",
    }


def test_a_function_of_the_standard_library_is_no_command():
    assert sorted(CommandTable(Foreign()).commands) == ["ok"]


def test_a_method_that_a_value_hides_on_the_instance_is_no_command():
    class Hiding(Base):
        def __init__(self):
            self.status = "idle"

        def status(self, gcmd, task):
            raise AssertionError("hidden")

    assert list(CommandTable(Hiding()).commands) == ["inherited"]


class Marker:
    """What cannot be called."""


@pytest.mark.parametrize("name", ["default", "dispatch"])
@pytest.mark.parametrize("value", [None, 5, Marker()])
def test_a_default_or_dispatch_that_a_value_hides_on_the_instance_is_none(name, value):
    class Hiding(Base):
        def default(self, gcmd, task):
            raise AssertionError("hidden")

        def dispatch(self, task):
            raise AssertionError("hidden")

    queue = Hiding()
    setattr(queue, name, value)
    assert getattr(CommandTable(queue), name) is None


def test_a_module_of_the_users_may_have_the_name_of_a_standard_one(monkeypatch, tmp_path):
    module = types.ModuleType("cmd")
    module.__file__ = str(tmp_path / "cmd.py")
    monkeypatch.setitem(sys.modules, "cmd", module)
    exec("def work(self, gcmd, task): return 'worked'", vars(module))
    queue = type("Queue", (GearmanCMDQueue,), {"__module__": "cmd", "work": module.work})
    assert list(CommandTable(queue()).commands) == ["work"]


def test_a_class_may_be_made_by_exec():
    namespace = {}
    exec(
        "from gearmancmd import GearmanCMDQueue\n"
        "class Queue(GearmanCMDQueue):\n    def work(self, gcmd, task): return 'worked'\n",
        namespace,
    )
    assert list(CommandTable(namespace["Queue"]()).commands) == ["work"]


def test_a_dispatch_or_default_that_takes_something_else_is_refused_at_once():
    class WrongDispatch(Base):
        def dispatch(self, queue, task):
            return "inherited"

    class WrongDefault(Base):
        def default(self, task):
            return None

    gcmd = GearmanCMD(["localhost"])
    with pytest.raises(TypeError, match=r"WrongDispatch.dispatch\(\) must take \(task\)"):
        gcmd.register_task("queue", WrongDispatch())
    with pytest.raises(TypeError, match=r"WrongDefault.default\(\) must take \(gcmd, task\)"):
        gcmd.register_task("queue", WrongDefault())
    assert not gcmd.queues


def test_what_is_left_out_is_logged_once_by_name(caplog):
    with caplog.at_level("INFO", "gearmancmd"):
        GearmanCMD(["localhost"]).register_task("queue", Arities())
        GearmanCMD(["localhost"]).register_task("other", Attributes())
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "queue queue: these methods are not commands: class_one, keyword, keywords, needs_keyword, none, one, "
        "partial_one, static_one, static_three, three"
    )


def logged(method):
    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        return method(*args, **kwargs)

    return wrapper


class Helped(Store):
    def helper(self, text):
        raise AssertionError("a task has called a helper")

    @logged
    def decorated_helper(self, text):
        raise AssertionError("a task has called a helper")

    @with_database
    def broken(self, gcmd, task, database):
        return task + database

    def reverse(self, gcmd, task):
        return task["message"][::-1]


@pytest.mark.parametrize("name", ["clear", "pop", "fromkeys", "helper", "decorated_helper"])
def test_no_task_reaches_what_is_no_command_and_the_worker_goes_on(server, client, queue, run, name):
    target = Helped(kept="yes")
    running = run(GearmanCMD([server.address]).register_task(queue, target))
    assert name in client.call(queue, {"command": name}).reason
    assert client.call(queue, {"command": "reverse", "message": "abc"}).result == "cba"
    assert target == {"kept": "yes"}
    assert running.error is None


def test_a_type_error_of_a_command_behind_a_decorator_leaves_run_as_any_other(server, client, queue, run):
    running = run(GearmanCMD([server.address]).register_task(queue, Helped()))
    assert client.call(queue, {"command": "broken"}).reason.startswith("TypeError: unsupported operand")
    assert isinstance(running.wait(), TypeError)


def test_the_registered_queues_can_be_read_and_not_changed():
    one, two = Queue(), Store()
    gcmd = GearmanCMD(["localhost"])
    assert not gcmd.queues
    gcmd.register_task("one", one).register_task("two", two)
    assert dict(gcmd.queues) == {"one": one, "two": two}
    with pytest.raises(TypeError):
        gcmd.queues["three"] = one
    with pytest.raises(AttributeError):
        gcmd.queues = {}
    assert not GearmanCMD(["localhost"]).queues
