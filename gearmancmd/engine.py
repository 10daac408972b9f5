"""The worker's loop: one poll over the servers' sockets and a bell for other threads.

It never works on a job itself but hands jobs over, in batches as they arrive. Any thread may turn it, one at a time:
the one that does is its own thread for that turn. What other threads want of it they do themselves under its lock,
which it holds whenever it is not waiting; then they ring. The dispatcher sends the last answer of a batch itself too,
and the grab for the free slot with it.
"""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gearman import protocol as packets
from gearman.errors import GearmanError
from gearman.worker import GearmanWorker

from . import threads
from .abilities import Abilities
from .farewell import part
from .grabs import NEVER, GrabScheduler, Lane
from .job import WorkerJob
from .link import Dial, Link
from .mailbox import Bell
from .protocol import Packet, pack, to_text

if TYPE_CHECKING:
    from .worker import EngineWorker

logger = logging.getLogger("gearmancmd")

_GRAB = pack(packets.GEARMAN_COMMAND_GRAB_JOB_UNIQ)
_PRE_SLEEP = pack(packets.GEARMAN_COMMAND_PRE_SLEEP)

#: Seconds between two looks for answers while jobs wait behind another: the next command may be a long one, and an
#: answer is not to wait for it. Ringing for the first answer of each batch would cost more than the looks.
LOOK = 0.002

#: Bytes of progress and data that a job may send ahead of the network, before its sender waits.
UPDATES_AHEAD = 4 * 1024 * 1024


