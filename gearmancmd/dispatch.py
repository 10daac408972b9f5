"""From a task to the routine that is called for it."""

from __future__ import annotations

import reprlib
from typing import Any

from .errors import UnknownCommand
from .queue import Command, CommandTable, GearmanCMDQueue, command_table


class Routines:
    """The registered queues with their commands."""

    def __init__(self) -> None:
        #: The command table of each queue, by the queue's name.
        self.queues: dict[str, CommandTable] = {}

    def add(self, queue: str, target: GearmanCMDQueue) -> None:
        """Register a queue, in place of an earlier one of the same name."""
        self.queues = {**self.queues, queue: command_table(target, "target")}

    def dispatch(self, queue: str, task: Any, key: str) -> Any:
        """The default dispatch: the queue's own if it has one, else what the task holds under `key`."""
        table = self.queues[queue]
        if table.dispatch is not None:
            return table.dispatch(task)
        name = task.get(key) if isinstance(task, dict) else None
        return name if isinstance(name, str) else "default"

    def find(self, chosen: Any, queue: str) -> Command | None:
        """The routine for what a dispatch returned; None when the task is to be ignored. UnknownCommand when neither
        a command of that name nor a default is there.
        """
        if chosen is None:
            return None
        name = chosen
        if isinstance(chosen, tuple) and len(chosen) == 2:
            queue, name = chosen
        table = self.queues.get(queue) if isinstance(queue, str) else None
        if table is None:
            raise UnknownCommand(f"no queue {reprlib.repr(queue)} is registered here")
        routine = table.commands.get(name, table.default) if isinstance(name, str) else table.default
        if routine is None:
            raise UnknownCommand(_unknown(queue, name))
        return routine


def _unknown(queue: str, name: object) -> str:
    if name == "default":
        return f"the task names no command of queue {queue!r}"
    return f"queue {queue!r} has no command {reprlib.repr(name)}"
