"""``gearmancmd run``: a worker from an import path."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from operator import attrgetter

import click

from ..cmd import GearmanCMD
from ..errors import reason
from ..queue import GearmanCMDQueue
from .failure import Failure, Misuse
from .options import command, debugging, servers_option


@command(
    "gearmancmd run myapp.queues:Queue -q queue",
    "gearmancmd run mail=myapp.queues:Mail post=myapp.queues:Post -s localhost:4730 --prefetch 10",
)
@click.argument("targets", nargs=-1, required=True, metavar="[QUEUE=]MODULE:CLASS...")
@click.option("-q", "--queue", metavar="QUEUE", help="The queue of the target that does not name its own.")
@servers_option
@click.option("--prefetch", type=click.IntRange(min=1), default=1, show_default=True, help="Jobs held at once.")
@click.option("--command", default="command", show_default=True, metavar="KEY", help="The key that names the command.")
@click.option("--client-id", metavar="NAME", help="The worker's name in `gearmancmd workers`.")
@click.pass_context
def run(
    context: click.Context,
    targets: Sequence[str],
    queue: str | None,
    servers: list[str],
    prefetch: int,
    command: str,
    client_id: str | None,
) -> None:
    """Work on queues with the classes at import paths.

    The current directory is importable, as with python -m.

    SIGTERM lets the job in hand finish, answers it, and exits with 0. Ctrl+C interrupts the job, which goes back to its
    queue, and exits with 130. An exception that a command raises ends the worker, with exit status 1.
    """
    level = logging.DEBUG if debugging(context) else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    gcmd = GearmanCMD(servers, command=command, prefetch=prefetch, client_id=client_id)
    for name, path in queue_paths(targets, queue):
        gcmd.register_task(name, load_queue(path))
        click.echo(f"works on {name} with {path} at {', '.join(servers)}", err=True)
    work(gcmd)


def queue_paths(targets: Sequence[str], queue: str | None) -> list[tuple[str, str]]:
    """The pairs of a queue's name and an import path. Misuse when a name is missing, or left over."""
    pairs = [(name, path) for name, mark, path in (target.rpartition("=") for target in targets) if mark]
    bare = [target for target in targets if "=" not in target]
    if bare and queue is None:
        raise Misuse(f"{bare[0]}: which queue? Say QUEUE={bare[0]}, or -q QUEUE")
    if queue is not None and len(bare) != 1:
        raise Misuse(f"-q {queue} is for one MODULE:CLASS without a queue, not {len(bare)}")
    pairs += [(queue or "", path) for path in bare]
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Misuse(f"queue {twice} is given twice")
    return pairs


def load_queue(path: str) -> GearmanCMDQueue:
    """The queue at an import path: of the class there, or the instance there. Misuse when there is none."""
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise Misuse(f"{path} is no import path: MODULE:CLASS, such as myapp.queues:Queue")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as with python -m, whatever script started us
    try:
        found = attrgetter(name)(importlib.import_module(module_name))
        target = found() if isinstance(found, type) else found
    except Exception as error:
        raise Misuse(f"{path} cannot be loaded: {reason(error)}") from error
    if not isinstance(target, GearmanCMDQueue):
        raise Misuse(f"{path} is no GearmanCMDQueue")
    return target


class Terminated:
    """A stop trigger that signal handlers may set: a threading.Event has a lock, and could wait for itself there."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self, signum: int, frame: object) -> None:
        """Be the handler of a signal."""
        self._is_set = True

    def is_set(self) -> bool:
        """Whether the signal has come."""
        return self._is_set


def work(gcmd: GearmanCMD) -> None:
    """Work until SIGTERM, Ctrl+C or a command's exception."""
    terminated = Terminated()
    signal.signal(signal.SIGTERM, terminated.set)
    try:
        gcmd.run(terminated)
    except Exception as error:
        raise Failure(f"the worker ended: {reason(error)}{_place(error)}") from error


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" (in {frames[-1].name}, {frames[-1].filename}:{frames[-1].lineno}; --debug shows the traceback)"
