"""The worker as its loop knows it: what it reads of it, and the hooks that it calls in its own thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class ConnectionWatcher:
    """Is told of a worker's connections, in the loop's thread. This one does nothing."""

    def connected(self, server: str) -> None:
        """There is a connection to a server ("host:port"), which is told of the worker's functions next."""

    def disconnected(self, server: str) -> None:
        """A server to which there was a connection is lost."""


class LoopWorker(Protocol):
    """What the loop asks of the worker that it runs for."""

    @property
    def connection_list(self) -> Sequence[Any]:
        """The connections that it was made with."""

    @property
    def worker_abilities(self) -> Mapping[str, Any]:
        """Its functions, by name."""

    worker_client_id: str | None
    prefetch: int
    max_payload: int
    watcher: ConnectionWatcher

    def after_poll(self, any_activity: bool) -> bool:
        """Called after each poll; False ends the loop."""

    def on_gearman_error(self, error_code: str, error_text: str) -> bool:
        """A server sent ERROR."""
