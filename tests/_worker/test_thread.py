"""The shape of a run, seen from outside: who makes which system calls."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.workers import ENVIRONMENT, ROOT

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

WORKER = """
import sys, threading
from gearmancmd import GearmanCMD, GearmanCMDQueue, JSONGearmanClient

address, queue = sys.argv[1:]
print("dispatcher", threading.get_native_id(), flush=True)

class Queue(GearmanCMDQueue):
    def work(self, gcmd, task):
        gcmd.send_status(1, 2)
        print("command", threading.get_native_id(), flush=True)
        if task["last"]:
            gcmd.stop()

gcmd = GearmanCMD([address], poll_timeout=0.25).register_task(queue, Queue())
gcmd.run()
print("threads", threading.active_count(), flush=True)
"""


#: The dispatcher's last message, as strace shows it.
END = r'write\(\d+<UNIX-STREAM:.*>, "\\377"'


class Trace:
    """What strace wrote: the system calls of each thread, in their order."""

    def __init__(self, path: Path) -> None:
        self.calls = [line.split(maxsplit=1) for line in path.read_text("utf-8", "replace").splitlines()]

    def threads(self, pattern: str) -> set[str]:
        return {thread for thread, call in self.calls if re.search(pattern, call)}


@pytest.fixture
def traced(gearmand, queue, tmp_path: Path) -> Iterator[tuple[Trace, list[str]]]:
    """A worker that did three jobs, and what it printed."""
    from gearmancmd import JSONGearmanClient

    with JSONGearmanClient([gearmand.address], timeout=30) as client:
        for last in (False, False, True):
            client.submit(queue, {"command": "work", "last": last}, background=True)
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-yy", "-s", "200", "-e", "trace=network,read,write,poll,close", "-o", str(trace)]
    done = subprocess.run(
        [*command, sys.executable, "-c", WORKER, gearmand.address, queue],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    yield Trace(trace), done.stdout.split()


@needs_strace
def test_one_thread_makes_all_calls_on_the_servers_socket_and_it_runs_no_command(gearmand, traced):
    trace, printed = traced
    dispatcher = printed[1]
    assert set(printed[3:-2:2]) == {dispatcher}, "commands run in the thread that called run()"
    port = rf"TCP:\[127\.0\.0\.1:\d+->127\.0\.0\.1:{gearmand.port}\]"
    owners = trace.threads(rf"^(sendto|recvfrom|shutdown)\(\d+<{port}")
    assert len(owners) == 1 and dispatcher not in owners
    assert trace.threads(rf"^close\(\d+<{port}") == owners
    connecting = trace.threads(rf"^connect\(.*sin_port=htons\({gearmand.port}\)")
    assert len(connecting) == 1 and not connecting & {dispatcher, *owners}, "another thread connects, and hands over"
    assert printed[-1] == "1", "only the main thread is left"


@needs_strace
def test_jobs_go_down_the_pipe_by_queue_handle_and_unique_and_payloads_stay_behind(traced, queue):
    trace, printed = traced
    down = [
        call for thread, call in trace.calls if thread != printed[1] and call.startswith("write(") and queue in call
    ]
    assert down and all("UNIX-STREAM" in call and "H:" in call for call in down)
    assert not any("command" in call for call in down)


@needs_strace
def test_both_ends_poll_for_as_long_as_poll_timeout(traced):
    trace, printed = traced
    timeouts: dict[str, set[int]] = {}
    for thread, call in trace.calls:
        if call.startswith("poll(") and (found := re.search(r"\], \d+, (\d+)", call)):
            timeouts.setdefault(thread, set()).add(int(found[1]))
        elif re.match(END, call):
            break  # of the run: hanging up has a limit of its own
    waiting = {thread for thread, seen in timeouts.items() if 250 in seen}
    assert printed[1] in waiting and len(waiting) == 2
    assert all(max(timeouts[thread]) == 250 for thread in waiting)
