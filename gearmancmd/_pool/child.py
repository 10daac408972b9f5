"""What runs in a child of a WorkerPool: a GearmanCMD, and a thread that tells the supervisor how it gets on."""

from __future__ import annotations

import os
import pickle
import sys
import time
import traceback
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from .._wire.fork import close_in_child
from ..cmd import GearmanCMD
from ..errors import BootError
from ..hooks import check_hooks
from ..logs import exit_call, logger, reason
from .limits import Limits
from .messages import Booted, Ended, Leaving, LogStacks, NotBooted, Report, State, Stop
from .stacks import log_stacks
from .watch import Watch


class Setup(NamedTuple):
    """What a child is started with."""

    #: The pickled pair of the factory and the hooks.
    work: bytes
    limits: Limits
    #: Seconds for the jobs in hand where the supervisor is gone.
    grace: float

    def make(self) -> GearmanCMD:
        """The GearmanCMD. Whatever is raised here means that the child cannot boot."""
        factory, hooks = pickle.loads(self.work)
        gcmd = factory()
        if not isinstance(gcmd, GearmanCMD):
            raise BootError(f"the factory must return a GearmanCMD, not {gcmd!r}")
        check_hooks(hooks)
        gcmd.hooks = [*gcmd.hooks, *hooks]
        return gcmd


def main(setup: Setup, connection: Connection) -> None:
    """Work until the supervisor says otherwise, is gone, or a limit is reached."""
    # Ctrl+C in a terminal is the supervisor's, and what commands have started ends with a child that is killed.
    os.setpgid(0, 0)
    watch = ChildWatch(setup, connection)
    watch.start()
    try:
        _work(setup, watch)
    except SystemExit as error:
        watch.failed(error)
        raise
    except BaseException as error:
        watch.failed(error)
        sys.exit(1)
    finally:
        watch.end()


def _work(setup: Setup, watch: ChildWatch) -> None:
    gcmd = setup.make()
    watch.attach(gcmd)
    if not watch.leaving:
        gcmd.run()


class ChildWatch(Watch):
    """Tells the supervisor how things stand, and hears from it. A supervisor that is slow keeps this thread waiting,
    and no job.
    """

    def __init__(self, setup: Setup, connection: Connection) -> None:
        super().__init__(setup.limits)
        self._connection = connection
        close_in_child(connection)
        self._grace = setup.grace
        self._booted = False
        self._supervised = True
        #: When an orphan ends, whatever its jobs are at.
        self._deadline: float | None = None
        self._servers: dict[str, None] = {}
        self._told = State()

    # From other threads.

    def leave(self, why: str) -> None:
        """Take no more jobs, and tell of it."""
        if not self.leaving:
            self._post(Leaving(why))
        super().leave(why)

    def failed(self, error: BaseException) -> None:
        """Something left the factory, or run(): tell of it."""
        why = _told(error)
        if self._booted:
            self._post(Ended(why))
            if not self.last_failure.is_logged(error):
                logger.error("worker ended: %s", why, exc_info=error)
        else:
            self._post(NotBooted(why, "".join(traceback.format_exception(error))))

    def on_start(self) -> None:
        """The run begins: all that can be checked is checked."""
        self._booted = True
        self._post(Booted())
        super().on_start()

    def on_connect(self, server: str) -> None:
        """A server is there."""
        self._servers[server] = None
        self.waker.wake()  # somebody may wait for a ready child

    def on_disconnect(self, server: str) -> None:
        """A server is lost."""
        self._servers.pop(server, None)

    def _post(self, report: Report) -> None:
        self.waker.post(partial(self._send, report))

    # The thread.

    def sources(self) -> list[Any]:
        """The supervisor."""
        return [self._connection] if self._supervised else []

    def turn(self, ready: Sequence[Any]) -> None:
        """Hear what the supervisor says, and tell it what has changed."""
        if self._connection in ready:
            self._hear()
        self._tell()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            logger.error("worker ends without its supervisor, and its jobs go back to their queues")
            os._exit(1)

    def _hear(self) -> None:
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            self._orphaned()
            return
        if isinstance(message, Stop):
            self.leave("its supervisor says so")
        elif isinstance(message, LogStacks):
            log_stacks(self.jobs.in_hand())

    def _tell(self) -> None:
        state = State(tuple(self._servers), self.jobs.in_hand(), self.jobs.done)
        if state != self._told:
            self._told = state
            self._send(state)

    def _send(self, report: Report) -> None:
        if not self._supervised:
            return
        try:
            self._connection.send(report)
        except OSError:
            self._orphaned()

    def _orphaned(self) -> None:
        if self._supervised:
            self._supervised = False
            self._deadline = time.monotonic() + self._grace
            self.leave("its supervisor is gone")


def _told(error: BaseException) -> str:
    """One line on what ended a child."""
    if isinstance(error, BootError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"{exit_call(error)} was called"
    return reason(error)
