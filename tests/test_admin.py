"""What gearmand tells of itself, against what its own tool says, and the orders that it takes."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from contextlib import ExitStack, suppress

import pytest

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd.admin import Admin, JobStatus, PriorityStatus, QueueStatus, ServerVersion, WorkerStatus
from gearmancmd.errors import AdminError, GearmanCMDError, ServerUnavailable
from tests.support.gear_client import Caller
from tests.support.gearmand import Gearmand, free_port
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import UNMEASURED


def submit(server, queue, *options, task="{}"):
    """Send a background job with gearmand's own client; its unique."""
    command = ["gearman", "-h", server.host, "-p", str(server.port), "-b", "-f", queue, *options, task]
    subprocess.run(command, check=True, timeout=30, stdout=subprocess.DEVNULL)


def gearadmin(server, *options):
    """The lines that gearmand's own tool prints."""
    command = ["gearadmin", "-h", server.host, "-p", str(server.port), *options]
    return subprocess.run(command, check=True, timeout=30, capture_output=True, text=True).stdout.splitlines()


def status_of(server, queue):
    return next((row for row in Admin([server.address]).status() if row.queue == queue), None)


class Held(GearmanCMDQueue):
    """A queue whose jobs last until the test is done with them."""

    def __init__(self):
        self.release = threading.Event()

    def default(self, gcmd, task):
        self.release.wait(30)
        return "done"


@pytest.fixture
def held(run):  # after run, so that the jobs are over before the worker is stopped
    target = Held()
    yield target
    target.release.set()


@pytest.fixture
def admin(gearmand):
    return Admin([gearmand.address])


# The answers.


def test_status_counts_waiting_and_running_jobs_and_workers(gearmand, queue, held, run):
    run(GearmanCMD([gearmand.address]).register_task(queue, held))
    for _ in range(3):
        submit(gearmand, queue)
    wait_for(lambda: status_of(gearmand, queue) == QueueStatus(gearmand.address, queue, 3, 1, 1), "one running")
    assert status_of(gearmand, queue).waiting == 2


def test_status_on_the_embedded_server(embedded, queue, held, run):
    run(GearmanCMD([embedded.address]).register_task(queue, held))
    with Caller(embedded) as client:
        client.send(queue, {}, background=True)
        client.send(queue, {}, background=True)
        wait_for(lambda: status_of(embedded, queue) == QueueStatus(embedded.address, queue, 2, 1, 1), "one running")


def test_a_server_without_queues_has_an_empty_status(own_gearmand):
    admin = Admin([own_gearmand.address])
    assert (admin.status(), admin.priority_status(), admin.jobs()) == ([], [], [])


def test_priority_status_counts_the_waiting_jobs_by_priority(gearmand, queue, admin):
    submit(gearmand, queue, "-I")
    submit(gearmand, queue)
    submit(gearmand, queue)
    submit(gearmand, queue, "-L")
    assert PriorityStatus(gearmand.address, queue, high=1, normal=2, low=1, workers=0) in admin.priority_status()


def test_workers_are_listed_with_their_names_and_queues(server, queue, held, run):
    gcmd = GearmanCMD([server.address], client_id="archive-7")
    run(gcmd.register_task(queue, held).register_task(f"{queue}-2", held))

    def found():
        workers = Admin([server.address]).workers()
        return next((worker for worker in workers if queue in worker.queues), None)

    worker = wait_for(found, "the worker")
    wait_for(lambda: len(found().queues) == 2, "its second queue")
    worker = found()
    assert isinstance(worker, WorkerStatus)
    assert (worker.server, worker.address, worker.client_id) == (server.address, "127.0.0.1", "archive-7")
    assert set(worker.queues) == {queue, f"{queue}-2"}


def test_workers_are_listed_with_queues_whose_names_hold_spaces(server, queue, held, run):
    names = {queue, f"{queue} two", f"{queue} two words", f" {queue} lead", f"{queue}  wide ", f"{queue}-b"}
    gcmd = GearmanCMD([server.address], client_id=f"id-{queue}")
    for name in names:
        gcmd.register_task(name, held)
    run(gcmd)
    admin = Admin([server.address])
    wait_for(
        lambda: names in [set(row.queues) for row in admin.workers() if row.client_id == f"id-{queue}"],
        "the worker with all of its queues",
    )


