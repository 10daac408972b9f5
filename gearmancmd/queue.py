"""GearmanCMDQueue, and which of its methods are commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partialmethod
from typing import Any

from .errors import UnknownCommand

#: How a command is called: with the running GearmanCMD and the decoded task.
Command = Callable[[Any, Any], Any]


class GearmanCMDQueue:
    """Base of a queue of tasks: each public method of a subclass is a command, ``method(self, gcmd, task)``.

    A subclass may define ``dispatch(self, task)``, which returns the name of the command for a task, or None to
    ignore the task.
    """

    def default(self, gcmd: Any, task: Any) -> Any:
        """Called for a task that names no command of the queue. Unless overridden, it fails the job."""
        raise UnknownCommand(f"{type(self).__name__} has no command for this task")


#: Names that no task can call, though a queue may define them: `dispatch` is asked, not called; `default` is reached
#: by a way of its own.
_RESERVED = frozenset(dir(GearmanCMDQueue)) | {"dispatch"}


class CommandTable:
    """What a queue offers, looked up once when it is registered and not by each task.

    Commands are the public methods that the user's classes define; names that start with an underscore or that come
    from GearmanCMDQueue or object are none.
    """

    def __init__(self, target: GearmanCMDQueue) -> None:
        defined = {name for cls in _own_classes(target) for name, value in vars(cls).items() if _is_method(value)}
        methods = {name: getattr(target, name) for name in defined if not name.startswith("_")}
        self.commands: dict[str, Command] = {name: methods[name] for name in methods.keys() - _RESERVED}
        #: The user's own `default`, if there is one.
        self.default: Command | None = methods.get("default")
        #: The user's own `dispatch`, if there is one.
        self.dispatch: Callable[[Any], Any] | None = methods.get("dispatch")
        if self.default is not None:
            self.commands["default"] = self.default

    def __bool__(self) -> bool:
        return bool(self.commands or self.dispatch)


def command_table(target: object, argument: str) -> CommandTable:
    """The commands of `target`; TypeError or ValueError when it is no queue or offers nothing."""
    if not isinstance(target, GearmanCMDQueue):
        raise TypeError(f"{argument} must be an instance of a GearmanCMDQueue subclass, not {target!r}")
    table = CommandTable(target)
    if not table:
        raise ValueError(f"{argument} has no command: {type(target).__name__} defines no public method: {target!r}")
    return table


def _own_classes(target: GearmanCMDQueue) -> list[type]:
    return [cls for cls in type(target).__mro__ if cls not in GearmanCMDQueue.__mro__]


def _is_method(value: object) -> bool:
    """Whether a class attribute is something to call: not a nested class, and not a property."""
    if isinstance(value, (classmethod, staticmethod, partialmethod)):
        return True
    return callable(value) and not isinstance(value, type)
