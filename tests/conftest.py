"""What the tests share: job servers, a client that is not ours, and workers in threads and processes."""

from __future__ import annotations

import contextlib
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import trustme

import gearmancmd
from gearmancmd.server import EmbeddedServer
from tests.support.gear_client import Caller
from tests.support.gearmand import Gearmand
from tests.support.long_run import LongRun
from tests.support.names import DeadAddress, Names
from tests.support.programs import need_program
from tests.support.proxy import Proxy
from tests.support.queues import Serving
from tests.support.site import Site
from tests.support.tls import tls_for
from tests.support.workers import Running, WorkerProcess

# Started in the background of a script, this process ignores Ctrl+C, and the workers that it starts would too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No timing is asserted: on a busy machine an example may take long.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What long runs have seen."""
    for run in LongRun.all:
        run.write_table(terminalreporter)


@pytest.fixture(scope="session")
def gearmand() -> Iterator[Gearmand]:
    """The real job server, one for all tests that do not disturb it."""
    need_program("gearmand")
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


@pytest.fixture(scope="module", params=["gearmand", "embedded", "gearmand over TLS"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Each job server in turn, and TLS: for what must hold whatever the way to the server is."""
    server = request.getfixturevalue("embedded" if request.param == "embedded" else "gearmand")
    with contextlib.ExitStack() as stack:
        servers: list[Any] = [server.address]
        if "TLS" in request.param:
            authority = trustme.CA()
            ca_certs = str(tmp_path_factory.mktemp("tls") / "ca.pem")
            authority.cert_pem.write_to_path(ca_certs)
            proxy = stack.enter_context(Proxy(server, tls=tls_for(authority, "localhost")))
            servers = [{"host": "localhost", "port": proxy.port, "ca_certs": ca_certs}]
        yield Site(server, stack.enter_context(Caller(server)), servers)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who issues the certificates of the tests."""
    return trustme.CA()


@pytest.fixture
def ca_certs(authority: trustme.CA, tmp_path: Path) -> str:
    """The authority's own certificate."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


@pytest.fixture
def own_certificate(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """A worker's or a client's certificate, as gearman's dict names the files."""
    certificate = authority.issue_cert("worker.example")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    return {"keyfile": str(tmp_path / "key.pem"), "certfile": str(tmp_path / "cert.pem")}


@pytest.fixture
def queue() -> str:
    """A queue of the test's own."""
    return f"q-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """Host names of the test's own: with several addresses, or with a look-up that hangs or fails."""
    made = Names(monkeypatch)
    yield made
    made.release()


@pytest.fixture
def dead_address() -> Iterator[DeadAddress]:
    """Where connecting neither succeeds nor fails."""
    with DeadAddress() as dead:
        yield dead


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
def serving(server: Any, queue: str, run: Callable[..., Running]) -> Iterator[Serving]:
    """Four workers on the test's queue, so that three of them may hold a job."""
    target = Serving()
    for _ in range(4):
        run(gearmancmd.GearmanCMD([server.address]).register_task(queue, target))
    yield target
    target.let_go.set()


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
