"""Gearman workers that dispatch JSON tasks to the methods of a class."""

from .cmd import GearmanCMD
from .encoder import JSONDataEncoder
from .errors import CommandError, GearmanCMDError
from .queue import GearmanCMDQueue
from .worker import EngineWorker, JSONGearmanWorker

__version__ = "1.0.0"

__all__ = [
    "CommandError",
    "EngineWorker",
    "GearmanCMD",
    "GearmanCMDError",
    "GearmanCMDQueue",
    "JSONDataEncoder",
    "JSONGearmanWorker",
]
