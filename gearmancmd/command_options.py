"""What a queue may ask for its commands: a limit of time, further attempts, where a task goes that fails for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from . import arguments
from ._wire.backoff import jittered_pause
from .errors import CommandError, leaves_worker

F = TypeVar("F", bound=Callable[..., Any])

#: Where the decorator keeps what it was given.
_ATTRIBUTE = "gearmancmd_options"

#: Seconds that a pause between two attempts has at most.
BACKOFF_LAST_SECONDS = 3600.0

#: Seconds that a time limit may have: what timers can hold.
TIME_LIMIT_LARGEST_SECONDS = 1e9


class CommandOptions:
    """What :func:`command` takes, and a queue's class attributes of the same names, but for `name`."""

    # Not a dataclass: these import inspect, and that takes half as long as the rest of the library.

    #: Seconds that an attempt may take; None without a limit.
    time_limit: float | None = None
    #: Attempts after the first.
    retries: int = 0
    #: Seconds before the first of them; twice as long before each further one.
    backoff: float = 1.0
    #: The exceptions after which there is another attempt.
    retry_on: tuple[type[Exception], ...] = (Exception,)
    #: The queue for tasks that fail for good; None for none.
    dead_letter: str | None = None

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)
        if self.time_limit is not None:
            arguments.seconds(self.time_limit, "time_limit", most=TIME_LIMIT_LARGEST_SECONDS)
        arguments.count(self.retries, "retries", least=0)
        arguments.seconds(self.backoff, "backoff", least=0)
        self.retry_on = _exceptions(self.retry_on)
        if self.dead_letter is not None:
            arguments.function_name(self.dead_letter, "dead_letter")

    @property
    def plain(self) -> bool:
        """Whether they ask for nothing."""
        return self.time_limit is None and not self.retries and self.dead_letter is None

    def retries_after(self, error: BaseException, attempt: int) -> bool:
        """Whether there is another attempt after this one, counted from 1. A CommandError is the command's answer: only
        a `retry_on` that names it, or a class below it, asks for one.
        """
        if attempt > self.retries or leaves_worker(error):
            return False
        meant = isinstance(error, CommandError)
        return any(isinstance(error, kind) and (not meant or issubclass(kind, CommandError)) for kind in self.retry_on)

    def pause(self, attempt: int) -> float:
        """Seconds to wait after an attempt, counted from 1."""
        return jittered_pause(self.backoff, BACKOFF_LAST_SECONDS, attempt - 1)


@overload
def command(function: F, /) -> F: ...


@overload
def command(
    *,
    time_limit: float | None = ...,
    retries: int = ...,
    backoff: float = ...,
    retry_on: type[Exception] | tuple[type[Exception], ...] = ...,
    dead_letter: str | None = ...,
    name: str | None = ...,
) -> Callable[[F], F]: ...


def command(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """For a command of a queue: ``@gearmancmd.command(time_limit=60, retries=3, retry_on=OSError)``.

    - `time_limit`: seconds for each attempt. Then CommandTimeout is raised in the command, and fails the job.
    - `retries`: attempts after the first, here and at once, while the job stays assigned to this worker.
    - `backoff`: seconds before the second attempt, about; each further pause is twice as long, up to an hour.
    - `retry_on`: an exception class, or several, after which there is another attempt; by default Exception, which does
      not stand for CommandError and CommandTimeout: name those where they are meant.
    - `dead_letter`: the queue to which a task goes that fails for good, before the job fails.
    - `name`: the command's name in tasks, where it is to be another than the method's.

    What is left out is as the class has it: ``time_limit = 60`` in a queue's class is for all of its commands. A method
    that overrides another one has its own options, and none of that one's. TypeError or ValueError for what makes no
    sense.
    """
    unknown = set(options) - {"name", *_NAMES}
    if unknown:
        raise TypeError(f"command() has no argument {min(unknown)!r}")
    name = options.get("name")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, not {name!r}")
    if name == "" or name in _NOT_NAMES:
        raise ValueError(f"name must be that of a command, not {name!r}")
    CommandOptions(**{key: value for key, value in options.items() if key != "name"})

    def decorate(function: F) -> F:
        method = getattr(function, "__func__", function)  # of a classmethod or staticmethod
        try:
            if not callable(method):
                raise TypeError
            setattr(method, _ATTRIBUTE, {**_given(method), **options})
        except (AttributeError, TypeError):
            raise TypeError(f"command() decorates a method, not {function!r}; its options have names") from None
        return function

    return decorate if function is None else decorate(function)


_NAMES = tuple(CommandOptions.__annotations__)


#: Methods of a queue that no task names.
_NOT_NAMES = ("default", "dispatch")


def options_of(method: object, defaults: CommandOptions) -> tuple[str | None, CommandOptions]:
    """The name in tasks that a command asks for, if it does, and its options."""
    given = dict(_given(method))
    name = given.pop("name", None)
    return name, CommandOptions(**{**vars(defaults), **given})


def is_decorated(method: object) -> bool:
    """Whether it says that it is a command."""
    return isinstance(getattr(method, _ATTRIBUTE, None), dict)  # a Mock has any attribute


def _given(method: object) -> dict[str, Any]:
    return getattr(method, _ATTRIBUTE) if is_decorated(method) else {}


def options_of_queue(queue: object) -> CommandOptions:
    """The options that a queue has for all of its commands. TypeError or ValueError, naming its class. A method that is
    called as an option is a command.
    """
    values = {name: getattr(queue, name) for name in _NAMES}
    given = {name: value for name, value in values.items() if isinstance(value, type) or not callable(value)}
    try:
        return CommandOptions(**given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{type(queue).__name__}.{error}") from None


def _exceptions(given: object) -> tuple[type[Exception], ...]:
    kinds = given if isinstance(given, (tuple, list)) else (given,)
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            raise TypeError(f"retry_on must be Exception or classes below it, not {given!r}")
    return tuple(kinds)
