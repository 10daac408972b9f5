"""The job in hand, as a worker's callback and ``gcmd.job`` see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gearman.job import GearmanJob

from .errors import PayloadError
from .protocol import to_text

if TYPE_CHECKING:
    from .connection import ServerConnection
    from .link import Link

_UNDECODED = object()


class WorkerJob(GearmanJob):
    """A gearman job that decodes what the server sent when it is first asked for it.

    So the payload is decoded in the thread that works on the job, and one that cannot be decoded fails that job only.
    """

    def __init__(
        self, link: Link, handle: bytes, task: str, unique: bytes, payload: bytes, decode: Callable[[bytes], Any]
    ) -> None:
        #: The server that assigned it.
        self.link = link
        #: The server's name for it, as it travels.
        self.wire_handle = handle
        #: The gearman function, which is the queue's name.
        self.task = task
        #: The bytes that the client sent.
        self.payload = payload
        #: Whether the job has its WORK_COMPLETE, WORK_FAIL or WORK_EXCEPTION.
        self.answered = False
        #: Whether its connection was lost: the server has put the job back into the queue.
        self.abandoned = False
        #: Whether its command has stopped the worker: the client gets None, whatever the command returns.
        self.discard_result = False
        self._unique = unique
        self._decode = decode
        self._data = _UNDECODED

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle} of {self.task}>"

    @property
    def connection(self) -> ServerConnection:
        """The connection that it came by."""
        return self.link.connection

    @property
    def handle(self) -> str:
        """The server's name for the job, such as "H:host:42"."""
        return to_text(self.wire_handle)

    @property
    def unique(self) -> str:
        """The client's name for the job."""
        return to_text(self._unique)

    @property
    def queue(self) -> str:
        """The queue's name: gearman's function."""
        return str(self.task)

    @property
    def data(self) -> Any:
        """The decoded payload. PayloadError when it cannot be decoded."""
        if self._data is _UNDECODED:
            try:
                self._data = self._decode(self.payload)
            except Exception as error:
                raise PayloadError(f"the payload cannot be decoded: {type(error).__name__}: {error}") from error
        return self._data
