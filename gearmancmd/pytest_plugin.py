"""Fixtures for pytest, which finds them by itself: a job server, a client of it, and workers in the background.

pytest imports this module in every run, so whatever else it needs is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .client import JSONGearmanClient
    from .cmd import GearmanCMD
    from .queue import GearmanCMDQueue

#: Seconds that a call of the client's may take: far more than a test needs, and less than CI waits.
_TIMEOUT_SECONDS = 30.0


@pytest.fixture(scope="session")
def gearman_server() -> Iterator[str]:
    """The "host:port" of a job server, one for all tests: gearmand where it is on PATH, else the embedded one."""
    from .testing import job_server  # noqa: PLC0415

    with job_server() as server:
        yield server.address


@pytest.fixture
def gearman_client(gearman_server: str) -> Iterator[JSONGearmanClient]:
    """A JSONGearmanClient of `gearman_server`, whose calls may take 30 s."""
    from .client import JSONGearmanClient  # noqa: PLC0415

    with JSONGearmanClient([gearman_server], timeout=_TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture
def gearman_worker(gearman_server: str) -> Iterator[Callable[..., GearmanCMD]]:
    """``gearman_worker(target, queue="queue", **options)``: a GearmanCMD that works in a background thread until the
    test ends. What left its run() is raised then.

    `target` is a queue, worked on under the name `queue` with the options of GearmanCMD; or a GearmanCMD of your own,
    made with `gearman_server`.
    """
    from .cmd import GearmanCMD  # noqa: PLC0415
    from .testing import working  # noqa: PLC0415

    with ExitStack() as started:

        def start(target: GearmanCMDQueue | GearmanCMD, queue: str = "queue", **options: Any) -> GearmanCMD:
            """Start a worker."""
            if not isinstance(target, GearmanCMD):
                target = GearmanCMD([gearman_server], **options).register_task(queue, target)
            elif options or queue != "queue":
                raise TypeError("queue and options are for a queue object: a GearmanCMD has its own")
            return started.enter_context(working(target))

        yield start