def test_a_client_is_a_connection_without_a_name_and_queues(gearmand, admin):
    with socket.create_connection((gearmand.host, gearmand.port)):
        mine = [worker for worker in admin.workers() if not worker.queues]
        assert mine
        assert {(worker.address, worker.client_id) for worker in mine} == {("127.0.0.1", None)}


def test_a_client_id_with_spaces_and_a_colon_is_read_as_far_as_it_can_be(gearmand, admin, queue):
    with socket.create_connection((gearmand.host, gearmand.port)) as connection:
        for kind, text in ((22, b"my worker 7"), (1, queue.encode())):  # SET_CLIENT_ID, CAN_DO
            connection.sendall(b"\0REQ" + kind.to_bytes(4, "big") + len(text).to_bytes(4, "big") + text)
        named = wait_for(lambda: [worker for worker in admin.workers() if queue in worker.queues], "the worker")
        assert [(worker.client_id, worker.queues) for worker in named] == [("my worker 7", (queue,))]


def test_version_is_what_the_server_says(gearmand, admin):
    assert admin.version() == [ServerVersion(gearmand.address, gearadmin(gearmand, "--server-version")[-1].split()[-1])]


def test_jobs_are_those_that_gearadmin_lists(own_gearmand, queue):
    submit(own_gearmand, queue)
    submit(own_gearmand, queue)
    handles = {line.split("\t")[0] for line in gearadmin(own_gearmand, "--show-jobs") if line.startswith("H:")}
    assert len(handles) == 2
    expected = {JobStatus(own_gearmand.address, handle, retries=0, cancelled=False) for handle in handles}
    assert set(Admin([own_gearmand.address]).jobs()) == expected


def test_a_queue_with_a_strange_name_does_not_hide_the_others(gearmand, queue, admin):
    submit(gearmand, f"ERR {queue} \u00fc")
    submit(gearmand, queue)
    queues = [status.queue for status in admin.status()]
    assert queue in queues
    assert f"ERR {queue} \u00fc" in queues


def test_a_long_list_comes_in_whole(own_gearmand, queue):
    with Caller(own_gearmand) as client:
        for number in range(3000):
            client.send(queue, {}, background=True, unique=str(number))
    assert len(Admin([own_gearmand.address]).jobs()) == 3000


# The orders.


def test_a_cancelled_job_is_never_worked_on(own_gearmand, queue, run):
    done = []

    class Queue(GearmanCMDQueue):
        def default(self, gcmd, task):
            done.append(task)

    admin = Admin([own_gearmand.address])
    with Caller(own_gearmand) as client:
        first = client.send(queue, "first", background=True)
        second = client.send(queue, "second", background=True)
        assert admin.cancel(first.handle.decode()) == own_gearmand.address
        assert {job.handle: job.cancelled for job in admin.jobs()} == {
            first.handle.decode(): True,
            second.handle.decode(): False,
        }
        run(GearmanCMD([own_gearmand.address]).register_task(queue, Queue()))
        wait_for(lambda: status_of(own_gearmand, queue).total == 0, "the queue to be empty")
    assert done == ["second"]


def test_a_job_of_the_embedded_server_is_cancelled(embedded, queue):
    with Caller(embedded) as client:
        job = client.send(queue, {}, background=True)
        assert Admin([embedded.address]).cancel(job.handle.decode()) == embedded.address
    assert status_of(embedded, queue) is None


def test_a_job_that_is_not_there_cannot_be_cancelled(server):
    with pytest.raises(AdminError, match=f"no job H:nowhere:1 on {server.address}"):
        Admin([server.address]).cancel("H:nowhere:1")


def test_cancel_finds_the_server_that_has_the_job(gearmand, own_gearmand, queue):
    for _ in range(2):
        submit(own_gearmand, queue)
    both = Admin([gearmand.address, own_gearmand.address])
    elsewhere = {job.handle for job in Admin([gearmand.address]).jobs()}
    handle = next(job.handle for job in Admin([own_gearmand.address]).jobs() if job.handle not in elsewhere)
    assert both.cancel(handle) == own_gearmand.address


def test_cancel_does_not_guess_between_two_jobs_of_one_handle(queue):
    with Gearmand() as one, Gearmand() as two:
        for server in (one, two):
            submit(server, queue)
        both = Admin([one.address, two.address])
        handle = both.jobs()[0].handle
        with pytest.raises(AdminError, match="each have a job"):
            both.cancel(handle)
        assert not any(job.cancelled for job in both.jobs())
        with pytest.raises(AdminError, match="no job H:nowhere:1 on"):
            both.cancel("H:nowhere:1")


