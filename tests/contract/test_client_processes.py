"""A client in other processes: each has connections of its own, however the processes are started."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Callable

import pytest

from gearmancmd import AsyncJSONGearmanClient, GearmanCMD, JSONGearmanClient
from tests.support.client_processes import CALLS, CLIENTS, PROGRAM
from tests.support.queues import Serving
from tests.support.waiting import LIMIT
from tests.support.workers import WorkerProcess

every_client = pytest.mark.parametrize("client", CLIENTS)


class Holding(Serving):
    """Its job `tell` reports, and goes on until there is a job `release`."""

    def tell(self, gcmd, task):
        gcmd.send_data("on its way")
        assert self.let_go.wait(LIMIT)
        return "printed"

    def release(self, gcmd, task):
        self.let_go.set()


@pytest.fixture
def using(site, queue, run, worker_process) -> Callable[..., WorkerProcess]:
    """Runs a program of tests/support/client_processes.py to its end, with workers on its queue."""
    target = Holding()
    for _ in range(2):
        run(GearmanCMD([site.server.address]).register_task(queue, target))

    def start(program: str, client: str, *method: str) -> WorkerProcess:
        process = worker_process(PROGRAM, program, client, json.dumps(site.servers), queue, *method)
        assert process.process.wait(90) == 0, process.lines
        process.end()
        return process

    return start


@every_client
def test_a_client_that_is_used_in_parent_and_children_gets_each_its_own_answers(using, client):
    lines = using("in_parent_and_children", client).lines
    assert sorted(lines) == sorted([*[f"child {CALLS}"] * 3, *[f"parent {CALLS}"] * 2, "ended [0, 0, 0]"])


@every_client
def test_a_child_that_ends_leaves_its_parents_client_alone(using, client):
    assert using("exits", client).lines == ["ended [0]", f"parent {CALLS}"]


@every_client
def test_a_daemon_may_use_a_client_of_before(using, client):
    assert using("double", client).lines == [f"child {CALLS}", "ended [0]", f"parent {CALLS}"]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("client", ["threads", "asyncio"])
@pytest.mark.parametrize("site", ["gearmand"], indirect=True)
def test_a_client_goes_to_a_pool_of_processes(using, client, method):
    expected = [f"pool {[CALLS] * 3}", f"executor {[CALLS]}", f"parent {CALLS}"]
    assert using("pool", client, method).lines == expected


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("client", ["threads", "asyncio"])
def test_a_client_goes_to_a_process(using, client, method):
    lines = using("process", client, method).lines
    assert sorted(lines) == sorted([*[f"child {CALLS}"] * 2, "ended [0, 0]", f"parent {CALLS}"])


@pytest.mark.parametrize("site", ["gearmand", "embedded"], indirect=True)
def test_a_child_that_is_forked_in_a_call_has_no_part_in_it(using):
    lines = using("in_a_listener", "threads").lines
    assert sorted(lines) == sorted(
        [
            "child is told this process was forked from one in which the call was made",
            f"child {CALLS}",
            "parent has printed",
            "ended [0]",
        ]
    )


def test_a_client_in_use_is_not_pickled_and_one_at_rest_keeps_its_options(gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    with JSONGearmanClient([gearmand.address], timeout=LIMIT, max_payload=1000) as client:
        twin = pickle.loads(pickle.dumps(client))
        assert client.call(queue, {"command": "reverse", "message": "ab"}) == "ba"
        for make in (pickle.dumps, copy.copy):
            with pytest.raises(RuntimeError, match="JSONGearmanClient cannot be pickled or copied while it is in use"):
                make(client)
    with twin:
        assert twin.call(queue, {"command": "reverse", "message": "ab"}) == "ba"


def test_an_asyncio_client_in_use_is_not_pickled(gearmand, queue, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))

    async def main():
        async with AsyncJSONGearmanClient([gearmand.address], timeout=LIMIT) as client:
            twin = pickle.loads(pickle.dumps(client))
            assert await client.call(queue, {"command": "reverse", "message": "ab"}) == "ba"
            with pytest.raises(RuntimeError, match="cannot be pickled or copied while it is in use"):
                pickle.dumps(client)
        async with twin:
            return await twin.call(queue, {"command": "reverse", "message": "ab"})

    assert asyncio.run(main()) == "ba"
