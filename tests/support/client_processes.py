"""Programs that use a client, and start processes: a module, so that spawned processes can import what is in it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any

from gearmancmd import AsyncJSONGearmanClient, JSONGearmanClient, ServerUnavailable
from gearmancmd.compat import GearmanClient
from gearmancmd.encoder import JSONDataEncoder
from tests.support.processes import say

#: Runs one of these with the arguments of the process: its name, the servers, the queue, and how processes are started.
PROGRAM = "import sys; from tests.support.client_processes import main; main(*sys.argv[1:])"

CALLS = 12


class Threads:
    """JSONGearmanClient."""

    def __init__(self, servers: Any) -> None:
        self.client = JSONGearmanClient(servers, timeout=30)

    def call(self, queue: str, text: str) -> Any:
        return self.client.call(queue, {"command": "reverse", "message": text})


class Asyncio:
    """AsyncJSONGearmanClient: each call has an event loop of its own, unless it is in one."""

    def __init__(self, servers: Any) -> None:
        self.client = AsyncJSONGearmanClient(servers, timeout=30)

    def call(self, queue: str, text: str) -> Any:
        return asyncio.run(self.client.call(queue, {"command": "reverse", "message": text}))


class JSONCompatClient(GearmanClient):
    data_encoder = JSONDataEncoder


class Compat:
    """python-gearman's client."""

    def __init__(self, servers: Any) -> None:
        self.client = JSONCompatClient(servers)

    def call(self, queue: str, text: str) -> Any:
        request = self.client.submit_job(queue, {"command": "reverse", "message": text}, poll_timeout=30)
        return request.result


CLIENTS: dict[str, Callable[[Any], Any]] = {"threads": Threads, "asyncio": Asyncio, "compat": Compat}


def calls(client: Any, queue: str, name: str) -> int:
    """How many of its calls are right."""
    return sum(client.call(queue, f"{name}-{number}") == f"{name}-{number}"[::-1] for number in range(CALLS))


def wait_for(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_parent_and_children(client: Any, queue: str, method: str) -> None:
    """Used before the fork, and then in all processes at once."""
    calls(client, queue, "before")
    children = []
    for number in range(3):
        child = os.fork()
        if not child:
            say(f"child {calls(client, queue, f'child{number}')}")
            os._exit(0)
        children.append(child)
    say(f"parent {calls(client, queue, 'parent')}")
    say(f"ended {[wait_for(child) for child in children]}")
    say(f"parent {calls(client, queue, 'after')}")


def exits(client: Any, queue: str, method: str) -> None:
    """The child does nothing, and ends as a program does."""
    calls(client, queue, "before")
    child = os.fork()
    if not child:
        sys.exit(0)
    say(f"ended {[wait_for(child)]}")
    say(f"parent {calls(client, queue, 'parent')}")


def double(client: Any, queue: str, method: str) -> None:
    """A daemon calls, made before it becomes one and used after."""
    calls(client, queue, "before")
    child = os.fork()
    if not child:
        os.setsid()
        grandchild = os.fork()
        if not grandchild:
            say(f"child {calls(client, queue, 'daemon')}")
            os._exit(0)
        os._exit(wait_for(grandchild))
    say(f"ended {[wait_for(child)]}")
    say(f"parent {calls(client, queue, 'parent')}")


def work(client: Any, queue: str, name: str) -> int:
    return calls(client, queue, name)


def pool(client: Any, queue: str, method: str) -> None:
    """The client goes to other processes, by pickle or with the fork."""
    context: Any = multiprocessing.get_context(method)
    with context.Pool(2) as processes:
        say(f"pool {processes.starmap(work, [(client, queue, f'pool{number}') for number in range(3)])}")
    with concurrent.futures.ProcessPoolExecutor(2, context) as executor:
        say(f"executor {[executor.submit(work, client, queue, 'executor').result()]}")
    say(f"parent {calls(client, queue, 'parent')}")


def process(client: Any, queue: str, method: str) -> None:
    """As the argument of a Process."""
    context: Any = multiprocessing.get_context(method)
    children = [context.Process(target=report, args=(client, queue, f"process{number}")) for number in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    say(f"ended {[child.exitcode for child in children]}")
    say(f"parent {calls(client, queue, 'parent')}")


def report(client: Any, queue: str, name: str) -> None:
    say(f"child {calls(client, queue, name)}")


def in_a_listener(client: Any, queue: str, method: str) -> None:
    """A child forked in the middle of a call: the call is the parent's."""

    def fork(data: Any) -> None:
        child = os.fork()
        if child:
            say(f"ended {[wait_for(child)]}")
            client.client.call(queue, {"command": "release"})

    try:
        result = client.client.call(queue, {"command": "tell"}, on_data=fork)
    except ServerUnavailable as error:
        say(f"child is told {str(error).rpartition(': ')[2]}")
        say(f"child {calls(client, queue, 'child')}")
        os._exit(0)
    say(f"parent has {result}")


def main(program: str, client: str, servers: str, queue: str, method: str = "fork") -> None:
    globals()[program](CLIENTS[client](json.loads(servers)), queue, method)
