"""A job server inside this process, for development and tests. Production uses gearmand.

It is PyPI's `gear` in Python, and keeps its queues in memory: when the process ends they are gone. It comes with the
extra: ``pip install 'gearmancmd[embedded]'``.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Any

from .errors import MissingExtra

try:
    import gear
except ImportError as error:
    raise MissingExtra(
        f"the embedded job server needs the package gear: pip install 'gearmancmd[embedded]' ({error})"
    ) from error


class EmbeddedServer:
    """A job server on a loopback port, for the time of a ``with`` block. Production uses gearmand.

    >>> with EmbeddedServer() as server:
    ...     GearmanCMD([server.address])

    `port` 0 takes a free one.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = port
        self._server: _Server | None = None

    @property
    def address(self) -> str:
        """The server as GearmanCMD and clients take it: "host:port"."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __enter__(self) -> EmbeddedServer:
        try:
            self._server = _Server(self.port, host=self.host)
        except Exception as error:  # gear has no class of its own for it
            raise OSError(f"the embedded server cannot listen on {self.address}: {error}") from error
        self.port = self._server.port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server = None


class _Server(gear.Server):  # type: ignore[misc]
    """gear's server, brought closer to gearmand where workers and clients would notice the difference."""

    def __init__(self, port: int, host: str) -> None:
        super().__init__(port, host=host)
        # Accepted sockets inherit it. Without it every call waits 40 ms for a delayed ACK.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # gear has room for one connection that is not accepted yet: a third one at the same time took a second.
        self.socket.listen(128)

    def handleOptionReq(self, packet: Any) -> None:  # noqa: N802 - gear's name
        """It sends exceptions to everybody; gear would log an error about whoever asks for them."""
        packet.connection.sendPacket(
            gear.Packet(gear.constants.RES, gear.constants.OPTION_RES, packet.getArgument(0, last=True))
        )

    def handleSubmitJobEpoch(self, packet: Any) -> None:  # noqa: N802 - gear's name
        """It schedules nothing, and says so; gear would leave the client waiting."""
        refusal = b"NOT_SUPPORTED\0the embedded server schedules no jobs"
        packet.connection.sendPacket(gear.Packet(gear.constants.RES, gear.constants.ERROR, refusal))

    def _registerConnection(self, conn: Any) -> None:  # noqa: N802 - gear's name
        conn.__class__ = _Connection  # gear asks nobody what to make of the sockets that it accepts
        super()._registerConnection(conn)

    def _lostConnection(self, conn: Any) -> None:  # noqa: N802 - gear's name
        """Jobs of a lost worker go back to the queue, as in gearmand; gear would fail them."""
        requeued = [job for job in list(conn.related_jobs.values()) if job.worker_connection is conn]
        for job in requeued:
            del conn.related_jobs[job.handle]
            job.worker_connection = None
            job.running = False
            self.running_jobs -= 1
            self.waiting_jobs += 1
        super()._lostConnection(conn)
        for job in requeued:
            self.normal_queue.append(job)
            self.wakeConnections(job)


class _Connection(gear.ServerConnection):  # type: ignore[misc]
    """A worker's or client's connection. Writing to one that broke is no error: the poll is about to tell of it."""

    def sendQueuedData(self) -> None:  # noqa: N802 - gear's name
        """Send what the network takes. An exception would end what gear does just now, perhaps for somebody else, and
        have it start all over with a traceback.
        """
        try:
            super().sendQueuedData()
        except OSError:
            self.send_queue.clear()
