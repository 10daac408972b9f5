"""An exception, such as Ctrl+C's, at any line of a call of compat's clients: the next call is right all the same."""

from __future__ import annotations

from tests.support.workers import UNMEASURED

# Each round strikes a few lines further on; every second one with connections that have yet to be made.
STRIKING = """
import contextlib, itertools, sys
from gearmancmd.compat import GearmanAdminClient, GearmanClient
from tests.support.interrupts import strike

FILES = ("gearmancmd/compat", "gearmancmd/_wire", "/gearman/")
address, queue = sys.argv[1:]
client, admin = GearmanClient([address]), GearmanAdminClient([address], poll_timeout=30)
waiting = client.submit_job(f"{queue}-nobody", "waits", background=True, poll_timeout=30)

class Strike(Exception):
    pass

def submit(text):
    assert client.submit_job(queue, text, poll_timeout=30).result == text[::-1]

def status(text):
    assert client.get_job_status(waiting, poll_timeout=30).status["known"] and not waiting.timed_out

def inspect(text):
    assert admin.get_version()[0].isdigit()
    assert any(row["task"] == f"{queue}-nobody" for row in admin.get_status())
    assert admin.ping_server() >= 0

def struck(call, line):
    def call_anyhow():
        with contextlib.suppress(Exception):  # what becomes of a Strike on its way
            call(f"struck-{line}")

    return strike(call_anyhow, line, Strike, FILES).where is not None

for call, step in ((submit, 2), (status, 7), (inspect, 7)):
    for line in itertools.count(1, step):
        if line % 2:
            client.shutdown()
            admin.shutdown()
        if not struck(call, line):
            break
        call(f"first-{line}")
        call(f"second-{line}")
    print(call.__name__, line > 300, flush=True)
"""


def test_the_next_call_is_right(own_gearmand, queue, work, worker_process):
    """A gearmand of its own: that of all tests has a queue of each, and its status is read line by line here."""
    work(own_gearmand.address, queue, lambda worker, job: job.data[::-1])
    process = worker_process(STRIKING, own_gearmand.address, queue, environment=UNMEASURED)
    assert process.process.wait(timeout=100) == 0
    for call in ("submit", "status", "inspect"):
        assert process.wait_for_line(call) == f"{call} True"
