"""GearmanCMDQueue, which of its methods are commands, and from a task to the one that is called for it."""

from __future__ import annotations

import os
import reprlib
import sys
from collections.abc import Callable, Mapping
from functools import partial, partialmethod, singledispatchmethod
from types import CodeType, FunctionType, MappingProxyType, TracebackType
from typing import Any

from .command_options import CommandOptions, is_decorated, options_of, options_of_queue
from .errors import UnknownCommand

#: How a command is called: with the running GearmanCMD and the decoded task.
Command = Callable[[Any, Any], Any]


class GearmanCMDQueue:
    """Base of a queue of tasks: each public method of a subclass is a command.

    >>> class Queue(GearmanCMDQueue):
    ...     def reverse(self, gcmd, task):
    ...         return task["message"][::-1]

    A command gets the GearmanCMD that runs and the decoded task; what it returns is sent to the client.

    A subclass may define ``dispatch(self, task)``, which returns the name of the command for a task, or None to
    ignore the task.

    `time_limit`, `retries`, `backoff`, `retry_on` and `dead_letter` of a subclass are those of all of its commands
    that do not have their own: see :func:`gearmancmd.command`.
    """

    time_limit: float | None = None
    retries: int = 0
    backoff: float = 1.0
    retry_on: type[Exception] | tuple[type[Exception], ...] = (Exception,)
    dead_letter: str | None = None

    def default(self, gcmd: Any, task: Any) -> Any:
        """Called for a task that names no command of the queue. Unless overridden, it fails the job."""
        raise UnknownCommand(f"{type(self).__name__} has no command for this task")


#: Methods with a part of their own, and what they take: `dispatch` is asked and never called by a task, `default` is
#: called for tasks without a command.
_SPECIAL = {"default": ("gcmd", "task"), "dispatch": ("task",)}


class CommandTable:
    """What a queue offers, looked up once when it is registered and not by each task.

    Commands are the public methods of the user's classes and mixins that take (gcmd, task). What is inherited from
    GearmanCMDQueue or from the standard library (dict, threading.Thread) is none, and neither is a function of the
    standard library that a class has for an attribute. TypeError for a `dispatch` or `default` that takes something
    else.
    """

    def __init__(self, target: GearmanCMDQueue) -> None:
        #: The queue itself.
        self.target = target
        #: The commands, by name.
        self.commands: dict[str, Command] = {}
        #: The options of those that ask for something.
        self.options: dict[str, CommandOptions] = {}
        #: The names of public methods that are not commands.
        self.left_out: list[str] = []
        #: The user's own `dispatch`, if there is one.
        self.dispatch: Callable[[Any], Any] | None = None
        defaults = options_of_queue(target)
        for name in _public_methods(target):
            method = _bound(target, name)
            if method is None or _is_standard(_function_of(method)):
                self.left_out.append(name)
            elif name in _SPECIAL:
                self._add_special(name, method, target, defaults)
            elif _takes(method, 2):
                routine = method if _takes(method, 2, within=True) else _behind_decorator(name, method)
                self._add(name, method, routine, defaults)
            elif is_decorated(method):
                raise TypeError(f"{type(target).__name__}.{name}() must take (gcmd, task), not {method!r}")
            else:
                self.left_out.append(name)
        #: The user's own `default`, if there is one.
        self.default: Command | None = self.commands.get("default")

    def __bool__(self) -> bool:
        return bool(self.commands or self.dispatch)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: the queue alone, and what it offers is looked up again."""
        return type(self), (self.target,)

    def _add(self, name: str, method: Callable[..., Any], routine: Command, defaults: CommandOptions) -> None:
        named, options = options_of(method, defaults)
        if named is not None and name == "default":
            raise ValueError(f"default() is for tasks that name no command, so its name must not be {named!r}")
        name = named or name
        if name in self.commands:
            raise ValueError(f"two methods of {type(self.target).__name__} are command {name!r}")
        self.commands[name] = routine
        if not options.plain:
            self.options[name] = options

    def _add_special(
        self, name: str, method: Callable[..., Any], target: GearmanCMDQueue, defaults: CommandOptions
    ) -> None:
        wanted = _SPECIAL[name]
        if not _takes(method, len(wanted)):
            raise TypeError(f"{type(target).__name__}.{name}() must take ({', '.join(wanted)}), not {method!r}")
        if name == "dispatch":
            if is_decorated(method):
                raise TypeError(f"{type(target).__name__}.dispatch() is not a command, and has no options")
            self.dispatch = method
        else:
            self._add(name, method, method, defaults)


def command_table(target: object, argument: str) -> CommandTable:
    """The commands of `target`; TypeError or ValueError when it is not a queue or offers nothing."""
    if not isinstance(target, GearmanCMDQueue):
        raise TypeError(f"{argument} must be an instance of a GearmanCMDQueue subclass, not {target!r}")
    table = CommandTable(target)
    if not table:
        raise ValueError(
            f"{argument} has no command: {type(target).__name__} defines no public method that takes (gcmd, task): "
            f"{target!r}"
        )
    return table


class Commands:
    """The registered queues with their commands."""

    def __init__(self) -> None:
        self._tables: dict[str, CommandTable] = {}

    @property
    def targets(self) -> Mapping[str, GearmanCMDQueue]:
        """The registered queues by name; read-only."""
        return MappingProxyType({name: table.target for name, table in self._tables.items()})

    def add(self, queue: str, target: GearmanCMDQueue) -> list[str]:
        """Register a queue, in place of an earlier one of the same name; the public methods that are not commands."""
        table = command_table(target, "target")
        for name, options in table.options.items():
            if options.dead_letter == queue:
                raise ValueError(f"dead_letter of command {name!r} must be another queue than its own, not {queue!r}")
        self._tables = {**self._tables, queue: table}
        return table.left_out

    def dispatch(self, queue: str, task: Any, key: str) -> Any:
        """The default dispatch: the queue's own if it has one, else what the task holds under `key`."""
        table = self._tables[queue]
        if table.dispatch is not None:
            return table.dispatch(task)
        name = task.get(key) if isinstance(task, dict) else None
        return name if name and isinstance(name, str) else "default"

    @property
    def names(self) -> dict[str, list[str]]:
        """The names of each queue's commands."""
        return {queue: list(table.commands) for queue, table in self._tables.items()}

    def find(self, chosen: Any, queue: str) -> tuple[str, Command, CommandOptions | None] | tuple[None, None, None]:
        """The command, with its name and what options it has, for what a dispatch returned; Nones when the task is to
        be ignored. UnknownCommand when neither a command of that name nor a default is there.
        """
        if chosen is None:
            return None, None, None
        name = chosen
        if isinstance(chosen, tuple) and len(chosen) == 2:
            queue, name = chosen
        table = self._tables.get(queue) if isinstance(queue, str) else None
        if table is None:
            raise UnknownCommand(f"no queue {reprlib.repr(queue)} is registered here")
        routine = table.commands.get(name) if isinstance(name, str) else None
        if routine is not None:
            return name, routine, table.options.get(name)
        if table.default is None:
            raise UnknownCommand(_unknown(queue, name))
        return "default", table.default, table.options.get("default")


