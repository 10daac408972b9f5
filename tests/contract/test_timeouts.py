"""`timeout` bounds all that a client does: name look-up, every address, connecting, TLS, submission and result.

That a call is bounded shows in its error. How soon it comes is not asserted: a hang is what pytest's time-out finds.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from contextlib import closing

import pytest
import trustme

from gearmancmd import (
    AsyncJSONGearmanClient,
    GearmanCMD,
    GearmanCMDQueue,
    JobTimeout,
    JSONGearmanClient,
    ServerUnavailable,
)
from gearmancmd._client import connections
from tests.support.gearmand import counts
from tests.support.queues import Serving
from tests.support.verbs import CLIENTS, HELLO, errors_of_each_verb
from tests.support.waiting import LIMIT, wait_for

#: What may be raised when the time is up: no server was reached, or the one that was does not answer.
LATE = (JobTimeout, ServerUnavailable)

both_clients = pytest.mark.parametrize("client", CLIENTS)


def unlike(errors, kind, text):
    """The verbs whose errors are of another kind, or say something else."""
    return {verb: error for verb, error in errors.items() if not isinstance(error, kind) or text not in str(error)}


@pytest.fixture
def mute():
    """A server that accepts, and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield "{}:{}".format(*listener.getsockname())


@both_clients
def test_a_look_up_that_hangs_is_bounded(names, queue, client):
    names.hang("slow.example")
    errors = errors_of_each_verb(client, ["slow.example"], queue, timeout=0.2)
    assert unlike(errors, ServerUnavailable, "slow.example:4730") == {}


@both_clients
def test_three_dead_addresses_of_a_name_are_bounded(names, dead_address, queue, client):
    names.add("dead.example", *[dead_address.target] * 3)
    errors = errors_of_each_verb(client, ["dead.example"], queue, timeout=0.3)
    assert unlike(errors, ServerUnavailable, "dead.example:4730") == {}


@both_clients
def test_several_servers_that_are_dead_are_bounded(names, dead_address, queue, client):
    names.hang("slow.example")
    servers = ["slow.example", dead_address.address, "slow.example:4731"]
    errors = errors_of_each_verb(client, servers, queue, timeout=0.3)
    assert unlike(errors, ServerUnavailable, "slow.example:4730") == {}


@both_clients
def test_a_tls_handshake_that_is_not_answered_is_bounded(mute, tmp_path, queue, client):
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    host, port = mute.split(":")
    servers = [{"host": host, "port": int(port), "ca_certs": authority}]
    assert unlike(errors_of_each_verb(client, servers, queue, timeout=0.3), ServerUnavailable, mute) == {}


@both_clients
def test_a_server_that_is_mute_is_bounded(mute, queue, client):
    # long enough for all of them to be connected, on a machine that is busy
    assert unlike(errors_of_each_verb(client, [mute], queue, timeout=3), JobTimeout, mute) == {}


