"""The thread that owns a client's sockets, seen from outside."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading

import pytest

from gearmancmd import GearmanCMD, JSONGearmanClient, ServerUnavailable
from gearmancmd._wire import threads
from tests.support.gearmand import admin
from tests.support.queues import Serving
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ENVIRONMENT, ROOT

HELLO = {"command": "reverse", "message": "Hello"}

STRACE = ["strace", "-f", "-yy", "-e", "trace=network,read,write,close", "-o"]

CALLING = """
import sys, threading
from gearmancmd import JSONGearmanClient

print("caller", threading.get_native_id(), flush=True)
with JSONGearmanClient([sys.argv[1]], timeout=30) as client:
    print(client.call(sys.argv[2], {"command": "reverse", "message": "Hello"}))
    print(len(list(client.submit_many("other", [{}] * 10))))
"""


@pytest.fixture
def serving(server, queue, run):
    target = Serving()
    run(GearmanCMD([server.address]).register_task(queue, target))
    yield target
    target.let_go.set()


def client_threads():
    return [thread for thread in threading.enumerate() if thread.name == "gearmancmd-client"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_one_thread_makes_all_calls_on_the_servers_socket_and_it_is_not_the_callers(gearmand, queue, run, tmp_path):
    run(GearmanCMD([gearmand.address]).register_task(queue, Serving()))
    trace = tmp_path / "trace"
    done = subprocess.run(
        [*STRACE, str(trace), sys.executable, "-c", CALLING, gearmand.address, queue],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    _, caller, result, submitted = done.stdout.split()
    assert (result, submitted) == ("olleH", "10")
    calls = [line.split(maxsplit=1) for line in trace.read_text("utf-8", "replace").splitlines()]
    port = rf"TCP:\[127\.0\.0\.1:\d+->127\.0\.0\.1:{gearmand.port}\]"
    owners = {thread for thread, call in calls if re.match(rf"(sendto|recvfrom|close)\(\d+<{port}", call)}
    connecting = {thread for thread, call in calls if re.match(rf"connect\(.*sin_port=htons\({gearmand.port}\)", call)}
    assert len(owners) == 1 and caller not in owners
    assert len(connecting) == 1 and not connecting & {caller, *owners}, "another thread connects, and hands over"


def test_first_callers_at_once_share_one_thread(server, queue, serving):
    for _ in range(20):
        barrier = threading.Barrier(8)
        results = []
        with JSONGearmanClient([server.address], timeout=LIMIT) as client:

            def call(number, client=client, barrier=barrier, results=results):
                barrier.wait(LIMIT)
                results.append(client.call(queue, {"command": "reverse", "message": f"{number}x"}))

            callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join(LIMIT)
            assert sorted(results) == sorted(f"x{number}" for number in range(8))
            wait_for(lambda: len(client_threads()) == 1, "the threads that were one too many to end")
    wait_for(lambda: not client_threads(), "the threads to end with their clients")


def test_a_client_that_nobody_holds_any_more_is_closed(gearmand):
    client = JSONGearmanClient([gearmand.address], timeout=LIMIT)
    client.submit("unheld", HELLO, background=True)
    connections = len(admin(gearmand, "workers"))
    del client
    wait_for(lambda: not client_threads(), "the thread to end")
    wait_for(lambda: len(admin(gearmand, "workers")) == connections - 1, "the connection to be closed")


def test_a_client_that_was_never_used_opens_nothing(worker_process):
    process = worker_process(
        "import os, threading\n"
        "from gearmancmd import JSONGearmanClient\n"
        "files = os.listdir('/proc/self/fd')\n"
        "client = JSONGearmanClient(['localhost'])\n"
        "print(os.listdir('/proc/self/fd') == files, threading.active_count())\n"
        "client.close()\n"
    )
    process.wait_for_line("True 1")
    assert process.exit_status() == 0


def test_a_thread_that_cannot_be_started_is_an_error_and_the_next_call_tries_again(monkeypatch, server, queue, serving):
    def refuse(name, target, failed):
        failed(RuntimeError("can't start new thread"))

    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        client.call(queue, HELLO)  # the worker's threads have started
    with JSONGearmanClient([server.address], timeout=LIMIT) as client:
        with monkeypatch.context() as patched:
            patched.setattr(threads, "start", refuse)
            with pytest.raises(ServerUnavailable, match="can't start new thread"):
                client.call(queue, HELLO)
        assert client.call(queue, HELLO) == "olleH"


ENDING = """
import atexit, sys, threading
from gearmancmd import JSONGearmanClient, ServerUnavailable

def call(client, queue=sys.argv[2], print=print, unavailable=ServerUnavailable):
    try:
        print("told", client.call(queue, {"command": "reverse", "message": "Hello"}, timeout=20), flush=True)
    except unavailable as error:
        print("told", error, flush=True)

def hold(client):
    try:
        client.call(sys.argv[2], {"command": "hold"})
    except ServerUnavailable:
        pass

class Late:
    def __del__(self, call=call):  # as the interpreter takes the modules down
        call(self.client)

where = sys.argv[3]
if where == "an exit handler":
    atexit.register(lambda: call(JSONGearmanClient([sys.argv[1]])))
elif where == "an exit handler, with a client that is closed at exit":
    atexit.register(lambda: call(client))
    client = JSONGearmanClient([sys.argv[1]])
elif where == "a last __del__":
    late = Late()
    late.client = JSONGearmanClient([sys.argv[1]])
    sys.modules["late"] = late
elif where == "a daemon thread":
    client = JSONGearmanClient([sys.argv[1]])
    threading.Thread(target=lambda: hold(client), daemon=True).start()
    call(client)
elif where == "nowhere, and the client was used":
    client = JSONGearmanClient([sys.argv[1]])
    call(client)
"""


@pytest.mark.parametrize(
    "where",
    [
        "an exit handler",
        "an exit handler, with a client that is closed at exit",
        "a last __del__",
        "a daemon thread",
        "nowhere, and the client was used",
    ],
)
def test_a_process_ends_whatever_its_clients_do_at_exit(worker_process, gearmand, queue, run, where):
    target = Serving()
    for _ in range(2):
        run(GearmanCMD([gearmand.address]).register_task(queue, target))
    process = worker_process(ENDING, gearmand.address, queue, where)
    assert process.exit_status() == 0
    target.let_go.set()
    told = process.wait_for_line("told")
    expected = {"an exit handler, with a client that is closed at exit": "told the client was closed"}
    if where != "a last __del__":
        assert told == expected.get(where, "told olleH") or "shut" in told
    assert "Traceback" not in "".join(process.lines)