def test_maxqueue_limits_a_queue(own_gearmand, queue):
    admin = Admin([own_gearmand.address])
    submit(own_gearmand, queue)
    assert admin.maxqueue(queue, 2) == [own_gearmand.address]
    submit(own_gearmand, queue)
    submit(own_gearmand, queue)
    assert status_of(own_gearmand, queue).total == 2
    admin.maxqueue(queue, 0)
    submit(own_gearmand, queue)
    assert status_of(own_gearmand, queue).total == 3


def test_maxqueue_of_a_queue_that_the_server_does_not_know_is_an_error(gearmand, queue, admin):
    with pytest.raises(AdminError, match=f"no queue '{queue}' on {gearmand.address}"):
        admin.maxqueue(queue, 2)


# What is refused.


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a\r\ncancel job H:x:1", "a\0b", "a\tb", "\x1b[31m", "a" * 512])
def test_names_that_would_be_other_commands_are_refused(admin, name):
    with pytest.raises(ValueError, match=r"^handle must .*not ") as refused:
        admin.cancel(name)
    assert repr(name) in str(refused.value)
    with pytest.raises(ValueError, match=r"^queue must"):
        admin.maxqueue(name, 1)


@pytest.mark.parametrize("name", [None, 5, b"H:x:1"])
def test_names_that_are_no_text_are_refused(admin, name):
    with pytest.raises(TypeError, match=r"^handle must be a str"):
        admin.cancel(name)


@pytest.mark.parametrize(("n", "error"), [(-1, ValueError), ("3", TypeError), (True, TypeError), (1.5, TypeError)])
def test_a_limit_is_a_whole_number(admin, queue, n, error):
    with pytest.raises(error, match=r"^n must be"):
        admin.maxqueue(queue, n)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (([],), ValueError, "servers must name at least one server"),
        (("localhost",), TypeError, "servers must be a list"),
        ((["localhost:x"],), ValueError, r"servers\[0\]: port"),
        ((["localhost"], 0), ValueError, "timeout must be above 0"),
        ((["localhost"], "5"), TypeError, "timeout must be a number"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, text):
    with pytest.raises(error, match=text):
        Admin(*arguments)


# Servers that do not answer, or not as gearmand does.


def test_no_server_is_an_error_that_names_it():
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ServerUnavailable, match=f"{address}: Connection refused"):
        Admin([address]).status()
    assert issubclass(ServerUnavailable, GearmanCMDError)


def test_an_unknown_host_is_an_error_that_names_it():
    with pytest.raises(ServerUnavailable, match=r"no-such-host\.invalid:4730"):
        Admin(["no-such-host.invalid"]).status()


def test_a_server_that_does_not_answer_is_given_up(own_gearmand):
    own_gearmand.pause()
    with pytest.raises(ServerUnavailable, match=f"{own_gearmand.address} did not answer within 0.2 s"):
        Admin([own_gearmand.address], timeout=0.2).status()


@pytest.mark.parametrize("command", ["version", "jobs", "priority_status"])
def test_the_embedded_server_does_not_know_each_command_and_no_time_out_has_to_run(embedded, command):
    with pytest.raises(AdminError, match="does not know the admin command"):
        getattr(Admin([embedded.address], timeout=3600), command)()


def test_all_servers_are_asked_and_the_rows_say_whose_they_are(gearmand, own_gearmand):
    servers = [own_gearmand.address, gearmand.address]
    assert [row.server for row in Admin(servers).version()] == servers


def test_on_error_gets_the_servers_that_do_not_answer(gearmand):
    errors = []
    down = f"127.0.0.1:{free_port()}"
    rows = Admin([down, gearmand.address], on_error=errors.append).version()
    assert [row.server for row in rows] == [gearmand.address]
    assert [str(error) for error in errors] == [f"{down}: Connection refused"]


@pytest.fixture
def answering():
    """Makes servers that answer anything with the same bytes, and hang up."""
    listeners = []

    def start(answer):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve():
            try:
                while True:
                    with listener.accept()[0] as connection:
                        connection.recv(1000)
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(1000):
                            pass
            except OSError:
                return  # the test is over

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


# What `timeout` bounds. None of these calls would end otherwise.


