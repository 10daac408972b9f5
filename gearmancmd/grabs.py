"""Which server gets the next GRAB_JOB, and when one is told that we sleep: capacity and fairness, without any I/O.

The rules come from how gearmand behaves:

- Each GRAB_JOB gets one answer, in order: a job or NO_JOB. Several may be outstanding.
- After NO_JOB we send PRE_SLEEP; NOOP wakes us, once. A NOOP must be answered by a GRAB, if only later when a slot is
  free, never by another PRE_SLEEP: gearmand would not wake us again. (This is how python-gearman starves.)
- A connection that is asleep is not woken when an epoch job falls due: so we grab every few seconds all the same.
- While an epoch job waits, PRE_SLEEP is answered by NOOP at once, and GRAB by NO_JOB: that circle must be slowed down.

Jobs in hand and grabs outstanding never exceed `prefetch`. Grabs on one server start at one and double with each job
that comes, so an idle server is asked once and a full one in batches. Free slots go round the servers in turn.
"""

from __future__ import annotations

from collections import deque

#: Seconds after which a sleeping server is asked all the same.
ASK_AGAIN = 3.0

#: A NOOP this many seconds after PRE_SLEEP, with no job behind it, is the circle of a waiting epoch job.
CIRCLE = 0.05

#: Seconds between the turns of that circle: doubled each time, up to the second figure.
FIRST_PAUSE = 0.001
LAST_PAUSE = 0.1

NEVER = float("inf")


class Lane:
    """What is known of one connection: whether its server may have work, and what was asked of it. Times are seconds
    of one monotonic clock, and whoever reports an event brings the time along.
    """

    def __init__(self, prefetch: int) -> None:
        self.awake = True
        self.grabs = 0
        self._prefetch = prefetch
        self._window = 1
        self._dry = False
        self._grab_at = 0.0
        self._slept_at = -NEVER
        self._in_circle = False
        self._pause = 0.0

    def woken(self, now: float) -> None:
        """NOOP arrived."""
        if self.awake:
            return
        self._in_circle = now - self._slept_at < CIRCLE
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
            self._pause = min(LAST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self.awake = False
        self._slept_at = now
        return True

    def wanted(self, now: float) -> int:
        """How many GRAB_JOBs this server should get now, if there were slots for all of them."""
        if not self.awake:
            if now - self._slept_at < ASK_AGAIN:
                return 0
            self.awake = True
        if self._dry or now < self._grab_at:
            return 0
        return self._window - self.grabs

    def due(self, now: float) -> float:
        """The time after `now` at which :meth:`wanted` may turn from zero by itself."""
        if not self.awake:
            return self._slept_at + ASK_AGAIN
        return self._grab_at if self._grab_at > now else NEVER


class GrabScheduler:
    """Shares `prefetch` slots out among the connections that are up."""

    def __init__(self, prefetch: int) -> None:
        self._prefetch = prefetch
        #: Slots that no job and no grab has.
        self.free = prefetch
        self._turns: deque[Lane] = deque()

    def join(self) -> Lane:
        """A connection is up. Its server may have work."""
        lane = Lane(self._prefetch)
        self._turns.append(lane)
        return lane

    def leave(self, lane: Lane) -> None:
        """A connection is gone, and with it the grabs that it has not answered. Its jobs keep their slots until
        they are :meth:`finished`.
        """
        self._turns.remove(lane)
        self.free += lane.grabs

    def refused(self, lane: Lane, now: float) -> bool:
        """NO_JOB arrived. Whether it is time for PRE_SLEEP."""
        self.free += 1
        return lane.refused(now)

    def finished(self) -> None:
        """We have done with a job, however it ended."""
        self.free += 1

    def grant(self, now: float) -> list[tuple[Lane, int]]:
        """The connections to send GRAB_JOB to, each with how many; they count as sent. Slots go round in turn."""
        wants = [(lane, wanted) for lane in self._turns if (wanted := lane.wanted(now)) > 0]
        grants = []
        for turn, (lane, wanted) in enumerate(wants):
            if self.free <= 0:
                break
            grabs = min(wanted, max(1, self.free // (len(wants) - turn)))
            lane.grabs += grabs
            self.free -= grabs
            grants.append((lane, grabs))
            self._turns.remove(lane)
            self._turns.append(lane)
        return grants

    def due(self, now: float) -> float:
        """The time at which :meth:`grant`, asked at `now`, may have more to give by itself."""
        if self.free <= 0:
            return NEVER
        return min((lane.due(now) for lane in self._turns), default=NEVER)
