"""What a worker calls for a job: decode, dispatch, call the command, whichever way it is to be called."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from .._client.submission import background_packet
from .._worker.job import NO_ANSWER, WorkerJob
from ..errors import CommandError, UnknownCommand, leaves_worker
from ..hooks import HookCaller
from ..logs import LINE_LIMIT, logger, reason
from ..queue import Commands
from ..worker import GearmanWorker
from .attempts import Attempts, Pauses
from .event_loop import EventLoop
from .stream import is_asynchronous, is_stream, sent

#: Seconds that a server may take to acknowledge a job that a command, or its worker, submits.
SUBMIT_SECONDS = 30.0

#: What most commands return, and no command has to be called differently for.
_PLAIN = frozenset({str, int, float, bool, dict, list, tuple, type(None)})


class Target(Protocol):
    """The GearmanCMD, as commands get it."""

    exception_handler: Callable[[BaseException], Any] | None

    def dispatch(self, queue: str, task: Any) -> Any:
        """The name of the command for a task; (other queue, name); None to ignore it."""


class CommandCaller:
    """The callback of a worker, for all queues of a GearmanCMD."""

    def __init__(
        self,
        target: Target,
        commands: Commands,
        hooks: HookCaller | None,
        pauses: Pauses,
        event_loop: EventLoop,
        conclude: Callable[[WorkerJob, Callable[[], Any]], None],
    ) -> None:
        self._target = target
        self._commands = commands
        #: None where none is for each job.
        self._hooks = hooks
        self._pauses = pauses
        self._event_loop = event_loop
        #: Ends a job whose command ran in the event loop.
        self._conclude = conclude

    def __call__(self, worker: GearmanWorker, job: WorkerJob) -> Any:
        """The result of a job. NO_ANSWER when it has none: `job.deferred` tells whether the event loop will have it."""
        target = self._target
        attempts = None
        try:
            task = job.data
            if self._hooks is not None:
                self._hooks.job_begins(job, task)
            command, routine, options = self._commands.find(target.dispatch(job.task, task), job.task)
            job.dispatched(command)
            if job.origin.forked:
                raise job.origin.error()
            if routine is None:
                return self._result(job, None)
            if options is None:
                result = routine(target, task)
            else:
                attempts = Attempts(job, partial(routine, target), options, self._pauses)
                result = attempts.call()
            if type(result) not in _PLAIN:
                if is_stream(result):
                    result = sent(job, result)
                elif result is NO_ANSWER:
                    return NO_ANSWER
                elif is_asynchronous(result):
                    job.defer()
                    self._event_loop.start(job, partial(self._run, worker, job, result, attempts))
                    return NO_ANSWER
        except BaseException as error:
            if leaves_worker(error) or job.origin.forked:
                raise
            return self._handled(worker, job, error, attempts)
        return self._result(job, result)

    def _result(self, job: WorkerJob, result: Any) -> Any:
        result = job.result(result)
        if self._hooks is not None:
            job.keep_result(result)
        return result

    # In the event loop.

    async def _run(self, worker: GearmanWorker, job: WorkerJob, begun: Any, attempts: Attempts | None) -> None:
        """Have a coroutine's job answered. Where we have cancelled it the job has no answer, whatever it came to."""
        from .coroutines import awaited, outcome  # noqa: PLC0415 - asyncio, which not everybody needs

        answer: Callable[[], Any] = _no_answer
        try:
            result = await awaited(job, begun, attempts)
            answer = _no_answer if result is NO_ANSWER else partial(self._result, job, result)
        except BaseException as error:
            if not self._event_loop.cancelled(job):
                if leaves_worker(error) or job.origin.forked:
                    raise
                answer = await outcome(partial(self._handled, worker, job, error, attempts))
        self._conclude(job, _no_answer if self._event_loop.cancelled(job) else answer)

    def _handled(self, worker: GearmanWorker, job: WorkerJob, error: BaseException, attempts: Attempts | None) -> Any:
        return self._result(job, self._handle(worker, job, error, attempts))

    # Failures.

    def _handle(self, worker: GearmanWorker, job: WorkerJob, error: BaseException, attempts: Attempts | None) -> Any:
        """The exception handler's result. Without one the exception is on its way out of run(), unless it is a
        CommandError, which is the job's answer.
        """
        answers = isinstance(error, CommandError) and not isinstance(error, UnknownCommand)
        handler = self._target.exception_handler
        try:
            if answers or handler is None:
                raise error
            return handler(error)
        except BaseException as failure:
            job.failed(failure)
            if not isinstance(failure, CommandError):
                job.raised(failure)
            if attempts is not None and attempts.dead_letter is not None and not leaves_worker(failure):
                _bury(worker, job, failure, attempts.dead_letter)
            raise


def _bury(worker: GearmanWorker, job: WorkerJob, failure: BaseException, queue: str) -> None:
    """Submit the task of a job that fails for good to the queue for such tasks, and wait until it is there. Whatever
    comes of that, the job fails.
    """
    try:
        packet = background_packet(worker.data_encoder.encode, queue, _letter(job, failure), None, None, None)
        handle = job.submit(packet, SUBMIT_SECONDS)
    except Exception as error:  # of the user's encoder, say
        if leaves_worker(error):
            raise
        logger.error(
            "job %s of %s (%s) fails, and its task did not reach queue %s: %s; the task: %s",
            job.handle,
            job.queue,
            job.command,
            queue,
            reason(error),
            job.payload[:LINE_LIMIT].decode("utf-8", "backslashreplace"),
        )
    else:
        logger.info("job %s of %s (%s): its task is job %s of %s", job.handle, job.queue, job.command, handle, queue)


def _letter(job: WorkerJob, failure: BaseException) -> dict[str, Any]:
    job.decode_again()  # the task as the client sent it
    return {
        "task": job.data,
        "queue": job.queue,
        "command": job.command,
        "reason": reason(failure),
        "attempts": job.attempt,
        "handle": job.handle,
        "unique": job.unique,
    }


def _no_answer() -> Any:
    return NO_ANSWER