class Trickling:
    """A server that accepts, and then sends these bytes again and again."""

    def __init__(self, data, pause):
        self._data = data
        self._pause = pause
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = []

    def __enter__(self):
        self._begin(self._accept)
        return self

    def __exit__(self, *error):
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT)
        self._listener.close()

    def _begin(self, target, *arguments):
        self._threads.append(threading.Thread(target=target, args=arguments))
        self._threads[-1].start()

    def _accept(self):
        with suppress(OSError):
            while True:
                self._begin(self._serve, self._listener.accept()[0])

    def _serve(self, connection):
        with connection, suppress(OSError):
            connection.settimeout(0.1)
            while not self._over.wait(self._pause):
                with suppress(TimeoutError):
                    connection.send(self._data)


@pytest.fixture
def mute():
    with Trickling(b"", 0.05) as server:
        yield server


ENDLESS = ["mute", "bytes without an end", "rows without an end", "much", "look-up", "dead", "dead name"]


@pytest.fixture
def start_endless(names, dead_address):
    """Starts a server that leaves whoever asks it waiting for ever; its address."""
    names.hang("slow.example")
    names.add("dead.example", *[dead_address.target] * 3)
    data = {"mute": b"", "bytes without an end": b"x", "rows without an end": b"q\t1\t0\t0\n", "much": b"x" * 50_000}
    others = {"look-up": "slow.example:4730", "dead": dead_address.address, "dead name": "dead.example:4730"}
    with ExitStack() as stack:

        def start(kind):
            if kind in data:
                return stack.enter_context(Trickling(data[kind], 0.001)).address
            return others[kind]

        yield start


@pytest.fixture(params=ENDLESS)
def endless(request, start_endless):
    """The address of a server that leaves whoever asks it waiting for ever."""
    return start_endless(request.param)


@pytest.fixture
def each_endless(start_endless):
    """The addresses of all kinds of them."""
    return [start_endless(kind) for kind in ENDLESS]


