"""``gearmancmd run``: its metrics, its health, and what systemd is told."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gearmancmd.cli import health
from gearmancmd.cli.endpoint import REQUESTS_AT_ONCE
from gearmancmd.cli.shared_metrics import shared_metrics
from gearmancmd.cli.systemd import Systemd
from tests.support.commandline import gearmancmd, one_line, without
from tests.support.gear_client import Caller
from tests.support.waiting import LIMIT, wait_for


class Endpoint:
    """The port of a command, which its log names."""

    def __init__(self, running: Any) -> None:
        line = running.wait_for_line("metrics: http://")
        self.host, self.port = re.search(r"http://(.*):(\d+)/metrics", line).groups()

    def get(self, path: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection(self.host, int(self.port), timeout=LIMIT)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def wait_for(self, path: str, status: int) -> None:
        wait_for(lambda: self.get(path)[0] == status, f"{path} to be {status}")

    def figures(self) -> dict[str, float]:
        """The samples that are ours, by name, summed over their labels."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                name = sample.name.removeprefix("gearmancmd_")
                found[name] = found.get(name, 0) + sample.value
        return found

    def wait_for_figures(self, **expected: float) -> None:
        wait_for(lambda: expected.items() <= self.figures().items(), f"{expected}")


def reverse(client: Any, queue: str, count: int) -> None:
    for _ in range(count):
        assert client.call(queue, {"command": "reverse", "message": "Hello"}).result == "olleH"


def test_a_pool_has_one_endpoint_whatever_becomes_of_its_processes(own_gearmand, queue, project, start):
    (project / "tmp").mkdir()
    fifo = project / "fifo"
    os.mkfifo(fifo)
    own_gearmand.stop()
    options = ["-p", "2", "--metrics-port", "0", "-s", own_gearmand.address]
    environ = {"TMPDIR": str(project / "tmp")}
    running = start("run", "shop.queues:Queue", "-q", queue, *options, cwd=project, environ=environ)
    endpoint = Endpoint(running)
    running.wait_for_line("no connection to gearmand")
    assert (endpoint.get("/healthz")[0], endpoint.get("/readyz")[0], endpoint.get("/")[0]) == (200, 503, 404)
    own_gearmand.start()
    endpoint.wait_for("/readyz", 200)
    with Caller(own_gearmand) as client:
        reverse(client, queue, 6)
        client.call(queue, {"command": "fail"})
        endpoint.wait_for_figures(workers=2, server_connections=2, jobs_total=7, job_duration_seconds_count=7)
        held = client.send(queue, {"command": "wait", "fifo": str(fifo)})
        running.wait_for_line("waiting")
        endpoint.wait_for_figures(jobs_in_flight=1)
        # A child that is killed leaves its counters to the next one, and nothing in flight.
        for pid in re.findall(r"child (\d+) is started", "\n".join(running.stderr)):
            os.kill(int(pid), signal.SIGKILL)
        wait_for(lambda: len(re.findall(r"child \d+ is started", "\n".join(running.stderr))) >= 4, "new children")
        endpoint.wait_for("/readyz", 200)
        endpoint.wait_for_figures(workers=2, server_connections=2, jobs_total=7, jobs_in_flight=1)
        fifo.write_text("done", "utf-8")
        assert client.outcome(held).result == "done"
        endpoint.wait_for_figures(jobs_total=8, jobs_in_flight=0)
    files = list((project / "tmp").glob("gearmancmd-metrics-*/*.db"))
    assert {re.search(r"_worker(\d)\.db", file.name)[1] for file in files} == {"0", "1"}
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0
    assert list((project / "tmp").iterdir()) == []


OWN_METRICS = """
from gearmancmd import GearmanCMDQueue
from prometheus_client import Counter

pages = Counter("pages", "Pages that were printed.")

class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        pages.inc(3)
        return task["message"][::-1]
"""


