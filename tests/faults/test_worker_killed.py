"""A worker that ends in the middle of its jobs: none is lost, though some are done twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from gearmancmd import JSONGearmanClient
from tests.support.faults import TIMES, tell
from tests.support.gearmand import counts
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import UNMEASURED

#: Ends of a worker, and jobs for each.
KILLS = 2 * TIMES
JOBS = 150

#: The arguments: servers, queue, file, and the options of the GearmanCMD.
WORKER = """
import asyncio, json, os, sys, time
import gearmancmd

class Queue(gearmancmd.GearmanCMDQueue):
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, gcmd, task):
        time.sleep(0.001)
        os.write(self.file, b"%d\\n" % task["number"])

    async def anote(self, gcmd, task):
        await asyncio.sleep(0.001)
        os.write(self.file, b"%d\\n" % task["number"])

servers, queue, path, options = sys.argv[1:]
gcmd = gearmancmd.GearmanCMD(json.loads(servers), **json.loads(options)).register_task(queue, Queue(path))
gcmd.run()
"""

WAYS = {
    "prefetch 1": ({"prefetch": 1}, "note"),
    "prefetch 16": ({"prefetch": 16}, "note"),
    "threads": ({"threads": 4}, "note"),
    "coroutines": ({"prefetch": 16}, "anote"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda kind: kind.name)
def test_no_job_is_lost_with_its_worker(own_gearmand, queue, tmp_path, worker_process, kind, way):
    options, command = WAYS[way]
    path = tmp_path / "done"
    arguments = [json.dumps([own_gearmand.address]), queue, str(path), json.dumps(options)]
    count = KILLS * JOBS
    with JSONGearmanClient([own_gearmand.address]) as client:
        tasks = [{"command": command, "number": number} for number in range(count)]
        for _ in client.submit_many(queue, tasks):
            pass
    for _ in range(KILLS):
        enough = len(done(path)) + random.randint(1, JOBS // 2)
        process = worker_process(WORKER, *arguments, environment=UNMEASURED)
        wait_for(lambda: len(done(path)) >= enough)
        process.process.send_signal(kind)
        wait_for(lambda: ended(process.process))
    worker_process(WORKER, *arguments, environment=UNMEASURED)
    wait_for(lambda: counts(own_gearmand, queue)[0] == 0, limit=LIMIT + count / 100)
    numbers = Counter(done(path))
    assert set(numbers) == set(range(count))
    twice = sum(times - 1 for times in numbers.values())
    tell(f"worker ended by {kind.name}, {way}", ends=KILLS, jobs=count, lost=0, done_twice=twice)


def done(path: Path) -> list[int]:
    """The numbers of the jobs that were done, in order."""
    return [int(line) for line in path.read_text("ascii").split("\n")[:-1]] if path.exists() else []


def ended(process: subprocess.Popen[str]) -> bool:
    return process.poll() is not None
