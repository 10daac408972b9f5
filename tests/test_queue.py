"""Which methods of a queue are commands."""

from __future__ import annotations

from functools import cached_property, partialmethod

from gearmancmd import GearmanCMDQueue
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
