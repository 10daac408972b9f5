"""The metrics of a pool's processes, in files of one directory: prometheus_client's multiprocess mode.

There each process has files of its own, which stay when it ends, for counters must not go back. They bear its process
id; a pool that replaces its processes now and then would have ever more of them, and each look would take longer. So a
process takes the lowest number that no living one has, and its counters go on from where the last process with that
number left them. A locked file keeps the number as long as the process lives, however that ends.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..cmd import GearmanCMD
from ..metrics import Metrics  # MissingExtra without what is imported next

from prometheus_client import CollectorRegistry, make_wsgi_app, multiprocess, values  # isort: skip

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


# In a process of the pool.


def measured(factory: Callable[[], GearmanCMD], directory: str) -> GearmanCMD:
    """What the factory makes, with a hook whose metrics are kept in the directory. So are those that the modules make
    which the factory imports.
    """
    join(directory)
    gcmd = factory()
    add_metrics(gcmd)
    return gcmd


def add_metrics(gcmd: GearmanCMD) -> None:
    """Add the hook, unless it is there already."""
    hooks = list(gcmd.hooks)
    gcmd.hooks = hooks if any(isinstance(hook, Metrics) for hook in hooks) else [*hooks, Metrics()]


def join(directory: str) -> None:
    """Have the metrics that are made from now on kept in the directory."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    number = ProcessNumber(Path(directory))
    multiprocess.mark_process_dead(number.name, directory)  # the last one with this number
    values.ValueClass = values.MultiProcessValue(number)


class ProcessNumber:
    """The lowest number that no living process has taken in a directory; taken until this process ends."""

    def __init__(self, directory: Path) -> None:
        self._pid = os.getpid()
        for number in itertools.count():
            lock = _lock(directory / f"worker{number}.lock")
            if lock is not None:
                #: The name that the files bear.
                self.name = f"worker{number}"
                self._lock = lock
                return

    def __call__(self) -> str:
        """The name; a child that a command has forked has another one, and so files of its own."""
        return self.name if os.getpid() == self._pid else f"{self.name}-{os.getpid()}"


def _lock(path: Path) -> TextIO | None:
    """The file, open and locked; None when another living process has locked it. A forked child does not inherit a
    lock of this kind.
    """
    file = path.open("a", encoding="ascii")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX leaves the choice between the two
        file.close()
        return None
    return file


# In the supervisor.


def shared_metrics(directory: str) -> WSGIApplication:
    """prometheus_client's application for the sum of all processes."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=directory)
    respond: WSGIApplication = make_wsgi_app(registry)
    one_at_a_time = threading.Lock()

    def metrics(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with one_at_a_time:
            _forget_dead(Path(directory))
            return respond(environ, start_response)

    return metrics


def _forget_dead(directory: Path) -> None:
    """Remove the gauges of processes that have ended: what they had in flight, say."""
    for path in directory.glob("worker*.lock"):
        lock = _lock(path)
        if lock is not None:
            with lock:
                multiprocess.mark_process_dead(path.stem, str(directory))
