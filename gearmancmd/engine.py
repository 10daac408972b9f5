"""The worker's loop: one poll over the servers' sockets and a bell for other threads.

It never works on a job itself but gives back those that came. Any thread may turn it, one at a time. Whatever other
threads want of it meanwhile they do themselves under its lock, which it holds whenever it is not waiting; then they
ring. Between two turns nobody need ring: each begins with what was left to do.
"""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
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
from .poll import LONGEST_WAIT, Poll
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
    """One run of a worker, from its first connection to its last. Made by the thread that is to work on the jobs, run
    once, and thrown away.

    Each job that :meth:`turn` gives back must end in :meth:`answer` or :meth:`release`, from whatever thread. What the
    thread that made it has answered leaves with its next :meth:`send`, or with the next turn, whoever turns it.
    """

    def __init__(self, worker: EngineWorker, alone: bool) -> None:
        self._worker = worker
        self._decode = worker.data_encoder.decode
        self._scheduler = GrabScheduler(worker.prefetch)
        self._links = [Link(connection) for connection in worker.connection_list]
        self._connected: dict[int, Link] = {}
        self._lanes: dict[Lane, Link] = {}
        self._assigned: list[WorkerJob] = []
        # Jobs that are done with, and the packets that say so: put here without the lock, for 64 short jobs in a row
        # would fight for it 64 times with the thread that turns the engine.
        self._finished: deque[tuple[WorkerJob, bytes]] = deque()
        self._bell = Bell()
        self._poll = Poll()
        self._poll.register(self._bell, select.POLLIN)
        self._activity = False
        # gearman's own only says yes: no need to wake up for it.
        self._asks_after_poll = type(worker).after_poll is not GearmanWorker.after_poll
        # Held by whoever changes links, lanes or what is to be sent; never while waiting or while a job is worked on.
        self._lock = threading.RLock()
        # The thread that turns it just now.
        self._turning: int | None = None
        self._stopping = False
        self._draining = False
        self._ended = False
        self._abilities = Abilities(self._links, worker.worker_abilities)
        # Connections that could not be written to, and why.
        self._broken: deque[tuple[Link, GearmanError]] = deque()
        self._updates = 0
        self._dispatcher = threading.get_ident()
        #: Whether no other thread turns it while the one that made it works on a job.
        self.alone = alone

    # Called by whoever is to turn it.

    def longest_wait(self, poll_timeout: float) -> float:
        """Seconds that a turn may take: an after_poll of the user's own is asked once in `poll_timeout` seconds."""
        return min(poll_timeout, LONGEST_WAIT) if self._asks_after_poll else LONGEST_WAIT

    def turn(self, longest: float) -> list[WorkerJob] | None:
        """Send what there is to send, and wait for something to arrive, for up to `longest` seconds. The jobs among
        it; None when it is to be turned no more.
        """
        if self._stopping or (self._asks_after_poll and not self._worker.after_poll(self._activity)):
            return None
        self._turning = threading.get_ident()
        try:
            with self._lock:
                wait = self._prepare(longest)
            events = self._poll.wait(wait)
            self._activity = bool(events)
            received = [self._receive(fd) for fd, event in events if event != select.POLLOUT]
            with self._lock:
                for link, arrived, error in filter(None, received):
                    self._take(link, arrived, error)
                jobs, self._assigned = self._assigned, []
            return jobs
        finally:
            self._turning = None

    def end(self) -> None:
        """Send what was answered so far, and hang up."""
        self._ended = True
        with self._lock:
            self._settle()
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
        self._finish(job, pack(kind, job.wire_handle, *arguments))

    def release(self, job: WorkerJob) -> None:
        """Nobody works on a job any more, whether it was answered or not."""
        if not job.answered:
            self._finish(job, b"")

    def _finish(self, job: WorkerJob, packet: bytes) -> None:
        job.answered = True
        self._finished.append((job, packet))
        if threading.get_ident() != self._dispatcher:
            self._wake()
        elif self.alone:
            self.send()

    def update(self, job: WorkerJob, kind: int, *arguments: bytes) -> None:
        """Tell of a job under way: WORK_STATUS, WORK_DATA or WORK_WARNING. Now and then it waits until the network has
        taken what was sent before, so that a job that streams does not fill the memory.
        """
        packet = pack(kind, job.wire_handle, *arguments)
        with self._lock:
            if not job.abandoned:
                job.link.connection.write(packet)
                self._flush(job.link)
        self._updates += len(packet)
        if self._updates >= UPDATES_AHEAD:
            self.wait_until_sent(job, None)

    def wait_until_sent(self, job: WorkerJob, timeout: float | None) -> None:
        """Wait until all that was written for a job has left, its server is lost, or `timeout` seconds are over."""
        self._updates = 0
        link = job.link
        if self.alone:
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
            now = time.monotonic()
            self._send(now)
            if self._turning is not None and self._scheduler.due(now) < NEVER:
                self._wake()  # to wait no longer than that

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping

    def _wake(self) -> None:
        """Have what was changed seen. Where nobody is turning it, the next turn begins with it."""
        if self._turning not in {None, threading.get_ident()}:
            self._bell.ring()

    # Everything below runs under the lock, or in the thread that turns it before and after it waits.

    def _prepare(self, longest: float) -> float:
        """Do whatever is due; the seconds until there is something to do by itself again."""
        now = time.monotonic()
        while self._broken:
            self._lose(*self._broken.popleft())
        self._send(now)
        if self._broken:
            return 0.0
        due = NEVER if self._draining else self._scheduler.due(now)
        if len(self._connected) < len(self._links):
            self._dial_due(now)
            due = min(due, *(link.due() for link in self._links))
        if self._worker.prefetch > 1 and sum([len(link.jobs) for link in self._links]) > 1:
            due = min(due, now + LOOK)
        return max(0.0, min(longest, due - now))

    def _send(self, now: float) -> None:
        self._settle()
        if self._scheduler.free > 0 and not self._draining:
            for lane, grabs in self._scheduler.grant(now):
                self._lanes[lane].connection.write(_GRAB * grabs)
        for link in self._connected.values():
            if link.connection.writable() or link.fences:
                self._flush(link)

    def _settle(self) -> None:
        """Take the slots of finished jobs back, and write their answers."""
        while self._finished:
            job, packet = self._finished.popleft()
            if job.abandoned and packet:
                logger.warning("job %s was done in vain: its server was lost, and has requeued it", job.handle)
            elif packet:
                job.link.connection.write(packet)
            job.link.jobs.discard(job)
            self._scheduler.finished()
            self._abilities.job_done()

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

    def _receive(self, fd: int) -> tuple[Link, list[Packet], GearmanError | None] | None:
        """What one server sent; without the lock, for only who turns the engine reads. None for the bell."""
        link = self._connected.get(fd)
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
            if kind == packets.GEARMAN_COMMAND_JOB_ASSIGN_UNIQ:
                self._assign(link, *arguments)
            else:
                self._hear(link, kind, arguments)

    def _assign(self, link: Link, handle: bytes, task: bytes, unique: bytes, payload: bytes) -> None:
        assert link.lane is not None
        link.lane.assigned()
        name = to_text(task)
        if name not in self._worker.worker_abilities:
            self._scheduler.finished()
            return  # our CANT_DO crosses it on the way, and puts it back into the queue
        job = WorkerJob(link, handle, name, unique, payload, self._decode)
        link.jobs.add(job)
        self._assigned.append(job)

    def _hear(self, link: Link, kind: int, arguments: list[bytes]) -> None:
        """A packet that is no job."""
        assert link.lane is not None
        if kind == packets.GEARMAN_COMMAND_NO_JOB:
            if self._scheduler.refused(link.lane, time.monotonic()):
                link.connection.write(_PRE_SLEEP)
        elif kind == packets.GEARMAN_COMMAND_NOOP:
            link.lane.woken(time.monotonic())
        elif kind == packets.GEARMAN_COMMAND_ERROR:
            self._worker.on_gearman_error(*map(to_text, arguments))
        else:
            logger.debug("packet %s of %s is none that a worker asks for", kind, link.connection)

    # Packets out.

    def _flush(self, link: Link) -> None:
        try:
            sent = link.connection.flush()
        except GearmanError as error:
            self._broken.append((link, error))  # it may just be read from, in another thread
            self._wake()
            return
        events = select.POLLIN if sent else select.POLLIN | select.POLLOUT
        if events != link.events:
            self._watch(link, events)
        if sent and link.fences:
            link.release_fences()

    def _push_out(self, link: Link, timeout: float | None) -> None:
        """Send all that waits for one server, where nobody turns the engine meanwhile."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        poll.register(link.connection, select.POLLOUT)
        while link.connection.writable() and time.monotonic() < deadline:
            poll.poll(500)
            with self._lock:
                self._flush(link)
