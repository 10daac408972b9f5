"""Which server gets the next GRAB_JOB, and when one is told that we sleep: capacity and fairness, without any I/O.

The rules come from how gearmand behaves:

- Each GRAB_JOB gets one answer, in order: a job or NO_JOB. Several may be outstanding.
- After NO_JOB we send PRE_SLEEP; NOOP wakes us, once. A NOOP must be answered by a GRAB, if only later when a slot is
  free, never by another PRE_SLEEP: gearmand would not wake us again. (This is how python-gearman starves.)
- A connection that is asleep is not woken when an epoch job falls due: so we grab every few seconds all the same.
- While an epoch job waits, PRE_SLEEP is answered by NOOP at once, and GRAB by NO_JOB: that circle must be slowed down.

- A server may accept and then stand still, with our grabs unanswered. After MUTE_SECONDS it keeps no slot from the
  others and is asked nothing more until it speaks; a job that it sends after all is taken. After DEAD_SECONDS
  without a byte of it, its connection counts as dead.

Jobs in hand and grabs outstanding never exceed `prefetch`, but for the grabs of mute servers. Grabs on one server
start at one and double with each job that comes, so an idle server is asked once and a full one in batches. Free
slots go round the servers in turn.
"""

from __future__ import annotations

from collections import deque

#: Seconds after which a sleeping server is asked all the same.
ASK_AGAIN_SECONDS = 3.0

#: Seconds that a server may owe an answer to a grab before it counts as mute.
MUTE_SECONDS = 0.5

#: Seconds without a byte of a server that owes an answer to a grab, after which its connection counts as dead.
DEAD_SECONDS = 60.0

#: Seconds between two looks for such connections.
DEAD_LOOK_SECONDS = 5.0

#: A NOOP this many seconds after PRE_SLEEP, with no job behind it, is the circle of a waiting epoch job.
CIRCLE_SECONDS = 0.05

#: Seconds between the turns of that circle: doubled each time, up to the second figure.
PAUSE_FIRST_SECONDS = 0.001
PAUSE_LAST_SECONDS = 0.1

NEVER = float("inf")


class ServerGrabs:
    """What is known of one connection: whether its server may have work, and what was asked of it. Times are seconds
    of one monotonic clock, and whoever reports an event brings the time along.
    """

    def __init__(self, prefetch: int) -> None:
        self.awake = True
        #: GRAB_JOBs that are not answered.
        self.grabs = 0
        #: Whether it has owed an answer for too long.
        self.mute = False
        self._asked_at = 0.0
        self._heard_at = 0.0
        self._prefetch = prefetch
        self._window = 1
        self._dry = False
        self._grab_at = 0.0
        self._slept_at = -NEVER
        self._in_circle = False
        self._pause = 0.0

    def granted(self, grabs: int, now: float) -> None:
        """GRAB_JOB is sent, that many times."""
        if self.grabs == 0:
            self._asked_at = self._heard_at = now
        self.grabs += grabs

    def spoke(self, now: float) -> None:
        """Something arrived."""
        self.mute = False
        self._asked_at = self._heard_at = now

    def heard_part(self, now: float) -> None:
        """A part of a packet arrived, such as a piece of a large payload."""
        self._heard_at = now

    def dead(self, now: float) -> bool:
        """Whether it has owed an answer for so long, and sent nothing, that its connection counts as dead."""
        return self.grabs > 0 and now >= self._heard_at + DEAD_SECONDS

    def falls_mute(self, now: float) -> bool:
        """Whether it counts as mute from now on."""
        self.mute = now >= self.mute_at()
        return self.mute

    def mute_at(self) -> float:
        """When it will count as mute, if it does not speak until then."""
        return self._asked_at + MUTE_SECONDS if self.grabs and not self.mute else NEVER

    def woken(self, now: float) -> None:
        """NOOP arrived."""
        if self.awake:
            return
        self._in_circle = now - self._slept_at < CIRCLE_SECONDS
        if not self._in_circle:
            self._pause = 0.0
        self._grab_at = now + self._pause
        self.awake = True

    def may_have_work(self) -> None:
        """There is a reason of our own to ask again, such as a function just registered."""
        self.awake = True

    def assigned(self) -> None:
        """JOB_ASSIGN arrived: there may be more where it came from. The slot of the grab is now the job's."""
        self.grabs -= 1
        self._dry = False
        self._in_circle = False
        self._pause = 0.0
        if self._window < self._prefetch:
            self._window *= 2

    def refused(self, now: float) -> bool:
        """NO_JOB arrived. Whether it is time for PRE_SLEEP: no other grab is still to be answered."""
        self.grabs -= 1
        self._window = 1
        self._dry = self.grabs > 0
        if self._dry:
            return False
        if self._in_circle:
            self._pause = min(PAUSE_LAST_SECONDS, self._pause * 2 or PAUSE_FIRST_SECONDS)
        self.awake = False
        self._slept_at = now
        return True

    def wanted(self, now: float) -> int:
        """How many GRAB_JOBs this server should get now, if there were slots for all of them."""
        if not self.awake:
            if now - self._slept_at < ASK_AGAIN_SECONDS:
                return 0
            self.awake = True
        if self._dry or self.mute or now < self._grab_at:
            return 0
        return self._window - self.grabs

    def due(self, now: float) -> float:
        """The time after `now` at which :meth:`wanted` may turn from zero by itself."""
        if not self.awake:
            return self._slept_at + ASK_AGAIN_SECONDS
        return self._grab_at if self._grab_at > now else NEVER