class Engine:
    """One run of a worker, from its first connection to its last. Made, run once, and thrown away.

    `deliver` gets the jobs that arrived in one turn, in the thread that turned it. Each must end in :meth:`answer` or
    :meth:`release`, from whatever thread; see :attr:`sender` for one that sends its answers itself.
    """

    def __init__(self, worker: EngineWorker, deliver: Callable[[list[WorkerJob]], None]) -> None:
        self._worker = worker
        self._deliver = deliver
        self._scheduler = GrabScheduler(worker.prefetch)
        self._links = [Link(connection) for connection in worker.connection_list]
        self._connected: dict[int, Link] = {}
        self._lanes: dict[Lane, Link] = {}
        self._assigned: list[WorkerJob] = []
        # Answers on their way to their servers: put here without the lock, for 64 short jobs in a row would fight
        # with the engine's thread for it 64 times.
        self._answers: deque[tuple[WorkerJob, bytes]] = deque()
        self._bell = Bell()
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._activity = False
        # gearman's own only says yes: no need to wake up for it.
        self._asks_after_poll = type(worker).after_poll is not GearmanWorker.after_poll
        # Held by whoever changes links, lanes or what is to be sent; never while waiting or while a job is worked on.
        self._lock = threading.RLock()
        self._thread: int | None = None
        self._stopping = False
        self._draining = False
        self._ended = False
        self._abilities = Abilities(self._links, worker.worker_abilities)
        # Connections that could not be written to, and why.
        self._broken: deque[tuple[Link, GearmanError]] = deque()
        self._updates = 0
        #: The thread that calls send() after the last job of each batch, and so need not wake this one to send.
        self.sender: int | None = None

    # Called by whoever is to turn it.

    def run(self, poll_timeout: float) -> None:
        """Work until :meth:`stop`, or until the worker's after_poll returns False."""
        try:
            while self.turn(self.longest_wait(poll_timeout)):
                pass
        finally:
            self.end()

    def longest_wait(self, poll_timeout: float) -> float:
        """Seconds that a turn may take: an after_poll of the user's own is asked once in `poll_timeout` seconds."""
        return poll_timeout if self._asks_after_poll else max(poll_timeout, 1.0)

    def turn(self, longest: float) -> bool:
        """Wait for something to happen, for up to `longest` seconds, and deal with it; False when it is to be turned
        no more.
        """
        self._thread = threading.get_ident()
        try:
            if self._stopping or not self._worker.after_poll(self._activity):
                return False
            self._activity = self._turn(longest)
            return True
        finally:
            self._thread = None

    def end(self) -> None:
        """Send what was answered so far, and hang up."""
        self._ended = True
        with self._lock:
            while self._answers:
                self._answer(*self._answers.popleft())
            connections = [link.connection for link in self._connected.values()]
            self._connected.clear()
        for link in self._links:
            if link.dial is not None:
                link.dial.abandon()
        part(connections)
        for link in self._links:
            link.abandon_jobs()
            link.release_fences()

    def let_go(self) -> None:
        """The calling thread will not turn it again, and was perhaps broken off with the lock in its hand."""
        threads.let_go(self._lock)

    # Called from any thread, and from signal handlers.

    def stop(self) -> None:
        """Send what was answered so far, and leave. Jobs not answered go back to their queues."""
        self._stopping = True
        self.wake()

    def wake(self) -> None:
        """End the turn that is under way, if it only waits."""
        self._bell.insist()

    def drain(self) -> None:
        """Grab no more jobs."""
        self._draining = True

    def answer(self, job: WorkerJob, kind: int, *arguments: bytes) -> None:
        """End a job with WORK_COMPLETE, WORK_FAIL or WORK_EXCEPTION. A second answer is not sent: the server would
        call it an error (JOB_NOT_FOUND).
        """
        if job.answered:
            logger.debug("job %s has its answer already", job.handle)
            return
        job.answered = True
        self._answers.append((job, pack(kind, job.wire_handle, *arguments)))
        if threading.get_ident() != self.sender:
            self._wake()

    def release(self, job: WorkerJob) -> None:
        """Nobody works on a job any more, whether it was answered or not."""
        if not job.answered:
            job.answered = True
            with self._lock:
                self._release(job)
            self._wake()

    def update(self, job: WorkerJob, kind: int, *arguments: bytes) -> None:
        """Tell of a job under way: WORK_STATUS, WORK_DATA or WORK_WARNING. Now and then it waits until the network has
        taken what was sent before, so that a job that streams does not fill the memory.
        """
        packet = pack(kind, job.wire_handle, *arguments)
        with self._lock:
            if not job.abandoned:
                job.link.connection.write(packet)
                if threading.get_ident() == self.sender:
                    self._flush(job.link)
        if threading.get_ident() != self.sender:
            self._wake()
        self._updates += len(packet)
        if self._updates >= UPDATES_AHEAD:
            self.wait_until_sent(job, None)

    def wait_until_sent(self, job: WorkerJob, timeout: float | None) -> None:
        """Wait until all that was written for a job has left, its server is lost, or `timeout` seconds are over."""
        self._updates = 0
        link = job.link
        if self.in_own_thread():
            self._push_out(link, timeout)
            return
        with self._lock:
            fence = link.fence()
        self._wake()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not fence.wait(0.5 if deadline is None else min(0.5, max(0.0, deadline - time.monotonic()))):
            if self._ended or (deadline is not None and time.monotonic() >= deadline):
                return

    def announce(self, packet: bytes) -> None:
        """Tell all servers something about this worker."""
        with self._lock:
            self._abilities.announce(packet)
        self._wake()

    def retire(self, task: str) -> None:
        """Send CANT_DO for a function once no job of it is in hand: gearmand would requeue that job at once."""
        with self._lock:
            self._abilities.retire(task)
        self._wake()

    def send(self) -> None:
        """One write a server: the answers so far, and the grabs for the slots that they freed."""
        with self._lock:
            while self._answers:
                self._answer(*self._answers.popleft())
            if self._scheduler.free > 0 and not self._draining:
                self._grab()
            for link in list(self._connected.values()):
                if link.connection.writable() or link.fences:
                    self._flush(link)

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping

    def in_own_thread(self) -> bool:
        """Whether the caller is the thread that runs the loop."""
        return threading.get_ident() == self._thread

    def _wake(self) -> None:
        if not self.in_own_thread():
            self._bell.ring()

    # Everything below runs under the lock, or in the engine's thread before and after it waits.

    def _turn(self, longest: float) -> bool:
        """One turn. Whether anything happened."""
        with self._lock:
            wait = self._wait(longest)
        events = self._poll.poll(wait * 1000)
        received = [self._receive(self._connected.get(fd)) for fd, event in events if event != select.POLLOUT]
        with self._lock:
            for link, arrived, error in filter(None, received):
                self._take(link, arrived, error)
            self.send()
            jobs, self._assigned = self._assigned, []
        if jobs:
            self._deliver(jobs)
        return bool(events)

    def _wait(self, longest: float) -> float:
        """Seconds until there is something to do by itself; servers that are due are dialled now."""
        now = time.monotonic()
        while self._broken:
            self._lose(*self._broken.popleft())
        due = NEVER if self._draining else self._scheduler.due(now)
        if len(self._connected) < len(self._links):
            self._dial_due(now)
            due = min(due, *(link.due() for link in self._links))
        if self._worker.prefetch > 1 and sum([len(link.jobs) for link in self._links]) > 1:
            due = min(due, now + LOOK)
        return max(0.0, min(longest, due - now))

    # Connections.

    def _dial_due(self, now: float) -> None:
        for link in self._links:
            if link.due() <= now:
                link.start_dialling(partial(self._dialled, link))

    def _dialled(self, link: Link, dial: Dial) -> None:
        """Called by the thread that dialled."""
        with self._lock:
            if not self._ended:
                self._connect(link, dial)
        self._wake()

    def _connect(self, link: Link, dial: Dial) -> None:
        if dial.socket is None:
            link.failed(dial.error, time.monotonic())
            return
        link.connected(dial.socket, self._scheduler.join())
        assert link.lane is not None
        self._lanes[link.lane] = link
        self._connected[dial.socket.fileno()] = link
        self._watch(link, select.POLLIN)
        link.greet(self._worker.worker_client_id, self._worker.worker_abilities)

    def _watch(self, link: Link, events: int) -> None:
        if events != link.events:
            self._poll.register(link.connection, events)
            link.events = events
            self._wake()  # a poll that is under way does not see it

    def _lose(self, link: Link, why: object) -> None:
        if link.lane is None:
            return  # it broke in both directions
        fd = link.connection.fileno()
        self._poll.unregister(fd)
        del self._connected[fd]
        link.events = 0
        self._scheduler.leave(link.lane)
        del self._lanes[link.lane]
        # Jobs that wait to be delivered are gone too; those delivered hold their slots until they are released.
        for job in [job for job in self._assigned if job in link.jobs]:
            self._assigned.remove(job)
            self._scheduler.finished()
        link.failed(why, time.monotonic())

    # Packets in.

    def _receive(self, link: Link | None) -> tuple[Link, list[Packet], GearmanError | None] | None:
        """What one server sent; without the lock, for only the engine's thread reads. None for the bell."""
        if link is None:
            self._bell.answer()
            return None
        try:
            return link, link.connection.receive(), None
        except GearmanError as error:
            return link, [], error

    def _take(self, link: Link, received: list[Packet], error: GearmanError | None) -> None:
        if error is not None:
            self._lose(link, error)
            return
        if link.silent and received:
            link.heard()
        for kind, arguments in received:
            self._handle(link, kind, arguments)

    def _handle(self, link: Link, kind: int, arguments: list[bytes]) -> None:
        assert link.lane is not None
        if kind == packets.GEARMAN_COMMAND_JOB_ASSIGN_UNIQ:
            self._assign(link, *arguments)
        elif kind == packets.GEARMAN_COMMAND_NO_JOB:
            if self._scheduler.refused(link.lane, time.monotonic()):
                link.connection.write(_PRE_SLEEP)
        elif kind == packets.GEARMAN_COMMAND_NOOP:
            link.lane.woken(time.monotonic())
        elif kind == packets.GEARMAN_COMMAND_ERROR:
            self._worker.on_gearman_error(*map(to_text, arguments))
        else:
            logger.debug("packet %s of %s is none that a worker asks for", kind, link.connection)

    def _assign(self, link: Link, handle: bytes, task: bytes, unique: bytes, payload: bytes) -> None:
        assert link.lane is not None
        link.lane.assigned()
        name = to_text(task)
        if name not in self._worker.worker_abilities:
            self._scheduler.finished()
            return  # our CANT_DO crosses it on the way, and puts it back into the queue
        decode = self._worker.data_encoder.decode
        job = WorkerJob(link, handle, name, unique, payload, decode)
        link.jobs.add(job)
        self._assigned.append(job)

    # Packets out.

    def _answer(self, job: WorkerJob, packet: bytes) -> None:
        if job.abandoned:
            logger.warning("job %s was done in vain: its server was lost, and has requeued it", job.handle)
        else:
            job.link.connection.write(packet)
        self._release(job)

    def _release(self, job: WorkerJob) -> None:
        self._scheduler.finished()
        job.link.jobs.discard(job)
        self._abilities.job_done()

    def _grab(self) -> None:
        now = time.monotonic()
        for lane, grabs in self._scheduler.grant(now):
            self._lanes[lane].connection.write(_GRAB * grabs)
        if self._scheduler.due(now) < NEVER:
            self._wake()  # to wait no longer than that

    def _flush(self, link: Link) -> None:
        try:
            sent = not link.connection.writable() or link.connection.flush()
        except GearmanError as error:
            self._broken.append((link, error))  # it may just be read from, in the engine's thread
            self._wake()
            return
        self._watch(link, select.POLLIN if sent else select.POLLIN | select.POLLOUT)
        if sent and link.fences:
            link.release_fences()

    def _push_out(self, link: Link, timeout: float | None) -> None:
        """Send all that waits for one server, from within a job that the engine's own thread works on."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        self._flush(link)
        while link.connection.writable() and time.monotonic() < deadline:
            poll = select.poll()
            poll.register(link.connection, select.POLLOUT)
            poll.poll(500)
            self._flush(link)
