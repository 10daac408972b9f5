"""What the tests share: job servers, a client that is not ours, and workers in threads and processes."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gearmancmd
from gearmancmd.server import EmbeddedServer
from tests.calling import Caller
from tests.gearmand import Gearmand
from tests.running import Running, WorkerProcess

# Started in the background of a script, this process ignores Ctrl+C, and the workers that it starts would too.
signal.signal(signal.SIGINT, signal.default_int_handler)

GEARMAND_REQUIRED = bool(os.environ.get("GEARMANCMD_REQUIRE_GEARMAND"))


@pytest.fixture(scope="session")
def gearmand() -> Iterator[Gearmand]:
    """The real job server, one for all tests that do not disturb it."""
    if shutil.which("gearmand") is None:
        if GEARMAND_REQUIRED:
            pytest.fail("gearmand is not on PATH, and GEARMANCMD_REQUIRE_GEARMAND is set")
        pytest.skip("gearmand is not on PATH")
    with Gearmand() as server:
        yield server


@pytest.fixture
def own_gearmand(gearmand: Gearmand) -> Iterator[Gearmand]:
    """A gearmand for one test, which may stop, pause and restart it."""
    with Gearmand() as server:
        yield server


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedServer]:
    """The embedded development server."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(scope="session", params=["gearmand", "embedded"])
def server(request: pytest.FixtureRequest) -> Any:
    """Each job server in turn: the contract holds on both."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def client(server: Any) -> Iterator[Caller]:
    """gear's client, with exceptions asked for."""
    with Caller(server) as caller:
        yield caller


@pytest.fixture
def queue() -> str:
    """A queue of the test's own."""
    return f"q-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    """Runs a GearmanCMD in a thread, and sees to it that it has ended with the test."""
    started: list[Running] = []

    def start(gcmd: gearmancmd.GearmanCMD, **options: Any) -> Running:
        started.append(Running(gcmd, **options))
        return started[-1]

    yield start
    for running in started:
        running.end()


@pytest.fixture
def worker_process() -> Iterator[Callable[..., WorkerProcess]]:
    """Runs a worker's source text in a process of its own."""
    started: list[WorkerProcess] = []

    def start(source: str, *arguments: str, **options: Any) -> WorkerProcess:
        started.append(WorkerProcess(source, *arguments, **options))
        return started[-1]

    yield start
    for process in started:
        process.end()
