"""Hooks: what a program does at a worker's start, at each of its jobs, and at its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ._wire.fork import Origin
from ._worker.hooks import ConnectionWatcher
from ._worker.job import WorkerJob
from .errors import leaves_worker
from .logs import logger


class Hooks:
    """What ``GearmanCMD(hooks=[...])`` calls, in the order of the list; GearmanCMD itself is the first.

    None of these methods does anything. Any object with some of them may be in the list; to inherit from this class
    only helps type checkers. They run in the thread that works on the job, so a slow hook delays the next job; on_start
    and on_stop run in the thread that called run(); on_connect and on_disconnect run in the background thread, which
    takes in no jobs and sends no answers meanwhile.

    What a hook raises is logged, with its traceback, and disturbs neither the job nor the other hooks.
    KeyboardInterrupt, SystemExit and whatever else is not an Exception leave it as they would leave a command.
    """

    def on_start(self) -> None:
        """The worker is about to connect to its servers."""

    def on_connect(self, server: str) -> None:
        """The worker has connected to a server, "host:port", and tells it now what queues it works on."""

    def on_disconnect(self, server: str) -> None:
        """A server that the worker was connected to is lost. Not called for what the worker's end closes."""

    def on_job(self, job: WorkerJob, task: Any) -> None:
        """A job begins, and `task` is its decoded payload; its command is not chosen yet. Not called for a payload that
        cannot be decoded.
        """

    def on_done(self, job: WorkerJob, result: Any, seconds: float) -> None:
        """A job was answered with `result`, which is the command's, or the exception handler's. It is None for a task
        that dispatch ignored, and after stop() in the command. `seconds` are those from the job's beginning to its
        answer.
        """

    def on_failure(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """A job failed with `error`: a PayloadError or a ResultError for what cannot be decoded or encoded, else what
        dispatch, the command or the exception handler raised. `seconds` as for on_done().
        """

    def on_stop(self) -> None:
        """The worker has ended, however it came to that. Called once for each on_start()."""


#: The names of the hooks.
NAMES = tuple(name for name in vars(Hooks) if name.startswith("on_"))


def check_hooks(hooks: Iterable[object]) -> None:
    """TypeError for what is not a list of objects with hooks."""
    if isinstance(hooks, (str, bytes)) or not isinstance(hooks, Iterable):
        raise TypeError(f"hooks must be a list of objects, not {hooks!r}")
    for number, hook in enumerate(hooks):
        if isinstance(hook, type):
            raise TypeError(f"hooks[{number}] must be an object, not a class: {hook!r}")
        found = [name for name in NAMES if getattr(hook, name, None) is not None]
        if not found:
            raise TypeError(f"hooks[{number}] must have a method {', '.join(NAMES[:-1])} or {NAMES[-1]}, not {hook!r}")
        for name in found:
            if not callable(getattr(hook, name)):
                raise TypeError(f"hooks[{number}].{name} must be callable, not {getattr(hook, name)!r}")


class HookCaller(ConnectionWatcher):
    """Calls the hooks of one run, and none in a child that is forked from it.

    A hook is a bound method. Those that Hooks defines do nothing, and are left out once and for all.
    """

    def __init__(self, hooks: Iterable[object], origin: Origin) -> None:
        self._origin = origin
        each = tuple(hooks)
        self._on_job = _methods(each, "on_job")
        self._on_done = _methods(each, "on_done")
        self._on_failure = _methods(each, "on_failure")
        self._on_connect = _methods(each, "on_connect")
        self._on_disconnect = _methods(each, "on_disconnect")
        #: For each object its on_start and on_stop, either of which it may not have.
        self._not_started = deque((_method(hook, "on_start"), _method(hook, "on_stop")) for hook in each)
        self._to_stop: deque[Callable[[], object]] = deque()
        #: Whether there is something to call for a job that does not fail.
        self.for_each_job = bool(self._on_job or self._on_done)

    def start(self) -> None:
        """The run begins."""
        while self._not_started:
            on_start, on_stop = self._not_started.popleft()
            if on_stop is not None:
                self._to_stop.append(on_stop)
            if on_start is not None:
                self._call((on_start,), "at the start")

    def stop(self) -> None:
        """The run has ended. May be called again, when it was broken off."""
        while self._to_stop and not self._origin.forked:
            hook = self._to_stop[0]
            try:
                self._to_stop.popleft()()  # in one line, which Ctrl+C strikes before it or not at all
            except Exception as error:
                _take(error, hook, "at the end")

    def connected(self, server: str) -> None:
        """The worker has connected to a server."""
        self._call(self._on_connect, f"at the connection to {server}", server)

    def disconnected(self, server: str) -> None:
        """The worker has lost a server."""
        self._call(self._on_disconnect, f"at the loss of {server}", server)

    def job_begins(self, job: WorkerJob, task: Any) -> None:
        """A job was decoded."""
        self._call(self._on_job, job, job, task)

    def job_ends(self, job: WorkerJob, seconds: float) -> None:
        """The worker is through with a job. One without an answer goes back to its queue: that is not for the hooks."""
        result, failure = job.take_end()
        if not job.handed_over:
            return
        if failure is not None:
            self._call(self._on_failure, job, job, failure, seconds)
        else:
            self._call(self._on_done, job, job, result, seconds)

    def _call(self, hooks: Iterable[Callable[..., object]], when: WorkerJob | str, *arguments: Any) -> None:
        for hook in hooks:
            if self._origin.forked:
                return
            try:
                hook(*arguments)
            except Exception as error:
                _take(error, hook, f"at {when.handle} of {when.queue}" if isinstance(when, WorkerJob) else when)


def _take(error: Exception, hook: object, where: str) -> None:
    """Log what a hook raised; but one that holds Ctrl+C or sys.exit() is raised again."""
    if leaves_worker(error):
        raise error
    logger.error("hook %s failed %s", getattr(hook, "__qualname__", None) or repr(hook), where, exc_info=error)


def _methods(hooks: tuple[object, ...], name: str) -> tuple[Callable[..., object], ...]:
    found = (_method(hook, name) for hook in hooks)
    return tuple(method for method in found if method is not None)


def _method(hook: object, name: str) -> Callable[..., object] | None:
    """The hook of an object; None when it has none, or the one that does nothing."""
    method: Callable[..., object] | None = getattr(hook, name, None)
    return None if getattr(method, "__func__", None) is getattr(Hooks, name) else method
