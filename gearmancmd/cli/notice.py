"""What is said on a terminal when a server or the workers keep us waiting. It delays nothing, and fails nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType

from .._wire.address import Address
from ..admin import Admin
from ..errors import AdminError, ServerUnavailable
from .output import note
from .terminal import shown

#: How long it is quiet before anything is said.
_QUIET_SECONDS = 3.0

#: How long a server may take to say whether there are workers. Nobody waits for it.
_ANSWER_SECONDS = 60.0


class Notice:
    """Finds out, in a thread of its own, whether there is something to say, and says it unless the block has ended.

    The thread is a daemon: a server that does not answer it keeps no process alive.
    """

    def __init__(self, find: Callable[[], str | None], quiet: float) -> None:
        self._find = find
        self._quiet = quiet
        self._over = threading.Event()
        self._speaking = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Notice:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._speaking:  # not in the middle of a line
            self._over.set()

    def _run(self) -> None:
        if self._over.wait(self._quiet):
            return
        try:
            text = self._find()
        except Exception:
            return  # no admin answers, or other ones than gearmand's: the command itself will tell what is wrong
        with self._speaking:
            if text is not None and not self._over.is_set():
                note(text)


@contextmanager
def notice_unserved(servers: Sequence[Address], queue: str) -> Iterator[None]:
    """On a terminal, say which servers have jobs in the queue and no worker for them."""
    with _notices([partial(unserved, server, queue) for server in servers], _QUIET_SECONDS):
        yield


@contextmanager
def notice_mute(servers: Sequence[Address]) -> Iterator[None]:
    """On a terminal, say which servers accept connections and do not answer."""
    with _notices([partial(mute, server) for server in servers], 0.0):
        yield


@contextmanager
def _notices(questions: Sequence[Callable[[], str | None]], quiet: float) -> Iterator[None]:
    with ExitStack() as stack:
        if sys.stderr.isatty():
            for find in questions:
                stack.enter_context(Notice(find, quiet))
        yield


def unserved(server: Address, queue: str) -> str | None:
    """What there is to say of a queue whose jobs wait on a server without a worker."""
    for row in Admin([server], _ANSWER_SECONDS).status():
        if row.queue == queue and row.waiting and not row.workers:
            return f"no worker serves queue {shown(queue)} at {server}; waiting for one, Ctrl+C leaves"
    return None


def mute(server: Address) -> str | None:
    """What there is to say of a server that does not answer. One that cannot be reached is the worker's to log."""
    try:
        Admin([server], _QUIET_SECONDS).version()
    except ServerUnavailable as error:
        if error.__cause__ is None or isinstance(error.__cause__, TimeoutError):
            return f"{error}, though it may accept connections: is it a job server? The worker waits for it"
    except AdminError:
        pass  # it answers, as the embedded server does, though it does not know the question
    return None
