"""The embedded development server."""

from __future__ import annotations

import datetime
import socket
import subprocess
import sys
import threading

import pytest
from gearman.protocol import GEARMAN_COMMAND_CAN_DO, GEARMAN_COMMAND_GRAB_JOB_UNIQ

from gearmancmd import GearmanCMD, GearmanCMDQueue, JobFailed, JSONGearmanClient
from gearmancmd.protocol import pack
from gearmancmd.server import EmbeddedServer
from tests.calling import Caller
from tests.gearmand import counts
from tests.running import ROOT
from tests.waiting import wait_for


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]


def test_it_serves_for_the_time_of_its_block(run):
    with EmbeddedServer() as server, Caller(server) as client:
        run(GearmanCMD([server.address]).register_task("q", Queue()))
        assert client.call("q", {"command": "reverse", "message": "Hello"}).data == b'"olleH"'


def test_it_listens_where_it_is_told():
    with EmbeddedServer() as first:
        port = first.port
    with EmbeddedServer(port=port) as server:
        assert server.address == f"127.0.0.1:{port}"


def test_it_leaves_no_thread_behind():
    before = threading.active_count()
    for _ in range(5):
        with EmbeddedServer():
            pass
    wait_for(lambda: threading.active_count() <= before, "the threads to be gone")


def test_a_port_that_is_taken_is_an_error():
    with EmbeddedServer() as server, pytest.raises(OSError, match=str(server.port)):
        EmbeddedServer(port=server.port).__enter__()


def test_without_gear_the_extra_is_named():
    source = (
        "import sys; sys.modules['gear'] = None\n"
        "try:\n    import gearmancmd.server\n"
        "except ImportError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT)
    assert "pip install 'gearmancmd[embedded]'" in done.stdout, done


def test_the_docstring_says_what_production_uses():
    assert "gearmand" in (EmbeddedServer.__doc__ or "")


def test_it_says_that_it_schedules_nothing(embedded, queue):
    with JSONGearmanClient([embedded.address], timeout=30) as client:
        with pytest.raises(JobFailed, match="the embedded server schedules no jobs"):
            client.schedule(queue, {}, datetime.datetime.now(datetime.timezone.utc))
        assert client.submit(queue, {}, background=True).handle


def test_whoever_asks_for_exceptions_is_told_so_and_nothing_is_logged(embedded, queue, caplog):
    with JSONGearmanClient([embedded.address], timeout=30) as client:
        assert client.submit(queue, {}, background=True).handle
    assert not caplog.records


def test_a_worker_that_dies_with_jobs_on_their_way_loses_none(embedded, queue, run, caplog):
    with JSONGearmanClient([embedded.address], timeout=30) as client:
        list(client.submit_many(queue, [{"command": "reverse", "message": "Hello"}] * 200))
        with socket.create_connection((embedded.host, embedded.port)) as dying:
            grabs = pack(GEARMAN_COMMAND_GRAB_JOB_UNIQ) * 100
            dying.sendall(pack(GEARMAN_COMMAND_CAN_DO, queue.encode()) + grabs)
        wait_for(lambda: counts(embedded, queue) == (200, 0, 0), "the jobs to be back in the queue")
        run(GearmanCMD([embedded.address]).register_task(queue, Queue()))
        wait_for(lambda: counts(embedded, queue)[0] == 0, "the jobs to be done")
    assert "Exception" not in caplog.text
