"""The worker's loop: one thread, one poll over the servers' sockets, the Pipe to the dispatcher and a waker.

It owns the sockets and works on no job. Other threads speak to it in messages: the dispatcher through the Pipe, all
others by the waker. A worker that works by itself has no Pipe; it takes the jobs from the loop and puts their answers
into it, all in one thread.
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from functools import partial
from typing import Any

from gearman import protocol as kinds
from gearman.errors import GearmanError, ProtocolError
from gearman.worker import GearmanWorker

from .. import arguments
from .._wire import fork
from .._wire.packet import pack, to_text, to_wire
from .._wire.reconnect import Attempt
from .._wire.waker import Waker
from ..logs import logger
from .assigned import AssignedJobs
from .grabs import DEAD_LOOK_SECONDS, DEAD_SECONDS, NEVER, GrabScheduler, ServerGrabs
from .hooks import LoopWorker
from .long_command import LongCommand
from .pipe import Assignment, LoopEnd, Update
from .server import GONE, READABLE, Server, hang_up

_GRAB = pack(kinds.GEARMAN_COMMAND_GRAB_JOB_UNIQ)
_PRE_SLEEP = pack(kinds.GEARMAN_COMMAND_PRE_SLEEP)

#: Seconds that a graceful stop waits for the answers to grabs that are out.
DRAIN_SECONDS = 2.0

#: Seconds for attempts to connect to end with the loop.
ATTEMPT_END_SECONDS = 0.5

#: Bytes that the names of one job may have: two batches fit into the Pipe.
NAMES_LIMIT_BYTES = 1024


class Loop:
    """One run of a worker, from its first connection to its last; run once, and thrown away."""

    def __init__(self, worker: LoopWorker, waker: Waker, pipe: LoopEnd | None = None) -> None:
        self._worker = worker
        #: Where it runs, and the dispatcher.
        self.origin = pipe.origin if pipe is not None else fork.Origin()
        self._pipe = pipe
        self._waker = waker
        self._jobs = AssignedJobs(pipe.payloads if pipe is not None else {})
        self._updates: deque[Update] = pipe.updates if pipe is not None else deque()
        self._scheduler = GrabScheduler(arguments.count(worker.prefetch, "prefetch"))
        self._servers = [Server(connection, worker.max_payload) for connection in worker.connection_list]
        self._by_fd: dict[int, Server] = {}
        self._by_grabs: dict[ServerGrabs, Server] = {}
        self._long_command = LongCommand()
        #: Functions to send CANT_DO for once no job of them is in hand.
        self._retiring: set[str] = set()
        self._activity = self._stopping = self._end_sent = self._ended = False
        #: Until when a graceful stop waits for grabs; None without one.
        self._drain_until: float | None = None
        self._dead_look_at = 0.0
        self._thread: int | None = None
        #: Whether nothing can be sent any more: never for a worker that works by itself, while a callback runs.
        self.over = False
        # gearman's own after_poll() only says yes.
        self._asks = getattr(type(worker), "after_poll", None) is not GearmanWorker.after_poll
        self._poll = select.poll()  # it tells of the waker first, which is registered first
        self._poll.register(waker, select.POLLIN)
        if pipe is not None:
            self._poll.register(pipe, select.POLLIN)

    # Running, in the thread that owns it.

    def run_once(self, longest: float) -> bool:
        """Wait for something to arrive, for up to `longest` seconds, take it in and send what there is to send; False
        when the loop has ended.
        """
        self._thread = threading.get_ident()
        if self._asks:
            self._ask()
        if self._ended:
            return False
        now = time.monotonic()
        events = self._poll.poll(max(0.0, min(longest, self._due(now) - now)) * 1000)
        self._activity = bool(events)
        now = time.monotonic()
        if events and events[0][0] == self._waker.fileno():
            self._waker.run()  # orders first: after drain() no answer brings another grab along
        self._lose_gone(events, now)
        if self._updates:
            self._act(now)  # answers leave before anything is read: each read may wait 5 ms for Python's lock
        for fd, event in events:
            self._attend(fd, event, now)
        if len(self._by_fd) > 1:
            self._scheduler.release_mute(now)
        self._act(now)
        if now >= self._dead_look_at:
            self._lose_dead(now)
        self._long_command.watch(now, self._jobs)
        return not self._ended

    def _ask(self) -> None:
        going_on = self._worker.after_poll(self._activity)
        if self.origin.forked:
            raise self.origin.error()
        if not going_on:
            self.stop()

    def take_jobs(self) -> list[Assignment]:
        """The jobs that have come, for a worker that works by itself."""
        return self._jobs.take_all()

    def begin(self, number: int) -> tuple[Any, bytes] | None:
        """Begin a job: its connection and payload; None when it was taken back."""
        return self._jobs.begin(number)

    def put(self, update: Update) -> None:
        """Have something sent for a job. In the loop's own thread, as with a worker that works by itself, it leaves
        at once. RuntimeError in a forked child.
        """
        if self.origin.forked:
            raise self.origin.error()
        self._updates.append(update)
        if threading.get_ident() != self._thread:
            if update.receipt is not None:
                update.receipt.settle()  # the loop is perhaps in a callback that waits for this thread
            self._waker.wake()
            return
        self._waker.run()
        now = time.monotonic()
        self._lose_gone(self._poll.poll(0), now)
        self._act(now)
        if not update.ends:
            self._push_out(self._jobs.find(update.number)[0])

    def end(self) -> None:
        """Send what was answered so far, and hang up. Jobs without an answer go back to their queues. In a forked child
        there is nothing to do.
        """
        if self.origin.forked:
            return
        self._ended = True
        attempts = [attempt for server in self._servers if (attempt := server.abandon_attempt())]
        try:
            self._settle()
        finally:
            hang_up(self._by_fd.values())
            for server in self._servers:
                server.give_up("its worker has ended")
            for update in self._updates:
                if update.receipt is not None:
                    update.receipt.settle("its worker has ended")
            self._waker.close()
            deadline = time.monotonic() + ATTEMPT_END_SECONDS
            for attempt in attempts:
                attempt.ended.wait(max(0.0, deadline - time.monotonic()))

    # Orders, in the loop's thread: others post them to the waker.

    def stop(self) -> None:
        """Hand no more jobs over, and end with the dispatcher. Jobs that were not begun go back to their queues."""
        self._stopping = True
        self._jobs.take_back()
        self._send_end()

    def drain(self) -> None:
        """Grab no more jobs, and end once those that are assigned are answered."""
        if self._drain_until is None:
            self._drain_until = time.monotonic() + DRAIN_SECONDS

    def announce(self, packet: bytes) -> None:
        """Tell all servers something about this worker."""
        for server in self._by_fd.values():
            server.connection.write(packet)
            assert server.grabs is not None
            server.grabs.may_have_work()  # CAN_DO wakes nobody who sleeps

    def retire(self, task: str) -> None:
        """Send CANT_DO for a function once no job of it is in hand: gearmand would requeue that job at once."""
        self._retiring.add(task)
        self._retire_idle()

    # One turn.

    def _due(self, now: float) -> float:
        """When there is something to do by itself again."""
        if self._closing():
            return NEVER if self._drain_until is None or self._drain_until <= now else self._drain_until
        due = min(self._dead_look_at, self._long_command.due(len(self._jobs)))
        if self._scheduler.free > 0 or len(self._by_fd) > 1:
            due = min(due, self._scheduler.due(now))
        if len(self._by_fd) < len(self._servers):
            due = min(due, *(server.due() for server in self._servers))
        return due

    def _closing(self) -> bool:
        return self._stopping or self._drain_until is not None

    def _act(self, now: float) -> None:
        """Whatever is due: answers, jobs for the dispatcher, grabs, attempts to connect."""
        if self._updates:
            self._settle()
        if self._scheduler.free > 0 and not self._closing():
            for grabs, count in self._scheduler.grant(now):
                self._by_grabs[grabs].connection.write(_GRAB * count)
        for server in tuple(self._by_fd.values()):
            if server.pending():
                self._flush(server)
        if len(self._by_fd) < len(self._servers) and not self._closing():
            for server in self._servers:
                if server.due() <= now:
                    server.connect(partial(self._post_attempt, server))
        if self._drain_until is not None and self._drained(now):
            self._send_end()
        if self._jobs.waiting and self._pipe is not None:
            batch = self._jobs.next_batch()
            if batch:
                self._pipe.send_jobs(batch)

    def _drained(self, now: float) -> bool:
        """Whether a graceful stop is at its end: no job is assigned, and none can be any more."""
        if self._drain_until is None or self._jobs:
            return False
        return now >= self._drain_until or not self._scheduler.outstanding()

    def _settle(self) -> None:
        """Write the answers and reports that stand ready, and take the slots of ended jobs back."""
        updates = self._updates
        while updates:
            number, packets, ends, receipt = updates.popleft()
            server, assignment = self._jobs.find(number)
            if server is not None:
                for piece in packets:
                    server.connection.write(piece)
                if receipt is not None:
                    server.promise(receipt)
            elif receipt is not None:
                receipt.settle("its server was lost")
            if ends and assignment is not None:
                if server is None and packets:
                    handle = to_text(assignment.handle)
                    logger.warning("job %s was done in vain: its server was lost, and has requeued it", handle)
                self._forget(number)

    def _forget(self, number: int) -> None:
        self._jobs.forget(number)
        self._scheduler.finished()
        if self._retiring:
            self._retire_idle()

    def _send_end(self) -> None:
        if self._pipe is None:
            self._ended = True
        elif not self._end_sent:
            self._end_sent = True
            self._pipe.send_end()

    def _retire_idle(self) -> None:
        for task in self._retiring - self._jobs.queues():
            self._retiring.remove(task)
            if task not in self._worker.worker_abilities:  # else it was registered again
                self.announce(pack(kinds.GEARMAN_COMMAND_CANT_DO, to_wire(task)))

    # Connections.

    def _post_attempt(self, server: Server, attempt: Attempt) -> None:
        """Called by the thread that connected."""
        self._waker.post(partial(self._connected, server, attempt))

    def _connected(self, server: Server, attempt: Attempt) -> None:
        now = time.monotonic()
        if attempt.socket is None:
            server.failed(attempt.error, now)
            return
        grabs = self._scheduler.join()
        server.connected(attempt.socket, grabs)
        self._by_grabs[grabs] = server
        self._by_fd[server.connection.fileno()] = server
        server.watch(self._poll, READABLE)
        server.greet(self._worker.worker_client_id, self._worker.worker_abilities)
        self._worker.watcher.connected(str(server))

    def _flush(self, server: Server) -> None:
        try:
            server.flush(self._poll)
        except (GearmanError, OSError) as error:
            self._lose(server, error)
        if self._stopping:
            server.settle_receipts("its worker was stopped")

    def _push_out(self, server: Server | None) -> None:
        """Send all that waits for one server, where nobody runs the loop meanwhile."""
        poll = select.poll()
        if server is not None and server.grabs is not None:
            poll.register(server.connection, select.POLLOUT)
        while server is not None and server.connection.writable():
            poll.poll(500)
            self._flush(server)

    def _lose(self, server: Server, why: object) -> None:
        if server.grabs is None:
            return
        fd = server.connection.fileno()
        try:
            self._poll.unregister(fd)
        except KeyError:
            pass  # it broke before it was watched
        del self._by_fd[fd], self._by_grabs[server.grabs]
        self._scheduler.leave(server.grabs)
        for number in self._jobs.lose(server):
            self._forget(number)
        server.failed(why, time.monotonic())
        self._worker.watcher.disconnected(str(server))

    def _lose_dead(self, now: float) -> None:
        """Hang up where nothing comes any more: some firewalls drop what a connection carries, and leave it open, which
        TCP notices late. Not where a job is in hand, which would go back to its queue.
        """
        self._dead_look_at = now + DEAD_LOOK_SECONDS
        busy = self._jobs.servers()
        for server in tuple(self._by_fd.values()):
            if server not in busy and server.grabs is not None and server.grabs.dead(now):
                self._lose(server, f"it has answered nothing for {DEAD_SECONDS:g} s")

    # What arrives.

    def _lose_gone(self, events: list[tuple[int, int]], now: float) -> None:
        """An answer to a server that has hung up would be sent in vain, and nobody be told."""
        for fd, event in events:
            if event & GONE and (server := self._by_fd.get(fd)) is not None:
                self._receive(server, now)

    def _attend(self, fd: int, event: int, now: float) -> None:
        server = self._by_fd.get(fd)
        if server is not None:
            if event != select.POLLOUT:
                self._receive(server, now)
        elif self._pipe is not None and fd == self._pipe.fileno():
            self._ended = not self._pipe.receive()

    def _receive(self, server: Server, now: float) -> None:
        try:
            received = server.connection.receive()
            if server.grabs is not None:
                if received:
                    self._scheduler.spoke(server.grabs, now)
                    if server.silent:
                        server.heard()
                else:
                    server.grabs.heard_part(now)
            for kind, arguments in received:
                if kind == kinds.GEARMAN_COMMAND_JOB_ASSIGN_UNIQ:
                    self._assign(server, *arguments)
                else:
                    self._hear(server, kind, arguments, now)
        except GearmanError as error:
            self._lose(server, error)

    def _hear(self, server: Server, kind: int, arguments: list[bytes], now: float) -> None:
        """A packet that is not a job."""
        grabs = server.grabs
        assert grabs is not None
        if kind == kinds.GEARMAN_COMMAND_NO_JOB:
            if grabs.grabs and self._scheduler.refused(grabs, now) and not self._closing():
                server.connection.write(_PRE_SLEEP)
        elif kind == kinds.GEARMAN_COMMAND_NOOP:
            grabs.woken(now)
        elif kind == kinds.GEARMAN_COMMAND_JOB_CREATED:
            server.acknowledge(arguments[0])
        elif kind == kinds.GEARMAN_COMMAND_ERROR:
            code, text = map(to_text, arguments)
            if not server.refuse(code, text):
                self._worker.on_gearman_error(code, text)
            if self.origin.forked:
                raise self.origin.error()
        else:
            logger.debug("packet %s of %s is not one that a worker asks for", kind, str(server))

    def _assign(self, server: Server, handle: bytes, queue: bytes, unique: bytes, payload: bytes) -> None:
        assert server.grabs is not None
        if server.grabs.grabs == 0:
            raise ProtocolError(f"job {handle[:80]!r} was sent without being asked for")
        server.grabs.assigned()
        if self._stopping or to_text(queue) not in self._worker.worker_abilities:
            self._scheduler.finished()
            return  # it goes back to the queue: with our CANT_DO that crosses it on the way, or with the connection
        if len(handle) + len(unique) > NAMES_LIMIT_BYTES:  # an embedded server's: gearmand has limits of its own
            logger.warning("job %s of %s failed: its unique has %d bytes", to_text(handle), to_text(queue), len(unique))
            server.connection.write(pack(kinds.GEARMAN_COMMAND_WORK_FAIL, handle))
            self._scheduler.finished()
            return
        self._jobs.add(server, queue, handle, unique, payload)
