"""A job server inside this process, for development and tests. Production uses gearmand.

It is PyPI's `gear` in Python, and keeps its queues in memory: when the process ends they are gone. It comes with the
extra: ``pip install 'gearmancmd[embedded]'``.
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import MissingExtra
from .logs import reason

if TYPE_CHECKING:
    from typing_extensions import Self

try:
    import gear
except ImportError as error:
    raise MissingExtra(
        f"the embedded job server needs the package gear: pip install 'gearmancmd[embedded]' ({error})"
    ) from error

#: A packet's header, with the length as gear reads it.
_HEADER = struct.Struct("!8xi")


class EmbeddedServer:
    """A job server on a loopback port, for the time of a ``with`` block. Production uses gearmand.

    >>> with EmbeddedServer() as server:
    ...     GearmanCMD([server.address])

    - `port`: the port to listen on; 0 takes a free one, which is in `port` then.
    - `host`: the address to listen on.

    OSError, at the start of the block, when it cannot listen there. MissingExtra, when the module is imported, without
    the extra.
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

    def __enter__(self) -> Self:
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

    log: Any

    def __init__(self, port: int, host: str) -> None:
        super().__init__(port, host=host)
        # Accepted sockets inherit it. Without it every call waits 40 ms for a delayed ACK.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # gear has room for one connection that is not accepted yet: a third one at the same time took a second.
        self.socket.listen(128)
        self.log = _BriefLog(self.log, {})

    @property
    def connections_condition(self) -> threading.Condition:
        """Gear's lock."""
        return self._condition

    @connections_condition.setter
    def connections_condition(self, made_by_gear: threading.Condition) -> None:
        self._condition = _Condition()

    def handleStatus(self, request: Any) -> None:  # noqa: N802 - gear's name
        """The queues, whatever bytes their names are: gear would hang up on whoever asks when one is not UTF-8."""
        for name, counts in self._getFunctionStats().items():
            request.connection.sendRaw(b"%b\t%d\t%d\t%d\n" % (name, *counts))
        request.connection.sendRaw(b".\n")

    def handleWorkers(self, request: Any) -> None:  # noqa: N802 - gear's name
        """The connections, whatever bytes they call themselves and their queues."""
        for connection in self.active_connections:
            whose = b"%d %b %b" % (connection.conn.fileno(), connection.host.encode(), connection.client_id or b"-")
            request.connection.sendRaw(b"%b : %b\n" % (whose, b" ".join(connection.functions)))
        request.connection.sendRaw(b".\n")

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


class _Condition(threading.Condition):
    """gear calls it by a name that Python warns of since 3.10."""

    def notifyAll(self) -> None:  # noqa: N802 - the name
        """Wake all that wait."""
        self.notify_all()


class _BriefLog(logging.LoggerAdapter):  # type: ignore[type-arg]  # which is generic from Python 3.11 on
    """gear's logger for this server only: what a stranger sends may be wrong, and is worth a line and no traceback."""

    def exception(self, msg: object, *arguments: Any, **options: Any) -> None:
        """Log a message, and what was raised."""
        error = sys.exc_info()[1]
        self.warning("%s %s", msg, reason(error) if error is not None else "")


class _Connection(gear.ServerConnection):  # type: ignore[misc]
    """A worker's or client's connection. Writing to one that broke is not an error: the poll is about to tell of it."""

    def readPacket(self) -> Any:  # noqa: N802 - gear's name
        """The next packet or admin command. InvalidDataError for a length below 0, which gear would read for ever."""
        if self.input_buffer[:1] == b"\0" and len(self.input_buffer) >= _HEADER.size:
            length = _HEADER.unpack_from(self.input_buffer)[0]
            if length < 0:
                raise gear.InvalidDataError(f"a packet says that it has {length} bytes")
        return super().readPacket()

    def sendQueuedData(self) -> None:  # noqa: N802 - gear's name
        """Send what the network takes. An exception would end what gear does just now, perhaps for somebody else, and
        have it start all over with a traceback.
        """
        try:
            super().sendQueuedData()
        except OSError:
            self.send_queue.clear()
