"""The fixtures that users get: each test runs a pytest of its own, with no other plugin."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

from tests.support.workers import ENVIRONMENT, ROOT

#: Put in front of each suite.
QUEUE = """
import os
import threading
import pytest
from gearmancmd import GearmanCMD, GearmanCMDQueue, JobFailed, JSONGearmanClient


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]

    def crash(self, gcmd, task):
        raise LookupError("no such row")


HELLO = {"command": "reverse", "message": "Hello"}
"""


@pytest.fixture
def suite(tmp_path):
    """Runs a suite's source in a pytest of its own."""

    def run(source: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_suite.py").write_text(QUEUE + source, "utf-8")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "gearmancmd.pytest_plugin"]
        return subprocess.run(
            [*command, "-W", "error", "-c", os.devnull, "--rootdir", str(tmp_path), *options, "test_suite.py"],
            env={**ENVIRONMENT, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """What the last line says, such as {"passed": 2, "error": 1}."""
    return {
        name.rstrip("s"): int(number) for number, name in re.findall(r"(\d+) ([a-z]+)", done.stdout.splitlines()[-1])
    }


CALLS = """
def test_call(gearman_worker, gearman_client):
    gearman_worker(Queue(), queue="named")
    assert gearman_client.call("named", HELLO) == "olleH"

def test_the_queue_has_a_name(gearman_worker, gearman_client):
    gearman_worker(Queue())
    assert gearman_client.call("queue", HELLO) == "olleH"
"""


def test_a_worker_and_a_client_on_gearmand(suite, gearmand):
    done = suite(CALLS)
    assert counts(done) == {"passed": 2}, done


def test_a_worker_and_a_client_on_the_embedded_server(suite, tmp_path):
    done = suite(CALLS, PATH=str(tmp_path))
    assert counts(done) == {"passed": 2}, done


def test_without_any_server_it_says_what_to_install(suite, tmp_path):
    source = "import sys\nsys.modules['gear'] = None\n" + CALLS
    done = suite(source, PATH=str(tmp_path))
    assert counts(done) == {"error": 2}, done
    assert "no gearmand on PATH" in done.stdout
    assert "pip install 'gearmancmd[embedded]'" in done.stdout


def test_the_server_is_one_for_all_tests_and_ends_with_them(suite, gearmand, tmp_path):
    source = """
@pytest.mark.parametrize("number", [1, 2])
def test_address(gearman_server, number):
    with open("addresses", "a") as file:
        print(gearman_server, file=file)
    with JSONGearmanClient([gearman_server], timeout=30) as client:
        assert client.submit("left", {}, background=True).handle
"""
    done = suite(source)
    assert counts(done) == {"passed": 2}, done
    first, second = (tmp_path / "addresses").read_text("utf-8").split()
    assert first == second != gearmand.address
    host, port = first.split(":")
    assert host == "127.0.0.1"
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), timeout=30)


def test_the_worker_has_ended_behind_its_test(suite):
    done = suite("""
started = []

def test_it_works(gearman_worker, gearman_client):
    started.append(gearman_worker(Queue(), poll_timeout=0.05, client_id="tested"))
    assert gearman_client.call("queue", HELLO) == "olleH"
    assert isinstance(started[0], GearmanCMD)
    assert (started[0].poll_timeout, started[0].client_id) == (0.05, "tested")

def test_it_is_gone(gearman_server):
    from gearmancmd.admin import Admin
    from tests.support.waiting import wait_for
    assert "gearmancmd-testing" not in [thread.name for thread in threading.enumerate()]
    wait_for(lambda: "tested" not in [worker.client_id for worker in Admin([gearman_server]).workers()])
""")
    assert counts(done) == {"passed": 2}, done


def test_what_left_run_is_an_error_of_its_test(suite):
    done = suite("""
def test_crash(gearman_worker, gearman_client):
    gearman_worker(Queue())
    with pytest.raises(JobFailed, match="LookupError"):
        gearman_client.call("queue", {"command": "crash"})

def test_the_next(gearman_worker, gearman_client):
    gearman_worker(Queue())
    assert gearman_client.call("queue", HELLO) == "olleH"
""")
    assert counts(done) == {"passed": 2, "error": 1}, done
    assert "ERROR at teardown of test_crash" in done.stdout
    assert "LookupError: no such row" in done.stdout


def test_an_expected_exception_is_for_a_handler(suite):
    done = suite("""
def test_crash(gearman_worker, gearman_client):
    errors = []
    gearman_worker(Queue(), exception_handler=errors.append)
    assert gearman_client.call("queue", {"command": "crash"}) is None
    assert isinstance(errors[0], LookupError)
""")
    assert counts(done) == {"passed": 1}, done


def test_several_workers_and_a_gearmancmd_of_ones_own(suite):
    done = suite("""
class Sorter(GearmanCMD):
    def dispatch(self, queue, task):
        return "reverse"

def test_two(gearman_server, gearman_worker, gearman_client):
    own = Sorter([gearman_server]).register_task("sorted", Queue())
    assert gearman_worker(own) is own
    gearman_worker(Queue(), queue="plain")
    assert gearman_client.call("sorted", {"message": "Hello"}) == "olleH"
    assert gearman_client.call("plain", HELLO) == "olleH"

def test_options_of_a_gearmancmd_are_its_own(gearman_server, gearman_worker):
    own = Sorter([gearman_server]).register_task("sorted", Queue())
    with pytest.raises(TypeError, match="a GearmanCMD has its own"):
        gearman_worker(own, prefetch=2)
    with pytest.raises(TypeError, match="a GearmanCMD has its own"):
        gearman_worker(own, queue="other")

def test_a_worker_that_cannot_be(gearman_worker):
    with pytest.raises(ValueError, match="prefetch"):
        gearman_worker(Queue(), prefetch=0)
    with pytest.raises(TypeError, match="target must be"):
        gearman_worker(Queue)
""")
    assert counts(done) == {"passed": 3}, done


def test_the_fixtures_tell_what_they_are(suite):
    done = suite("", "--fixtures")
    for name in ("gearman_server", "gearman_client", "gearman_worker"):
        assert re.search(rf"^{name}\b.* -- .*\n    \S", done.stdout, re.MULTILINE), done


def test_a_suite_that_asks_for_nothing_pays_for_nothing(suite, tmp_path):
    (tmp_path / "conftest.py").write_text("import sys\n\nsys.at_first = set(sys.modules)\n", "utf-8")
    done = suite("""
import sys

def test_modules():
    assert "gearmancmd.pytest_plugin" in sys.at_first
    lazy = {"gear", "gearmancmd.testing", "gearmancmd.client", "gearmancmd.server", "gearmancmd.cli", "asyncio"}
    assert not lazy & sys.at_first
""")
    assert counts(done) == {"passed": 1}, done


def test_pytest_finds_the_plugin_by_itself(tmp_path):
    """By the metadata of an installed package, with what setup.py has for it."""
    entry_point = re.search(r'"pytest11": \["(.+)"\]', (ROOT / "setup.py").read_text("utf-8"))
    assert entry_point is not None
    metadata = tmp_path / "gearmancmd-1.0.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gearmancmd\nVersion: 1.0.0\n", "utf-8")
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{entry_point[1]}\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--fixtures"],
        env={**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "fixtures defined from gearmancmd.pytest_plugin" in done.stdout, done