class GrabScheduler:
    """Shares `prefetch` slots out among the connections that are up."""

    def __init__(self, prefetch: int) -> None:
        self._prefetch = prefetch
        #: Slots that no job and no grab has. Jobs that mute servers send after all may bring it below 0.
        self.free = prefetch
        self._turns: deque[ServerGrabs] = deque()

    def join(self) -> ServerGrabs:
        """A connection is up. Its server may have work."""
        server = ServerGrabs(self._prefetch)
        self._turns.append(server)
        return server

    def leave(self, server: ServerGrabs) -> None:
        """A connection is gone, and with it the grabs that it has not answered. Its jobs keep their slots until
        they are :meth:`finished`.
        """
        self._turns.remove(server)
        if not server.mute:
            self.free += server.grabs

    def spoke(self, server: ServerGrabs, now: float) -> None:
        """Something arrived: a mute server owes answers again, and has its slots back."""
        if server.mute:
            self.free -= server.grabs
        server.spoke(now)

    def refused(self, server: ServerGrabs, now: float) -> bool:
        """NO_JOB arrived. Whether it is time for PRE_SLEEP."""
        self.free += 1
        return server.refused(now)

    def finished(self) -> None:
        """We have done with a job, however it ended."""
        self.free += 1

    def release_mute(self, now: float) -> None:
        """Take back the slots of servers that have owed an answer for too long. Asked after all that had arrived was
        read.
        """
        for server in self._turns:
            if not server.mute and server.falls_mute(now):
                self.free += server.grabs

    def outstanding(self) -> int:
        """GRAB_JOBs that are not answered, those of mute servers too."""
        return sum(server.grabs for server in self._turns)

    def grant(self, now: float) -> list[tuple[ServerGrabs, int]]:
        """The connections to send GRAB_JOB to, each with how many; they count as sent. Slots go round in turn."""
        if len(self._turns) == 1:
            server = self._turns[0]
            grabs = min(server.wanted(now), self.free)
            if grabs <= 0:
                return []
            server.granted(grabs, now)
            self.free -= grabs
            return [(server, grabs)]
        wants = [(server, wanted) for server in self._turns if (wanted := server.wanted(now)) > 0]
        grants = []
        for turn, (server, wanted) in enumerate(wants):
            if self.free <= 0:
                break
            grabs = min(wanted, max(1, self.free // (len(wants) - turn)))
            server.granted(grabs, now)
            self.free -= grabs
            grants.append((server, grabs))
            self._turns.remove(server)
            self._turns.append(server)
        return grants

    def due(self, now: float) -> float:
        """The time at which :meth:`release_mute` or :meth:`grant` may have more to give by itself."""
        due = NEVER
        several = len(self._turns) > 1
        for server in self._turns:
            if several:
                due = min(due, server.mute_at())
            if self.free > 0:
                due = min(due, server.due(now))
        return due