@pytest.mark.parametrize("processes", [[], ["-p", "1"]])
def test_a_modules_own_metrics_are_served_too_and_a_slow_client_holds_nobody_up(
    gearmand, queue, tmp_path, start, processes
):
    (tmp_path / "mine.py").write_text(OWN_METRICS, "utf-8")
    options = [*processes, "--metrics-port", "0", "--metrics-host", "127.0.0.2", "-s", gearmand.address]
    running = start("run", f"{queue}=mine:Queue", *options, cwd=tmp_path)
    endpoint = Endpoint(running)
    assert endpoint.host == "127.0.0.2"
    with Caller(gearmand) as client:
        reverse(client, queue, 2)
        endpoint.wait_for_figures(pages_total=6, jobs_total=2, workers=1)
        endpoint.wait_for("/readyz", 200)
        wait_for(lambda: _is_full(endpoint), "the endpoint to hang up")
        reverse(client, queue, 1)
    endpoint.wait_for("/healthz", 200)
    taken = gearmancmd(
        "run", "q=mine:Queue", *processes, "--metrics-port", endpoint.port, "--metrics-host", "127.0.0.2", cwd=tmp_path
    )
    assert f"--metrics-port: cannot listen on 127.0.0.2:{endpoint.port}: Address already in use" in taken.stderr
    assert taken.returncode == 1
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0


def _is_full(endpoint: Endpoint) -> bool:
    """Whether one more client than there may be is hung up on."""
    with ExitStack() as stack:
        for _ in range(REQUESTS_AT_ONCE):
            stack.enter_context(socket.create_connection((endpoint.host, int(endpoint.port)), timeout=LIMIT))
        try:
            endpoint.get("/healthz")
        except (ConnectionError, http.client.BadStatusLine):
            return True
        return False


def test_without_prometheus_client_the_extra_is_named(project):
    for processes in ([], ["-p", "1"]):
        done = gearmancmd(
            *["run", "q=shop.queues:Queue", *processes, "--metrics-port", "0"],
            cwd=project,
            environ=without("prometheus_client", path=project),
        )
        assert "pip install 'gearmancmd[metrics]'" in one_line(done, 1)


PROCESS = """
import os, signal, sys
from prometheus_client import Counter, Gauge
from gearmancmd.cli.shared_metrics import join

join(sys.argv[1])
counter, gauge = Counter("c", "c"), Gauge("g", "g", multiprocess_mode="livesum")
counter.inc()
gauge.inc()
if not os.fork():
    counter.inc()
    os._exit(0)
os.wait()
counter.inc()
print("counted", flush=True)
signal.pause()
"""


def test_a_process_takes_the_number_of_a_dead_one_whose_gauges_are_forgotten(tmp_path, worker_process):
    def start() -> Any:
        process = worker_process(PROCESS, str(tmp_path))
        process.wait_for_line("counted")
        return process

    def figures() -> dict[str, str]:
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        text = b"".join(respond(environ, lambda status, headers: None)).decode()
        return dict(line.split() for line in text.splitlines() if line[0] != "#")

    respond = shared_metrics(str(tmp_path))
    first, second = start(), start()
    numbers = {file.name for file in tmp_path.glob("gauge_livesum_worker?.db")}
    assert numbers == {"gauge_livesum_worker0.db", "gauge_livesum_worker1.db"}
    assert figures() == {"c_total": "6.0", "g": "2.0"}
    first.end()
    assert figures() == {"c_total": "6.0", "g": "1.0"}
    third = start()
    assert {file.name for file in tmp_path.glob("gauge_livesum_worker?.db")} == numbers
    assert figures() == {"c_total": "9.0", "g": "2.0"}
    second.end()
    third.end()
    start()
    assert figures() == {"c_total": "12.0", "g": "1.0"}


# systemd.


class Manager:
    """The socket on which systemd listens."""

    def __init__(self, path: Path, abstract: bool = False) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{path}" if abstract else str(path))
        self._socket.settimeout(LIMIT)
        self.environ = {"NOTIFY_SOCKET": f"@{path}" if abstract else str(path), "WATCHDOG_USEC": "100000"}

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def wait_for(self, state: str) -> set[str]:
        """What came until then, but for that."""
        deadline = monotonic() + LIMIT
        before = set()
        while (said := self._socket.recv(100).decode()) != state:
            before.add(said)
            assert monotonic() < deadline, f"no {state} among {before}"
        return before

    def drain(self) -> list[str]:
        """What has come that nobody has waited for."""
        self._socket.setblocking(False)
        said = []
        try:
            while True:
                said.append(self._socket.recv(100).decode())
        except BlockingIOError:
            return said


