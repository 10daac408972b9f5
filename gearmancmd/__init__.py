"""Gearman workers that dispatch JSON tasks to the methods of a class, and clients that send them."""

from typing import TYPE_CHECKING, Any

from .cmd import GearmanCMD
from .encoder import JSONDataEncoder
from .errors import CommandError, GearmanCMDError, JobFailed, JobTimeout, ServerUnavailable
from .queue import GearmanCMDQueue
from .worker import EngineWorker, JSONGearmanWorker

if TYPE_CHECKING:
    from .async_client import AsyncJSONGearmanClient
    from .client import JSONGearmanClient

__version__ = "1.0.0"

__all__ = [
    "AsyncJSONGearmanClient",
    "CommandError",
    "EngineWorker",
    "GearmanCMD",
    "GearmanCMDError",
    "GearmanCMDQueue",
    "JSONDataEncoder",
    "JSONGearmanClient",
    "JSONGearmanWorker",
    "JobFailed",
    "JobTimeout",
    "ServerUnavailable",
]


def __getattr__(name: str) -> Any:
    """The clients, imported when they are asked for: asyncio takes longer to import than all the rest (PEP 562)."""
    if name == "JSONGearmanClient":
        from .client import JSONGearmanClient  # noqa: PLC0415

        return JSONGearmanClient
    if name == "AsyncJSONGearmanClient":
        from .async_client import AsyncJSONGearmanClient  # noqa: PLC0415

        return AsyncJSONGearmanClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
