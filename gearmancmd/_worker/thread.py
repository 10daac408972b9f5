"""The background thread that runs a worker's loop, and what the dispatcher does with it."""

from __future__ import annotations

import threading
from typing import Protocol

from .._wire import fork, threads
from .._wire.waker import Waker
from .hooks import LoopWorker
from .loop import Loop
from .pipe import DispatcherEnd, LoopEnd, open_pipe

#: Seconds for the thread to end: sending the last answers and hanging up have limits of their own, and are over before.
THREAD_END_SECONDS = 10.0


class AttachedWorker(LoopWorker, Protocol):
    """A worker that is told which loop runs for it."""

    def attach(self, loop: Loop, waker: Waker) -> None:
        """Its loop begins to run."""

    def detach(self) -> None:
        """Its loop runs no more."""


class WorkerThread:
    """One run of a worker in the background. The thread that made it is the dispatcher: it alone calls start()
    and end(). An exception may strike it anywhere; end() may then be called again.
    """

    def __init__(self, worker: AttachedWorker, poll_timeout: float, origin: fork.Origin) -> None:
        self._origin = origin
        self._worker = worker
        self._poll_timeout = poll_timeout
        self._waker: Waker | None = None
        self._pipe: DispatcherEnd | None = None
        self._loop: Loop | None = None
        #: What the loop's thread raised.
        self._failure: BaseException | None = None
        #: Who has the loop, once that is decided: the new thread, or end() when it came first.
        self._owner: dict[str, str] = {}
        self._ended = threads.Latch()
        self._thread: threading.Thread | None = None

    @property
    def pipe(self) -> DispatcherEnd:
        """The dispatcher's end of the Pipe, once it is started."""
        assert self._pipe is not None
        return self._pipe

    def start(self) -> None:
        """Connect to the servers, and let jobs come."""
        waker = Waker()
        upper, self._pipe = open_pipe(waker, self._origin)
        loop = self._loop = Loop(self._worker, waker, upper)
        self._waker = waker
        self._worker.attach(loop, waker)
        threads.start(
            "gearmancmd-worker", lambda: self._run(loop, upper), lambda error: self._not_started(error, upper)
        )

    def end(self) -> None:
        """Have what was answered sent, and wait until the connections are closed and the thread is gone. A forked child
        has neither.
        """
        if not self._origin.forked:
            self._end_loop()
        self._worker.detach()
        self._pipe = self._loop = self._waker = None

    def _end_loop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._owns("end"):
            self._ended.set()
            if self._loop is not None:
                self._loop.end()
        if self._ended.wait(THREAD_END_SECONDS) and self._thread is not None:
            self._thread.join(THREAD_END_SECONDS)

    def raise_failure(self) -> None:
        """What ended the loop, if it was an exception."""
        if self._failure is not None:
            raise self._failure

    # From any thread, and from signal handlers.

    def stop(self, graceful: bool) -> None:
        """Have no further job come; `graceful`: but those that are assigned already."""
        waker, loop = self._waker, self._loop
        if waker is not None and loop is not None:
            waker.post(loop.drain if graceful else loop.stop)

    # The background thread.

    def _run(self, loop: Loop, pipe: LoopEnd) -> None:
        if not self._owns("thread"):
            return  # end() was here before
        self._thread = threading.current_thread()
        try:
            while loop.run_once(self._poll_timeout):
                pass
        except BaseException as error:  # after_poll() may call sys.exit(): the dispatcher must hear of that too
            if self._origin.forked:
                raise  # a child that a hook has forked: it has no dispatcher
            self._failure = error
            pipe.send_end()
        try:
            loop.end()
        finally:
            pipe.close()
            self._ended.set()

    def _owns(self, who: str) -> bool:
        """Whether the loop is this one's. One step of the interpreter, which nothing can break off half-way."""
        return self._owner.setdefault("loop", who) == who

    def _not_started(self, error: Exception, pipe: LoopEnd) -> None:
        self._failure = error
        pipe.close()
        self._ended.set()
