"""A worker built as Archivematica's MCPClient has it, for python-gearman: the class knows nothing of gearmancmd."""

from __future__ import annotations

import functools
import json
import logging
import threading
from typing import Any

import gearman
import pytest

import gearmancmd
from tests.support.gearmand import admin, counts
from tests.support.waiting import LIMIT, wait_for

logger = logging.getLogger("test.mcp")


class BatchEncoder(gearman.DataEncoder):
    @classmethod
    def encode(cls, obj):
        return json.dumps(obj, default=str)

    @classmethod
    def decode(cls, data):
        return json.loads(data)


class Counting:
    """A base class that counts what it sees on its way to the next one."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.executed = 0
        self.completed = 0

    def on_job_execute(self, current_job):
        self.executed += 1
        return super().on_job_execute(current_job)

    def on_job_complete(self, current_job, job_result):
        self.completed += 1
        return super().on_job_complete(current_job, job_result)


class Logging:
    """A base class that logs failures."""

    def on_job_exception(self, current_job, exc_info):
        logger.error("unhandled exception of %s", current_job.task, exc_info=exc_info)
        return super().on_job_exception(current_job, exc_info)


class BatchWorker(Logging, Counting, gearman.GearmanWorker):
    """Takes batches of tasks, answers each task of one by its name, and ends after so many batches."""

    data_encoder = BatchEncoder

    def __init__(self, hosts, scripts, shutdown=None, max_jobs=None):
        super().__init__(hosts)
        self.client_id = f"batch-{threading.get_ident()}"
        self.max_jobs = max_jobs
        self.shutdown_flag = shutdown
        self.jobs_done = 0
        self.uniques: list[str] = []
        self.set_client_id(self.client_id.encode("ascii"))
        for script in scripts:
            self.register_task(script.encode(), functools.partial(self.handle_batch, script))

    def handle_batch(self, script, gearman_worker, gearman_job):
        assert gearman_worker is self
        self.uniques.append(gearman_job.unique)  # its own change: on Python 3 this was unique.decode()
        results = {
            name: {"exitCode": self.run_task(script, task["arguments"]), "stdout": str(task["arguments"])}
            for name, task in gearman_job.data["tasks"].items()
        }
        self.jobs_done += 1
        return {"task_results": results}

    def run_task(self, script, arguments):
        if arguments == "bad":
            raise RuntimeError(f"{script} cannot do this")
        return len(arguments)

    def after_poll(self, any_activity):
        if self.shutdown_flag and self.shutdown_flag.is_set():
            return False
        return self.max_jobs is None or self.jobs_done < self.max_jobs


class OnOurLoop(BatchWorker, gearmancmd.GearmanWorker):
    """The class as it is, with the loop behind it."""


@pytest.fixture
def working():
    """Starts a worker in a thread, and has it ended with the test."""
    started: list[tuple[Any, threading.Thread]] = []

    def start(worker: Any, **options: Any) -> threading.Thread:
        thread = threading.Thread(target=worker.work, kwargs=options)
        thread.start()
        started.append((worker, thread))
        return thread

    yield start
    for worker, thread in started:
        while thread.is_alive():
            worker.shutdown()
            thread.join(0.5)


def batch(*arguments):
    return {"tasks": {f"task-{number}": {"arguments": argument} for number, argument in enumerate(arguments)}}


def test_batches_are_worked_on_until_it_has_done_as_many_as_it_may(server, client, queue, working):
    scripts = [f"{queue}_v0.0", f"{queue}_v1.0"]
    worker = OnOurLoop([server.address], scripts, max_jobs=3)
    thread = working(worker)
    job = client.send(scripts[0], batch("a", "bc"), unique="6f1e")
    assert client.outcome(job).result == {
        "task_results": {"task-0": {"exitCode": 1, "stdout": "a"}, "task-1": {"exitCode": 2, "stdout": "bc"}}
    }
    assert client.call(scripts[1], batch("abc")).result["task_results"]["task-0"]["exitCode"] == 3
    assert client.call(scripts[0], batch()).result == {"task_results": {}}
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert worker.uniques[0] == "6f1e"
    assert (worker.executed, worker.completed, worker.jobs_done) == (3, 3, 3)


def test_a_batch_that_fails_is_logged_and_answered_and_the_worker_goes_on(server, client, queue, working, caplog):
    worker = OnOurLoop([server.address], [queue])
    working(worker)
    assert client.call(queue, batch("good", "bad")).reason == f"RuntimeError: {queue} cannot do this"
    assert client.call(queue, b"no JSON").state == "failed"
    assert client.call(queue, batch("good")).state == "complete"
    assert len([record for record in caplog.records if record.name == "test.mcp" and record.exc_info]) == 2


def test_a_shutdown_flag_ends_it(server, client, queue, working):
    flag = threading.Event()
    worker = OnOurLoop([server.address], [queue], shutdown=flag)
    thread = working(worker, poll_timeout=0.1)
    assert client.call(queue, batch("a")).state == "complete"
    flag.set()
    thread.join(LIMIT)
    assert not thread.is_alive()
    wait_for(lambda: counts(server, queue)[2] == 0, "the worker to be gone")


def test_it_is_known_by_its_client_id(gearmand, queue, working):
    worker = OnOurLoop([gearmand.address], [queue])
    working(worker)
    wait_for(lambda: [line for line in admin(gearmand, "workers") if worker.client_id in line and queue in line], "it")
