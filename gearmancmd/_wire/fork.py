"""What becomes of this library in a process that was forked.

A fork copies every descriptor and the one thread that calls it. So a child holds its parent's connections open, and a
job server would not see that the parent has died; and whatever the child then sends, it sends in its parent's name. So
in the child inherited sockets and ends of Pipes are closed, and what was running counts as never started.

A fork may come at any moment, in any thread, in a destructor too: so nothing here takes a lock. The registries hold
weak references, and are changed and copied in single steps of the interpreter. Resources are closed by way of their
objects, which know whether they are closed: a descriptor's number may be a stranger's by now. They are closed plainly:
shutdown(), a TLS goodbye or a change to an epoll set would reach the parent's side too.

Clients and workers need two calls: :func:`close_in_child` for a socket (:func:`new_socket` has done that), and
:func:`call_in_child` for what makes an object as it was before it started.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    #: What can be closed in a child.
    Resource = Union[socket.socket, Connection]

_resources: dict[int, weakref.ref[Resource]] = {}
#: Methods as object and function: a WeakMethod complains when it dies with its object, at the end of a process.
_calls: dict[tuple[int, str], tuple[weakref.ref[Any], Callable[[Any], object]]] = {}

#: A child keeps the objects that it closed: to free a TLS object that another thread was changing could crash it.
_closed: list[object] = []

#: Another object after each fork.
_last_fork = object()


def close_in_child(resource: Resource) -> None:
    """Have a socket or an end of a Pipe closed in each process that is forked, as long as the object lives."""
    _resources[id(resource)] = weakref.ref(resource, partial(_forget, _resources, id(resource)))


def keep_in_child(resource: Resource) -> None:
    """Leave it alone from now on. For an end of a Pipe, before it is closed: other than a socket, it still names its
    descriptor when that is closed already, and perhaps another file's.
    """
    _resources.pop(id(resource), None)


def call_in_child(method: Callable[[], object]) -> None:
    """Have a bound method called in each process that is forked, as long as its object lives: after the resources were
    closed, by the only thread that there is. It must not raise.
    """
    bound: Any = method
    key = id(bound.__self__), bound.__name__
    _calls[key] = weakref.ref(bound.__self__, partial(_forget, _calls, key)), bound.__func__


def new_socket(family: int, kind: int, proto: int) -> socket.socket:
    """A socket that is closed in each process that is forked, whenever that happens."""
    while True:
        before = _last_fork
        made = socket.socket(family, kind, proto)
        close_in_child(made)
        if _last_fork is before:
            return made
        made.close()  # a child may have it: forked by another thread, before it was registered


class Origin:
    """The process in which something runs. `forked` turns true in a child that is forked from it."""

    def __init__(self) -> None:
        self.forked = False
        self.pid = os.getpid()
        call_in_child(self._leave)

    def error(self) -> RuntimeError:
        """To be raised in a child that goes on with what its parent does."""
        return RuntimeError(
            f"run() or work() was called in process {self.pid}, and this is process {os.getpid()}, which was forked in "
            "the middle of it: its jobs are the parent's. A forked child must not return from a command: end it with "
            "os._exit(), or start it with multiprocessing"
        )

    def _leave(self) -> None:
        self.forked = True


def _forget(entries: dict[Any, Any], key: Hashable, _: object) -> None:
    entries.pop(key, None)


def _mark_fork() -> None:
    global _last_fork  # noqa: PLW0603 - the one thing here that is not an entry of a registry
    _last_fork = object()


def _leave_parent() -> None:
    for resource in list(_resources.values()):
        _close(resource())
    _resources.clear()
    for reference, function in list(_calls.values()):
        owner = reference()
        if owner is not None:
            function(owner)


def _close(resource: Resource | None) -> None:
    if resource is None:
        return
    _closed.append(resource)
    try:
        if isinstance(resource, socket.socket):
            os.close(resource.detach())
        else:
            resource.close()
    except OSError:
        pass  # it was closed already, by the parent or by whatever made this process a daemon


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    # Twice in the parent, for between the fork and the second call other threads may run.
    os.register_at_fork(before=_mark_fork, after_in_parent=_mark_fork, after_in_child=_leave_parent)
