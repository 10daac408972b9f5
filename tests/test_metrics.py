"""Metrics: what a worker did, in figures, whatever its clients send."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from time import monotonic
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue, JSONGearmanClient, command
from gearmancmd.errors import UnexpectedError
from gearmancmd.metrics import Metrics
from tests.support.commandline import ENVIRON, without
from tests.support.waiting import LIMIT, wait_for


class Queue(GearmanCMDQueue):
    def __init__(self) -> None:
        self.let_go = threading.Event()

    def reverse(self, gcmd: Any, task: Any) -> Any:
        return task["message"][::-1]

    def refuse(self, gcmd: Any, task: Any) -> Any:
        raise CommandError("out of paper")

    def crash(self, gcmd: Any, task: Any) -> Any:
        raise ValueError(task["text"])

    def odd(self, gcmd: Any, task: Any) -> Any:
        return {1, 2}

    @command(retries=2, backoff=0)
    def retry(self, gcmd: Any, task: Any) -> Any:
        if gcmd.job.attempt < 3:
            raise OSError("not yet")

    def hold(self, gcmd: Any, task: Any) -> Any:
        assert self.let_go.wait(LIMIT)

    def interrupt(self, gcmd: Any, task: Any) -> Any:
        raise KeyboardInterrupt


class Figures:
    """A worker with metrics in a registry of its own, and the way to read them."""

    def __init__(self, server: Any, queue: str, **options: Any) -> None:
        self.registry = CollectorRegistry()
        self.target = Queue()
        metrics = Metrics(self.registry)
        self.gcmd = GearmanCMD([server.address], hooks=[metrics], **options).register_task(queue, self.target)

    def get(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"gearmancmd_{name}", labels)

    def wait_for(self, value: float, name: str, **labels: str) -> None:
        wait_for(lambda: self.get(name, **labels) == value, f"{name} {labels} to be {value}")

    def all(self) -> dict[tuple[str, ...], float]:
        """The counted jobs, by their labels."""
        (jobs,) = (metric for metric in self.registry.collect() if metric.name == "gearmancmd_jobs")
        return {
            tuple(sample.labels[name] for name in ("queue", "command", "outcome")): sample.value
            for sample in jobs.samples
            if sample.name.endswith("_total")
        }


def test_jobs_are_counted_by_queue_command_and_outcome_and_by_nothing_that_a_client_sends(server, client, queue, run):
    figures = Figures(server, queue, exception_handler=_fail)
    run(figures.gcmd)
    for text in ("one", "two", "\x1b\udcff"):
        client.call(queue, {"command": "reverse", "message": text})
        client.call(queue, {"command": "crash", "text": text})
        client.call(queue, {"command": text})
        client.call(queue, {"nothing": text})
    client.call(queue, {"command": "refuse"})
    client.call(queue, {"command": "odd"})
    client.call(queue, b"{")
    client.call(queue, {"command": "retry"})
    counted = {
        (queue, "reverse", "done"): 3.0,
        (queue, "crash", "exception"): 3.0,
        (queue, "-", "rejected"): 7.0,
        (queue, "refuse", "command_error"): 1.0,
        (queue, "odd", "rejected"): 1.0,
        (queue, "retry", "done"): 1.0,
    }
    wait_for(lambda: figures.all() == counted, "the jobs to be counted")
    assert figures.get("job_duration_seconds_count", queue=queue, command="reverse") == 3
    assert figures.get("job_duration_seconds_sum", queue=queue, command="reverse") > 0
    assert figures.get("jobs_in_flight", queue=queue) == 0
    attempts = {name: figures.get("attempts_total", queue=queue, command=name) for name in ("reverse", "retry")}
    assert attempts == {"reverse": 3, "retry": 3}


def _fail(error: BaseException) -> None:
    raise error if isinstance(error, CommandError) else UnexpectedError("a bug") from error


def test_a_job_is_in_flight_and_the_worker_busy_until_its_end_also_where_it_has_no_answer(server, client, queue, run):
    figures = Figures(server, queue)
    began = monotonic()
    running = run(figures.gcmd)
    figures.wait_for(1, "server_connections", server=server.address)
    assert figures.get("workers") == 1 and figures.get("busy_seconds_total") == 0
    held = client.send(queue, {"command": "hold"})
    figures.wait_for(1, "jobs_in_flight", queue=queue)
    figures.target.let_go.set()
    assert client.outcome(held).state == "complete"
    figures.wait_for(0, "jobs_in_flight", queue=queue)
    busy = figures.get("busy_seconds_total")
    assert 0 < busy < monotonic() - began
    client.send(queue, {"command": "interrupt"}, background=True)
    assert isinstance(running.wait(), KeyboardInterrupt)
    assert figures.get("jobs_in_flight", queue=queue) == figures.get("workers") == 0
    assert figures.get("server_connections", server=server.address) == 0
    assert figures.get("busy_seconds_total") > busy
    assert list(figures.all()) == [(queue, "hold", "done")]


def test_connections_and_reconnects_are_counted_by_server(own_gearmand, queue, run):
    figures = Figures(own_gearmand, queue)
    run(figures.gcmd)
    server = own_gearmand.address
    figures.wait_for(1, "server_connections", server=server)
    figures.wait_for(0, "reconnects_total", server=server)
    for number in (1, 2):
        own_gearmand.stop()
        figures.wait_for(0, "server_connections", server=server)
        own_gearmand.start()
        figures.wait_for(number, "reconnects_total", server=server)
        figures.wait_for(1, "server_connections", server=server)
    figures.gcmd.stop()


def test_a_queue_whose_name_is_not_utf_8_is_a_label_all_the_same(own_gearmand, queue, run):
    name = f"{queue}-\udcff"
    figures = Figures(own_gearmand, name)
    run(figures.gcmd)
    with JSONGearmanClient([own_gearmand.address], timeout=LIMIT) as client:
        assert client.call(name, {"command": "reverse", "message": "Hello"}) == "olleH"
    figures.wait_for(1, "jobs_total", queue=f"{queue}-\\udcff", command="reverse", outcome="done")
    assert f'queue="{queue}-\\\\udcff"' in generate_latest(figures.registry).decode()


def test_workers_with_one_registry_count_together_also_once_they_are_pickled(server, client, queue, run):
    first = GearmanCMD([server.address], hooks=[Metrics()]).register_task(f"{queue}-1", Queue())
    first.register_task(f"{queue}-1", _Plain())
    copy = pickle.loads(pickle.dumps(first)).register_task(f"{queue}-2", _Plain())
    for gcmd in (first, copy):
        run(gcmd)
    for number in (1, 2):
        assert client.call(f"{queue}-{number}", {"command": "reverse", "message": "Hello"}).result == "olleH"
        labels = {"queue": f"{queue}-{number}", "command": "reverse", "outcome": "done"}
        wait_for(lambda of=labels: REGISTRY.get_sample_value("gearmancmd_jobs_total", of) == 1, "the job")
    assert REGISTRY.get_sample_value("gearmancmd_workers") == 2
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Metrics(CollectorRegistry()))


class _Plain(GearmanCMDQueue):
    def reverse(self, gcmd: Any, task: Any) -> Any:
        return task["message"][::-1]


def test_what_is_missing_or_wrong_is_said(tmp_path):
    with pytest.raises(TypeError, match="registry must be a CollectorRegistry, not 'mine'"):
        Metrics("mine")  # type: ignore[arg-type]
    environ = ENVIRON | without("prometheus_client", path=tmp_path)
    command = [sys.executable, "-c", "import gearmancmd.metrics"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT)
    assert "MissingExtra: metrics need the package prometheus_client: pip install 'gearmancmd[metrics]'" in done.stderr
