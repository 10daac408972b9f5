"""What the servers are told of this worker's functions while it runs: new ones, and ones that it gives up."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gearman import protocol as packets

from .link import Link
from .protocol import pack, to_wire


class Abilities:
    """The functions of a running worker; `current` are the names that it has registered. Called under the engine's
    lock.
    """

    def __init__(self, links: Sequence[Link], current: Collection[str]) -> None:
        self._links = links
        self._current = current
        self._retiring: set[str] = set()

    def announce(self, packet: bytes) -> None:
        """Tell all servers."""
        for link in self._links:
            if link.lane is not None:
                link.connection.write(packet)
                link.lane.may_have_work()  # CAN_DO wakes nobody who sleeps

    def retire(self, task: str) -> None:
        """Send CANT_DO for a function once no job of it is in hand: gearmand would requeue that job at once."""
        self._retiring.add(task)
        self.job_done()

    def job_done(self) -> None:
        """A job fewer is in hand."""
        if not self._retiring:
            return
        busy = {job.task for link in self._links for job in link.jobs}
        for task in self._retiring - busy:
            self._retiring.remove(task)
            if task not in self._current:  # else it was registered again
                self.announce(pack(packets.GEARMAN_COMMAND_CANT_DO, to_wire(task)))