def _unknown(queue: str, name: object) -> str:
    if name == "default":
        return f"the task names no command of queue {queue!r}"
    why = ": a name with a leading underscore is private" if isinstance(name, str) and name.startswith("_") else ""
    return f"queue {queue!r} has no command {reprlib.repr(name)}{why}"


# Which methods a queue has, what they take, and where they come from.


def _public_methods(target: GearmanCMDQueue) -> list[str]:
    """The names, sorted, of what the first class that has the name has for a method."""
    owners: dict[str, type] = {}
    for cls in reversed(type(target).__mro__):
        owners.update(dict.fromkeys(vars(cls), cls))
    return [
        name
        for name, owner in sorted(owners.items())
        if not name.startswith("_") and owner not in GearmanCMDQueue.__mro__ and _is_method(vars(owner)[name])
    ]


def _is_method(value: object) -> bool:
    """Whether a class attribute is something to call: not a nested class, and not a property."""
    if isinstance(value, (classmethod, staticmethod, partialmethod, singledispatchmethod)):
        return True
    return callable(value) and not isinstance(value, type)


def _bound(target: GearmanCMDQueue, name: str) -> Callable[..., Any] | None:
    """The method as it is called; None when something else is there, such as a value that hides it on the instance."""
    try:
        method = getattr(target, name)
    except Exception:
        return None  # str.lower, say, as an attribute of a class that is not a str
    return method if callable(method) else None


def _function_of(method: Any) -> Any:
    while isinstance(method, partial):
        method = method.func
    return getattr(method, "__func__", method)


def _takes(method: Callable[..., Any], count: int, within: bool = False) -> bool:
    """Whether a callable takes so many arguments; `within`: and so does what its decorators have wrapped."""
    from inspect import signature  # noqa: PLC0415 - 5 ms that an import of the library need not wait for

    try:
        signature(method, follow_wrapped=within).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # written in C, as lru_cache() is, it does not say what it takes
        return not within and hasattr(method, "__wrapped__") and _takes(method, count, within=True)
    return True


def _is_standard(thing: Any) -> bool:
    """Whether a callable comes with Python."""
    name = getattr(thing, "__module__", None) or "builtins"
    if name == "builtins":
        return not isinstance(thing, FunctionType)  # which exec() has defined in a bare namespace
    top = name.partition(".")[0]
    if top not in sys.stdlib_module_names or top == "unittest":  # a Mock stands for a method of the user's
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or file.startswith(_STANDARD_LIBRARY)  # a user's cmd.py or queue.py may hide the standard one


_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep


def _behind_decorator(name: str, method: Command) -> Command:
    """A command whose decorator takes (gcmd, task), but not what it has wrapped. Perhaps the decorator adds arguments;
    else the task fails, and not the worker.
    """
    from inspect import unwrap  # noqa: PLC0415 - as above

    wrapped: CodeType | None = getattr(unwrap(method), "__code__", None)

    def call(gcmd: Any, task: Any) -> Any:
        try:
            return method(gcmd, task)
        except TypeError as error:
            if _has_run(wrapped, error.__traceback__):
                raise
            raise UnknownCommand(f"method {name!r} does not take (gcmd, task)", str(error)) from error

    return call


def _has_run(code: CodeType | None, traceback: TracebackType | None) -> bool:
    while traceback is not None and traceback.tb_frame.f_code is not code:
        traceback = traceback.tb_next
    return traceback is not None
