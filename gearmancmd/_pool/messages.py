"""What a child and its supervisor tell one another through their Pipe."""

from __future__ import annotations

from typing import NamedTuple


class JobInHand(NamedTuple):
    """A job that a process works on."""

    queue: str
    #: None until its command is chosen.
    command: str | None
    handle: str
    #: The server that assigned it, "host:port".
    server: str
    #: When it began, by time.monotonic(), which is the same in all processes of a machine.
    since: float

    def __str__(self) -> str:
        return f"job {self.handle} of {self.queue} ({self.command or '-'})"


class Booted(NamedTuple):
    """The child is about to connect to its servers."""


class NotBooted(NamedTuple):
    """The child cannot begin to work: why, and the traceback."""

    why: str
    trace: str


class State(NamedTuple):
    """How things stand in the child. It is told a few times a second, while something changes."""

    #: The servers that it is connected to.
    servers: tuple[str, ...] = ()
    jobs: tuple[JobInHand, ...] = ()
    jobs_done: int = 0


class Leaving(NamedTuple):
    """The child takes no more jobs, and ends once those that it has are answered."""

    why: str


class Ended(NamedTuple):
    """The child's run() has ended, by an exception: its type and text."""

    why: str


#: What a child tells.
Report = Booted | NotBooted | State | Leaving | Ended


class Stop(NamedTuple):
    """The child is to take no more jobs, and to end once those that it has are answered."""


class LogStacks(NamedTuple):
    """The child is to log what its threads are at."""
