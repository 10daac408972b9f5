"""A test suite for the worker in reverse.py, in two ways: `pytest examples/test_reverse.py`.

The fixtures come with gearmancmd.
"""

from collections.abc import Callable

from reverse import Queue

from gearmancmd import GearmanCMD, JSONGearmanClient
from gearmancmd.testing import call_command

HELLO = {"command": "reverse", "message": "Hello"}


# A command by itself: no server, no thread.


def test_reverse() -> None:
    assert call_command(Queue(), HELLO).result == "olleH"


def test_a_task_without_a_command() -> None:
    assert call_command(Queue(), {"message": "Hello"}).result == {"error": "unknown command"}


# With a job server, a worker and a client.


def test_a_client_and_a_worker(gearman_worker: Callable[..., GearmanCMD], gearman_client: JSONGearmanClient) -> None:
    gearman_worker(Queue(), queue="queue")
    assert gearman_client.call("queue", HELLO) == "olleH"
    assert list(gearman_client.map("queue", [HELLO, HELLO])) == ["olleH", "olleH"]


def test_the_command_that_stops_the_worker(
    gearman_worker: Callable[..., GearmanCMD], gearman_client: JSONGearmanClient
) -> None:
    gearman_worker(Queue(), queue="stopped")
    assert gearman_client.call("stopped", {"command": "stop"}) is None
