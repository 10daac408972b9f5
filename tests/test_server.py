"""The embedded development server."""

from __future__ import annotations

import datetime
import logging
import socket
import struct
import subprocess
import sys
import threading

import pytest
from gearman.protocol import GEARMAN_COMMAND_CAN_DO, GEARMAN_COMMAND_GRAB_JOB_UNIQ

from gearmancmd import GearmanCMD, GearmanCMDQueue, JobFailed, JSONGearmanClient
from gearmancmd._wire.packet import pack
from gearmancmd.admin import Admin
from gearmancmd.server import EmbeddedServer
from tests.support.gear_client import Caller
from tests.support.gearmand import counts
from tests.support.servers import packet, request
from tests.support.waiting import wait_for
from tests.support.workers import ENVIRONMENT, ROOT


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


EVERYTHING = """
import asyncio, threading
from gearmancmd import AsyncJSONGearmanClient, GearmanCMD, GearmanCMDQueue, JSONGearmanClient
from gearmancmd.admin import Admin
from gearmancmd.server import EmbeddedServer

class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]

HELLO = {"command": "reverse", "message": "Hello"}

async def call(server):
    async with AsyncJSONGearmanClient([server.address], timeout=30) as client:
        return await client.call("queue", HELLO)

for _ in range(2):
    with EmbeddedServer() as server:
        gcmd = GearmanCMD([server.address]).register_task("queue", Queue())
        for _ in range(2):
            worker = threading.Thread(target=gcmd.run)
            worker.start()
            with JSONGearmanClient([server.address], timeout=30) as client:
                print(client.call("queue", HELLO), asyncio.run(call(server)), len(Admin([server.address]).status()))
            gcmd.stop()
            worker.join()
"""


def test_nothing_warns_where_warnings_are_errors():
    command = [sys.executable, "-W", "error", "-c", EVERYTHING]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "olleH olleH 1\n" * 4


RUBBISH = {
    "half a header": b"\0REQ",
    "NULs": bytes(100),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes": bytes(range(256)) * 16,
    "no UTF-8": b"\xff\xfe\n",
    "half commands": b"cancel job\nacl grant\nacl revoke\nacl self-revoke\nstatus status\n\n",
    "unknown magic": b"\0XXX" + struct.pack("!II", 7, 0),
    "a length of -1": b"\0REQ" + struct.pack("!ii", 7, -1) * 3,
    "a length that is no end": b"\0REQ" + struct.pack("!ii", 4, -12),
    "unknown kinds": b"".join(request(kind) for kind in (0, 5, 43, 99, 2**31, 2**32 - 1)),
    "a queue that is no UTF-8": request(1, b"\xff\xfe") + request(7, b"\xff\xfd\0\0"),
    "a name that is no UTF-8": request(22, b"\xff"),
    **{f"kind {kind}, {len(body)} bytes": request(kind, body) for kind in range(1, 43) for body in (b"", b"x\0y")},
    **{f"kind {kind} of a server": packet(kind, b"x\0y") for kind in range(1, 43)},
}


def test_rubbish_leaves_no_traceback_and_keeps_nobody_from_work(run, caplog):
    caplog.set_level(logging.WARNING)
    with EmbeddedServer() as server, Caller(server) as client:
        run(GearmanCMD([server.address]).register_task("queue", Queue()))
        strangers = [socket.create_connection((server.host, server.port)) for _ in RUBBISH]
        for stranger, rubbish in zip(strangers, RUBBISH.values(), strict=True):
            stranger.sendall(rubbish)
        assert client.call("queue", {"command": "reverse", "message": "abc"}).result == "cba"
        assert "queue" in [row.queue for row in Admin([server.address]).status()]
        assert len(Admin([server.address]).workers()) > 2
        for stranger in strangers:
            stranger.close()
        assert client.call("queue", {"command": "reverse", "message": "def"}).result == "fed"
    assert caplog.records
    for record in caplog.records:
        assert record.exc_info is None and "\n" not in record.getMessage(), record.getMessage()


def test_a_stranger_whose_rubbish_has_no_end_is_hung_up_on_and_told_of_in_a_line(caplog):
    with EmbeddedServer() as server, socket.create_connection((server.host, server.port)) as stranger:
        stranger.settimeout(30)
        stranger.sendall(RUBBISH["a length that is no end"])
        while stranger.recv(4096):
            pass
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.endswith("InvalidDataError: a packet says that it has -12 bytes")


def test_the_log_of_another_gear_server_is_left_alone(caplog):
    with EmbeddedServer():
        pass
    try:
        raise ValueError("theirs")
    except ValueError:
        logging.getLogger("gear.Server").exception("theirs")
    assert caplog.records[-1].exc_info
