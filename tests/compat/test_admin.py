"""compat.GearmanAdminClient where its documentation says little: refusals, odd answers, and the command behind them."""

from __future__ import annotations

import gearman
import pytest
from gearman.errors import GearmanError, InvalidAdminClientState, ProtocolError

from gearmancmd import ServerUnavailable
from gearmancmd.compat import GearmanAdminClient
from tests.support.gearmand import admin
from tests.support.proxy import Proxy
from tests.support.servers import Scripted
from tests.support.waiting import LIMIT, wait_for


@pytest.fixture
def scripted(connect):
    """Makes a client of a server that answers its first command, and that alone, with these bytes; None hangs up."""
    servers = []

    def make(answer, **options):
        servers.append(TextServer(answer))
        return connect(servers[-1].__enter__().address, kind=GearmanAdminClient, **options)

    yield make
    for server in servers:
        server.__exit__()


class TextServer(Scripted):
    """Answers what comes first on each connection."""

    def __init__(self, answer):
        super().__init__(lambda kind, body: answer)

    def _serve(self, connection):
        with connection:
            connection.recv(65536)
            if self._answer(0, b"") is not None:
                connection.sendall(self._answer(0, b""))
                while connection.recv(65536):
                    pass


def test_it_is_gearmans_admin_client(admin_client):
    assert isinstance(admin_client, gearman.GearmanAdminClient)


def test_commands_follow_one_another_on_one_connection(gearmand, connect):
    client = connect(gearmand.address, kind=GearmanAdminClient)
    client.get_version()
    lines = len(admin(gearmand, "workers"))
    for _ in range(3):
        assert client.ping_server() >= 0
        assert client.get_version()[0].isdigit()
        assert client.get_pid().isdigit()
        assert isinstance(client.get_status(), tuple)
        assert isinstance(client.get_workers(), tuple)
        assert isinstance(client.get_jobs(), tuple)
        assert isinstance(client.get_unique_jobs(), tuple)
        assert client.cancel_job("H:nowhere:1") == "ERR UNKNOWN_JOB"
    assert len(admin(gearmand, "workers")) == lines


def test_this_gearmand_cannot_be_shut_down_and_says_so(admin_client):
    """Debian's is built without it. python-gearman took the refusal for an answer."""
    for graceful in (True, False):
        with pytest.raises(ProtocolError, match=r"has no admin command 'shutdown'.*SIGTERM, or SIGUSR1"):
            admin_client.send_shutdown(graceful)
    assert isinstance(admin_client.get_status(), tuple)


@pytest.mark.parametrize("answer", [b"OK\n", None], ids=["OK", "hangs up"])
def test_a_server_that_can_be_shut_down_is(scripted, answer):
    assert scripted(answer).send_shutdown() is None


@pytest.mark.parametrize(
    "command", ["get_version", "get_pid", "get_jobs", "get_unique_jobs", "ping_server", "send_maxqueue"]
)
def test_what_the_embedded_server_does_not_know_is_an_error_at_once(embedded, connect, command):
    client = connect(embedded.address, kind=GearmanAdminClient, poll_timeout=None)
    arguments = ("queue", 5) if command == "send_maxqueue" else ()
    with pytest.raises(ProtocolError, match=r"does not know the admin command '.*': it is not gearmand"):
        getattr(client, command)(*arguments)
    assert isinstance(client.get_status(), tuple)


def test_a_refused_command_is_an_error_with_the_servers_words(scripted):
    with pytest.raises(ProtocolError, match=r"127\.0\.0\.1:\d+ refuses 'maxqueue': INVALID_ARGUMENTS no number"):
        scripted(b"ERR INVALID_ARGUMENTS no number\n").send_maxqueue("queue", "many")


@pytest.mark.parametrize("task", ["queue\nshutdown", "queue\r\nshutdown"])
def test_a_command_is_one_line(admin_client, task):
    with pytest.raises(ValueError, match="an admin command must be one line of text"):
        admin_client.send_maxqueue(task, 1)
    assert isinstance(admin_client.get_status(), tuple)


def test_a_client_id_may_hold_spaces(scripted):
    (row,) = scripted(b"33 127.0.0.1 a client of mine : reverse hold\n.\n").get_workers()
    assert (row["client_id"], row["tasks"]) == ("a client of mine", ("reverse", "hold"))


def test_a_worker_has_its_client_id(server, admin_client, work, queue):
    work(server.address, queue, lambda worker, job: "").set_client_id("my-id")
    wait_for(lambda: any(row["client_id"] == "my-id" for row in admin_client.get_workers()), "the worker")


def test_a_task_may_hold_tabs(scripted):
    assert scripted(b"a\tb\t3\t2\t1\n.\n").get_status() == ({"task": "a\tb", "queued": 3, "running": 2, "workers": 1},)


@pytest.mark.parametrize("cut", [1, 5, 200])
def test_an_answer_may_arrive_in_pieces(server, cut):
    with Proxy(server, chunk=cut) as proxy:
        client = GearmanAdminClient([proxy.address])
        assert isinstance(client.get_status(), tuple)
        assert any(row["ip"] == "127.0.0.1" for row in client.get_workers())
        client.shutdown()


@pytest.mark.parametrize("cut", [1, 5, 200])
def test_a_ping_may_arrive_in_pieces(gearmand, cut):
    with Proxy(gearmand, chunk=cut) as proxy:
        client = GearmanAdminClient([proxy.address])
        assert client.ping_server() < LIMIT
        assert client.get_version()[0].isdigit()
        client.shutdown()


@pytest.mark.parametrize("answer", [b"queue\t1\n.\n", b"queue\tone\t0\t0\n.\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_an_answer_that_is_none_of_gearmands_is_an_error(scripted, answer):
    with pytest.raises(ProtocolError, match="does not answer 'status' as gearmand does"):
        scripted(answer).get_status()


def test_a_server_that_hangs_up_in_its_answer_is_an_error(scripted):
    with pytest.raises(ServerUnavailable, match="closed the connection"):
        scripted(None).get_status()


def test_a_mute_server_is_an_error_in_time_and_its_late_answer_no_answer_to_the_next_command(scripted):
    client = scripted(b"1\t2\t3", poll_timeout=1)
    for command in (client.get_status, client.get_version, client.ping_server):
        with pytest.raises(InvalidAdminClientState, match=r"timed out after 1"):
            command()


@pytest.mark.parametrize("host_list", [[], None, ["a:1", "b:2"]])
def test_it_is_for_one_server(host_list):
    with pytest.raises(GearmanError, match="host_list must name one server"):
        GearmanAdminClient(host_list)