@pytest.mark.parametrize("processes", [[], ["-p", "2"]])
def test_systemd_is_told_of_the_start_of_life_and_of_the_end(own_gearmand, queue, project, start, processes):
    fifo = project / "fifo"
    os.mkfifo(fifo)
    own_gearmand.stop()
    with Manager(project / "notify", abstract=bool(processes)) as manager:
        options = [*processes, "-s", own_gearmand.address]
        running = start("run", "shop.queues:Queue", "-q", queue, *options, cwd=project, environ=manager.environ)
        running.wait_for_line("no connection to gearmand")
        own_gearmand.start()
        assert manager.wait_for("READY=1") <= {"WATCHDOG=1"}
        with Caller(own_gearmand) as client:
            held = client.send(queue, {"command": "wait", "fifo": str(fifo)})
            running.wait_for_line("waiting")
            for _ in range(3):  # also while a command runs
                assert manager.wait_for("WATCHDOG=1") == set()
            running.signal(signal.SIGTERM)
            assert manager.wait_for("STOPPING=1") <= {"WATCHDOG=1"}
            assert running.process.poll() is None
            fifo.write_text("done", "utf-8")
            assert client.outcome(held).result == "done"
        assert running.exit_status() == 0
        assert set(manager.drain()) <= {"WATCHDOG=1"}


def test_a_worker_without_jobs_lives_and_one_that_starts_again_does_not_say_that_it_stops(
    gearmand, queue, project, start
):
    (project / "mine.py").write_text(
        "from shop.queues import Queue; from gearmancmd.cli import health; health.STUCK_SECONDS = 1", "utf-8"
    )
    with Manager(project / "notify") as manager:
        options = ["-s", gearmand.address]
        running = start("run", "mine:Queue", "-q", queue, *options, cwd=project, environ=manager.environ)
        manager.wait_for("READY=1")
        with Caller(gearmand) as client:
            reverse(client, queue, 1)
        for _ in range(40):  # which takes two seconds
            assert manager.wait_for("WATCHDOG=1") == set()
        running.signal(signal.SIGHUP)
        assert manager.wait_for("READY=1") <= {"WATCHDOG=1"}
        running.signal(signal.SIGTERM)
        assert manager.wait_for("STOPPING=1") <= {"WATCHDOG=1"}
        assert running.exit_status() == 0


def test_a_socket_that_nobody_listens_on_and_a_watchdog_of_others_disturb_nothing(gearmand, queue, project, start):
    environ = {"NOTIFY_SOCKET": str(project / "nobody"), "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    running = start("run", "shop.queues:Queue", "-q", queue, "-s", gearmand.address, cwd=project, environ=environ)
    with Caller(gearmand) as client:
        reverse(client, queue, 1)
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0
    told = [line for line in running.stderr if "systemd cannot be told" in line]
    assert [line.partition("told ")[2] for line in told] == [
        f"{state}: No such file or directory" for state in ("READY=1", "STOPPING=1")
    ]


def test_the_watchdog_hears_nothing_of_a_process_that_is_stuck(tmp_path, monkeypatch):
    asked = []
    state = "stuck"

    def is_alive() -> bool:
        asked.append(state)
        if state == "over":
            threading.Event().wait()  # the thread is a daemon
        return state == "alive"

    with Manager(tmp_path / "notify") as manager:
        for name, value in manager.environ.items():
            monkeypatch.setenv(name, value)
        Systemd().watch(is_alive)
        wait_for(lambda: len(asked) > 2, "questions")
        assert manager.drain() == []
        state = "alive"
        wait_for(manager.drain, "an answer")
        state = "over"
        wait_for(lambda: "over" in asked, "the end")


def test_a_worker_lives_while_its_dispatcher_turns_or_a_command_runs(monkeypatch):
    now = 0.0
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: now))
    worker = health.WorkerHealth()
    assert worker.is_alive() and not worker.is_ready()  # it boots
    assert not worker.is_set()
    now = health.STUCK_SECONDS
    assert not worker.is_alive()
    worker.is_set()
    worker.on_job("a job", None)  # type: ignore[arg-type]
    now *= 3
    assert worker.is_alive()
    worker.on_done("a job", None, 0.0)  # type: ignore[arg-type]
    assert worker.is_alive()
    now *= 2
    assert not worker.is_alive()
    for server in ("one", "two"):
        worker.on_connect(server)
    worker.on_disconnect("one")
    assert worker.is_ready()
    worker.on_disconnect("two")
    assert not worker.is_ready()
    worker.on_connect("two")
    worker.stop(again=True)
    assert not worker.is_ready()