CALLS = {
    "status": Admin.status,
    "version": Admin.version,
    "cancel": lambda admin: admin.cancel("H:x:1"),
    "maxqueue": lambda admin: admin.maxqueue("queue", 1),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_call_takes_longer_than_the_time_out(request, endless, call):
    if call in {"version", "cancel"} and "rows without an end" in request.node.name:
        assert CALLS[call](Admin([endless], timeout=LIMIT)), "the first row is the answer to an order"
        return
    with pytest.raises(ServerUnavailable, match=f"^{endless} did not answer within 0.3 s$"):
        CALLS[call](Admin([endless], timeout=0.3))


def test_the_others_answer_while_some_leave_us_waiting(gearmand, each_endless):
    errors = []
    # long enough for the one that answers, on a machine that is busy
    admin = Admin([*each_endless, gearmand.address], timeout=3, on_error=errors.append)
    assert isinstance(admin.status(), list)
    assert [str(error) for error in errors] == [f"{endless} did not answer within 3 s" for endless in each_endless]


def test_the_rows_of_the_others_are_returned(own_gearmand, queue, mute):
    submit(own_gearmand, queue)
    errors = []
    rows = Admin([mute.address, own_gearmand.address], timeout=3, on_error=errors.append).status()
    assert rows == [QueueStatus(own_gearmand.address, queue, 1, 0, 0)]
    assert [type(error) for error in errors] == [ServerUnavailable]


def test_on_error_is_called_in_the_callers_thread_and_its_exception_leaves_the_call():
    class Enough(Exception):
        pass

    def refuse(error):
        callers.append(threading.get_ident())
        raise Enough

    callers = []
    with pytest.raises(Enough):
        Admin([f"127.0.0.1:{free_port()}"], on_error=refuse).status()
    assert callers == [threading.get_ident()]


def test_on_error_hears_of_all_servers_before_a_refusal_is_raised(answering):
    errors = []
    refusing = answering(b"ERR PERMISSION_DENIED\n")
    down = f"127.0.0.1:{free_port()}"
    with pytest.raises(AdminError, match="PERMISSION_DENIED"):
        Admin([refusing, down], on_error=errors.append).status()
    assert [str(error) for error in errors] == [f"{down}: Connection refused"]


def test_an_order_that_is_not_answered_is_an_error_with_on_error_too():
    errors = []
    with pytest.raises(ServerUnavailable):
        Admin([f"127.0.0.1:{free_port()}"], on_error=errors.append).cancel("H:x:1")
    assert errors == []


@pytest.mark.parametrize("error", [UnicodeError("label too long"), OSError("no name server")])
def test_a_name_that_cannot_be_looked_up_is_an_unavailable_server(gearmand, names, error):
    names.fail("odd.example", error)
    errors = []
    assert Admin(["odd.example", gearmand.address], on_error=errors.append).version()
    assert len(errors) == 1 and "odd.example:4730: " in str(errors[0]) and str(error) in str(errors[0])


def test_another_address_of_a_name_is_asked_when_one_is_dead(gearmand, names, dead_address):
    names.add("many.example", dead_address.target, (gearmand.host, gearmand.port))
    assert [row.server for row in Admin(["many.example"], timeout=3).version()] == ["many.example:4730"]


LOOKING_UP = """
import socket, sys, threading, time

begun = threading.Event()

def look_up(*arguments, **options):
    begun.set()
    time.sleep(600)

real, socket.getaddrinfo = socket.getaddrinfo, look_up
from gearmancmd.admin import Admin
from gearmancmd.errors import ServerUnavailable

try:
    Admin(["slow.example"], timeout=0.1).status()
except ServerUnavailable as error:
    assert begun.wait(30)
    print(error)
"""


def test_the_process_can_exit_while_a_look_up_is_under_way(worker_process):
    process = worker_process(LOOKING_UP)
    assert process.exit_status() == 0
    process.wait_for_line("slow.example:4730 did not answer within 0.1 s")


ASKING_AT_EACH_LINE = """
import sys
from gearmancmd.admin import Admin
from tests.support.interrupts import strike_at_each_line

admin = Admin(sys.argv[2:], timeout=30, on_error=lambda error: None)
strike_at_each_line(admin.version, sys.argv[1])
"""


@pytest.mark.timeout(200)
@pytest.mark.parametrize("kind", ["Ctrl+C", "another exception of a signal handler"])
def test_an_exception_at_any_line_leaves_no_descriptor_and_an_admin_that_works(gearmand, worker_process, kind):
    down = f"127.0.0.1:{free_port()}"
    process = worker_process(ASKING_AT_EACH_LINE, kind, gearmand.address, down, environment=UNMEASURED)
    process.process.wait(timeout=180)
    struck, bad = json.loads(process.wait_for_line("told").removeprefix("told"))
    assert bad == []
    assert struck > 50


def test_a_call_leaves_no_descriptor_when_it_returns(gearmand, worker_process):
    """Not even until Python collects its garbage."""
    process = worker_process(UNCOLLECTED, gearmand.address)
    assert process.exit_status() == 0
    assert process.wait_for_line("left") == "left 0"
    assert process.lines == ["left 0"], "there is no warning of a socket that nobody closed"


UNCOLLECTED = """
import gc, os, sys, threading, time, warnings
from gearmancmd.admin import Admin

warnings.simplefilter("always", ResourceWarning)

def open_files():
    while threading.active_count() > 1:
        time.sleep(0.001)
    return len(os.listdir("/proc/self/fd"))

gc.disable()
admin = Admin([sys.argv[1], "127.0.0.1:1"], on_error=lambda error: None)
before = open_files()
for _ in range(10):
    admin.version()
print("left", open_files() - before)
"""


# What is not an answer of gearmand's.


@pytest.mark.parametrize("answer", [b"", b"queue\t1\t", b"queue\t1\t0\t0\n"])
def test_a_server_that_hangs_up_in_its_answer_is_an_error(answering, answer):
    with pytest.raises(ServerUnavailable, match="closed the connection"):
        Admin([answering(answer)]).status()


@pytest.mark.parametrize("answer", [b"queue\n.\n", b"queue\tone\t0\t0\n.\n", b"HTTP/1.1 400 Bad Request\r\n.\r\n"])
def test_an_answer_that_is_none_of_gearmands_is_an_error(answering, answer):
    with pytest.raises(AdminError, match="does not answer 'status' as gearmand does"):
        Admin([answering(answer)]).status()


def test_lines_may_end_with_carriage_return_and_line_feed(answering):
    (row,) = Admin([answering(b"queue\t2\t1\t1\r\n.\r\n")]).status()
    assert (row.queue, row.total, row.running, row.workers) == ("queue", 2, 1, 1)


def test_a_refused_command_is_an_error_with_the_servers_words(answering):
    with pytest.raises(AdminError, match="refuses 'status': PERMISSION_DENIED"):
        Admin([answering(b"ERR PERMISSION_DENIED\n")]).status()


def test_a_row_can_be_sent_as_json():
    row = QueueStatus("localhost:4730", "queue", 1, 0, 0)
    assert json.loads(json.dumps(vars(row)))["queue"] == "queue"
