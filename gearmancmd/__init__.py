"""Gearman workers that dispatch JSON tasks to the methods of a class, and clients that send them."""

from typing import TYPE_CHECKING, Any

from ._distributions import warn_of_two
from ._wire.address import servers_from_environment
from .cmd import GearmanCMD
from .command_options import command
from .encoder import DecimalJSONDataEncoder, JSONDataEncoder
from .errors import CommandError, CommandTimeout, GearmanCMDError, JobEnded, JobFailed, JobTimeout, ServerUnavailable
from .hooks import Hooks
from .queue import GearmanCMDQueue
from .worker import GearmanWorker, JSONGearmanWorker

if TYPE_CHECKING:
    from .async_client import AsyncJSONGearmanClient
    from .client import JSONGearmanClient

warn_of_two()

__version__ = "1.0.0"

__all__ = [
    "AsyncJSONGearmanClient",
    "CommandError",
    "CommandTimeout",
    "DecimalJSONDataEncoder",
    "GearmanCMD",
    "GearmanCMDError",
    "GearmanCMDQueue",
    "GearmanWorker",
    "Hooks",
    "JSONDataEncoder",
    "JSONGearmanClient",
    "JSONGearmanWorker",
    "JobEnded",
    "JobFailed",
    "JobTimeout",
    "ServerUnavailable",
    "command",
    "servers_from_environment",
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
