"""A wall clock that jumps by a day and by a year, forward and back: nothing hangs, is late or too early, or is lost."""

from __future__ import annotations

import struct
import subprocess

import pytest

from tests.support.gearmand import Gearmand
from tests.support.programs import need_program
from tests.support.waiting import LIMIT
from tests.support.wall_clock import PROGRAM
from tests.support.workers import ENVIRONMENT, ROOT

both_clients = pytest.mark.parametrize("client", ["threads", "asyncio"])


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The library that tells processes the time."""
    need_program("gcc")
    source = ROOT / "tests" / "support" / "wall_clock.c"
    built = tmp_path_factory.mktemp("wall_clock") / "wall_clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", built, source], check=True)
    return built


@pytest.fixture
def play(gearmand, library, tmp_path, queue, worker_process):
    """Plays a script of tests/support/wall_clock.py to its end, with a gearmand that has the same clock."""

    def play(script, way):
        clock = tmp_path / "ahead"
        clock.write_bytes(struct.pack("q", 0))
        environment = {**ENVIRONMENT, "LD_PRELOAD": str(library), "WALL_CLOCK": str(clock)}
        with Gearmand(environment=environment) as server:
            process = worker_process(PROGRAM, script, server.address, queue, way, environment=environment)
            assert process.process.wait(3 * LIMIT) == 0, process.lines

    return play


@both_clients
def test_calls_go_on_while_the_clock_jumps(play, client):
    play("calls_go_on", client)


@both_clients
def test_a_call_waits_as_long_as_its_timeout_says(play, client):
    play("calls_wait", client)


@pytest.mark.parametrize("way", ["main thread", "threads", "coroutines"])
def test_a_command_may_take_as_long_as_its_limit_says(play, way):
    play("commands_are_limited", way)


@both_clients
def test_a_server_that_is_back_is_found(play, client):
    play("servers_come_back", client)


@both_clients
def test_a_scheduled_job_is_done_when_the_wall_clock_says_so(play, client):
    play("jobs_are_scheduled", client)


def test_children_of_a_pool_live_as_long_as_their_limits_say(play):
    play("pools_go_on", "threads")