@both_clients
@pytest.mark.parametrize("verb", ["call", "submit_many"])
def test_a_server_that_cannot_be_reached_leaves_time_for_the_next(
    names, dead_address, gearmand, queue, run, client, verb
):
    names.hang("slow.example")
    names.fail("unknown.example", socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    servers = ["slow.example", dead_address.address, "unknown.example", gearmand.address]
    for _ in range(len(servers)):  # whichever comes first
        assert CLIENTS[client](verb, servers, queue, timeout=4)


def test_a_server_that_cannot_be_reached_leaves_time_for_one_that_is_connected(dead_address, gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    for _ in range(5):  # each begins with any of the servers
        with JSONGearmanClient([gearmand.address, dead_address.address], timeout=3) as client:
            assert all(client.call(queue, HELLO) for _ in range(2))


@both_clients
def test_a_name_that_cannot_be_resolved_is_unavailable_with_the_reason(names, queue, client):
    names.fail("unknown.example", socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    with pytest.raises(ServerUnavailable, match=r"unknown\.example:4730: .*Name or service not known"):
        CLIENTS[client]("call", ["unknown.example"], queue, timeout=LIMIT)


@both_clients
@pytest.mark.parametrize("verb", ["submit", "submit in the background", "submit_many", "schedule", "call", "map"])
def test_without_a_timeout_a_server_has_30_s_to_acknowledge(monkeypatch, mute, queue, client, verb):
    assert connections.ACKNOWLEDGEMENT_SECONDS == 30
    monkeypatch.setattr(connections, "ACKNOWLEDGEMENT_SECONDS", 0.2)
    with pytest.raises(JobTimeout, match=rf"{re.escape(mute)} did not acknowledge"):
        CLIENTS[client](verb, [mute], queue)


def test_a_result_may_take_as_long_as_it_likes_without_a_timeout(monkeypatch, gearmand, queue, run):
    monkeypatch.setattr(connections, "ACKNOWLEDGEMENT_SECONDS", 0.2)
    target = Serving()
    run(GearmanCMD([gearmand.address]).register_task(queue, target))
    threading.Timer(0.6, target.let_go.set).start()
    with JSONGearmanClient([gearmand.address]) as client:
        assert client.call(queue, {"command": "hold", "message": "at last"}) == "at last"


class Chatty(GearmanCMDQueue):
    """Reports more than a slow listener can hear in time."""

    def chat(self, gcmd, task):
        for done in range(3000):
            gcmd.send_status(done, 3000)
        return "done"


def test_a_call_with_a_slow_listener_is_bounded(gearmand, queue, run):
    def slow(done, total):
        time.sleep(0.001)

    run(GearmanCMD([gearmand.address]).register_task(queue, Chatty()))
    with JSONGearmanClient([gearmand.address]) as client, pytest.raises(JobTimeout):
        client.call(queue, {"command": "chat"}, timeout=1, on_status=slow)


def test_a_call_with_a_slow_listener_is_bounded_in_asyncio(gearmand, queue, run):
    async def slow(done, total):
        await asyncio.sleep(0.001)

    async def call():
        async with AsyncJSONGearmanClient([gearmand.address]) as client:
            await client.call(queue, {"command": "chat"}, timeout=1, on_status=slow)

    run(GearmanCMD([gearmand.address]).register_task(queue, Chatty()))
    with pytest.raises(JobTimeout):
        asyncio.run(call())


def test_a_server_that_stays_mute_is_dropped_with_all_that_was_sent_to_it(monkeypatch, mute, queue):
    monkeypatch.setattr(connections, "MUTE_SECONDS", 0.5)
    with JSONGearmanClient([mute]) as client:
        with pytest.raises(ServerUnavailable, match=rf"{re.escape(mute)} has not answered for 0\.5 s"):
            client.call(queue, HELLO, timeout=LIMIT)


def test_a_job_that_was_not_sent_in_time_is_never_sent(names, gearmand, queue):
    """Its caller has given it up: it must not run when the name is found at last."""
    names.hang("slow.example")
    names.add("found.example", (gearmand.host, gearmand.port))
    with JSONGearmanClient(["slow.example"]) as client:
        with pytest.raises(ServerUnavailable):
            client.submit(queue, {"late": 1}, background=True, timeout=0.2)
        names.add("slow.example", (gearmand.host, gearmand.port))
        names.release()
        wait_for(lambda: _sent(client, f"{queue}-next"), "the name to be found")
    assert counts(gearmand, queue)[0] == 0


def _sent(client, queue):
    try:
        return client.submit(queue, {}, background=True, timeout=LIMIT)
    except ServerUnavailable:  # by the look-up that the test ended
        return None


def test_one_look_up_of_a_name_is_under_way_at_a_time(names, queue):
    names.hang("slow.example")
    with JSONGearmanClient(["slow.example"]) as client:
        for _ in range(5):
            with pytest.raises(ServerUnavailable):
                client.call(queue, HELLO, timeout=0.05)
    assert names.asked == ["slow.example"]


LEAVING = """
import asyncio, socket, sys, time
from gearmancmd import AsyncJSONGearmanClient, JSONGearmanClient, ServerUnavailable

socket.getaddrinfo = lambda *arguments, **options: time.sleep(100)

def threads():
    JSONGearmanClient(["slow.example"]).call("queue", 1, timeout=0.1)

async def call():
    await AsyncJSONGearmanClient(["slow.example"]).call("queue", 1, timeout=0.1)

try:
    threads() if sys.argv[1] == "threads" else asyncio.run(call())
except ServerUnavailable:
    print("unavailable", flush=True)
"""


@both_clients
def test_a_process_can_exit_while_a_look_up_is_under_way(worker_process, client):
    process = worker_process(LEAVING, client)
    assert process.exit_status() == 0
    process.wait_for_line("unavailable")
