"""From what the command line says of a worker to a GearmanCMD: in this process, or in each child of a pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from .._wire.address import Address
from ..cmd import GearmanCMD
from ..errors import BootError, CommandError, UnexpectedError
from ..logs import reason
from .failure import Misuse
from .load import gcmd_path, load_gcmd, queue_paths, register
from .log import LogOptions, set_up_logging


@dataclass(frozen=True)
class WorkerOptions:
    """What the command line says. It can be pickled. None is for what it does not say."""

    targets: tuple[str, ...]
    queue: str | None
    servers: list[Address]
    #: Whether the command line names them, rather than the environment.
    servers_given: bool
    fail_fast: bool
    log: LogOptions
    #: Attributes of GearmanCMD.
    attributes: dict[str, Any]

    def make(self) -> GearmanCMD:
        """The worker. Misuse when it cannot be made, with the place in the user's code."""
        path = gcmd_path(self.targets, self.queue)
        return self._of_queues() if path is None else self._own(path)

    def _of_queues(self) -> GearmanCMD:
        gcmd = GearmanCMD(self.servers, exception_handler=None if self.fail_fast else fail_job, **self.attributes)
        for name, path in queue_paths(self.targets, self.queue):
            register(gcmd, name, path)
        return gcmd

    def _own(self, path: str) -> GearmanCMD:
        """The user's own, with what the command line says instead of what it says itself."""
        gcmd = load_gcmd(path)
        for name, value in self.attributes.items():
            setattr(gcmd, name, value)
        if self.servers_given:
            gcmd.servers = self.servers
        elif any(server.tls for server in self.servers):
            raise Misuse(f"--ca, --cert and --key are for servers that -s names: {path} has servers of its own")
        if self.fail_fast:
            gcmd.exception_handler = None
        elif gcmd.exception_handler is None:
            gcmd.exception_handler = fail_job
        if not gcmd.queues:
            raise Misuse(f"{path} has no queue: call its register_task()")
        return gcmd

    @property
    def known_servers(self) -> list[Address]:
        """Those that it has; none where the user's own GearmanCMD has others."""
        own = gcmd_path(self.targets, self.queue) is not None and not self.servers_given
        return [] if own else self.servers

    def notes(self) -> Iterator[str]:
        """What there is to say of it at the beginning."""
        servers = ", ".join(map(str, self.known_servers))
        where = f" at {servers}" if servers else ""
        path = gcmd_path(self.targets, self.queue)
        if path is not None:
            yield f"works with {path}{where}"
            return
        for name, each in queue_paths(self.targets, self.queue):
            yield f"works on {name} with {each}{where}"


def make_worker(options: WorkerOptions) -> GearmanCMD:
    """The worker, with its log set up, which is left as it is where the user's module has done so."""
    gcmd = options.make()
    set_up_logging(options.log)
    return gcmd


def make_in_child(options: WorkerOptions) -> GearmanCMD:
    """The same for a WorkerPool."""
    try:
        return make_worker(options)
    except click.ClickException as error:
        raise BootError(error.format_message()) from error


def fail_job(error: BaseException) -> NoReturn:
    """Be the exception handler: the job fails with type and text, and the log has the traceback."""
    if isinstance(error, CommandError):
        raise error  # a task without a command, say: there is no traceback of interest
    raise UnexpectedError(reason(error)) from error
