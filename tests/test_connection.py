"""Sockets, TLS and buffers, observed from a client through a real job server."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest
import trustme

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd.address import Address
from gearmancmd.connection import ServerConnection, open_socket
from tests.calling import Caller
from tests.gearmand import Gearmand, free_port
from tests.proxy import Proxy
from tests.waiting import wait_for


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]

    def echo(self, gcmd, task):
        return task["message"]


REVERSE = {"command": "reverse", "message": "abc"}


@pytest.fixture(scope="module")
def gearmand_client(gearmand):
    with Caller(gearmand) as caller:
        yield caller


def has_ipv6() -> bool:
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False


def test_a_host_name_is_looked_up(server, client, queue, run):
    run(GearmanCMD([("localhost", server.port)]).register_task(queue, Queue()))
    assert client.call(queue, REVERSE).result == "cba"


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("form", ["text", "tuple"])
def test_ipv6(gearmand, queue, run, form):
    with Gearmand(host="::1") as server, Caller(server) as client:
        run(GearmanCMD([server.address if form == "text" else ("::1", server.port)]).register_task(queue, Queue()))
        assert client.call(queue, REVERSE).result == "cba"


@pytest.mark.parametrize("size", [1 << 20, 64 << 20], ids=["1 MiB", "64 MiB"])
def test_large_payloads_both_ways(gearmand, queue, run, size):
    """By a bare socket: the clients at hand read large answers in quadratic time."""
    run(GearmanCMD([gearmand.address]).register_task(queue, Queue()))
    message = b"x" * size
    body = queue.encode() + b"\0unique\0" + b'{"command": "echo", "message": "' + message + b'"}'
    with closing(socket.create_connection((gearmand.host, gearmand.port), timeout=60)) as client:
        client.sendall(b"\0REQ" + struct.pack("!II", 7, len(body)) + body)
        with client.makefile("rb") as answers:
            assert read_packet(answers)[0] == 8
            kind, answer = read_packet(answers)
    assert kind == 13 and answer.partition(b"\0")[2] == b'"' + message + b'"'


def read_packet(stream: BinaryIO) -> tuple[int, bytes]:
    _, kind, size = struct.unpack("!4sII", stream.read(12))
    return kind, stream.read(size)


@pytest.mark.parametrize("chunk", [1, 7, 13])
def test_the_stream_may_be_cut_at_any_byte(server, client, queue, run, chunk):
    with Proxy(server, chunk=chunk) as proxy:
        run(GearmanCMD([proxy.address], prefetch=4).register_task(queue, Queue()))
        jobs = [client.send(queue, {"command": "reverse", "message": str(n) * 50}) for n in range(20)]
        assert [client.outcome(job).result for job in jobs] == [(str(n) * 50)[::-1] for n in range(20)]


def test_the_socket_is_set_up_for_jobs(server):
    with closing(open_socket(Address(server.host, server.port))) as opened:
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_connecting_gives_up_after_the_time_out():
    with closing(socket.create_server(("127.0.0.1", 0), backlog=1)) as mute:
        port = mute.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]  # a full backlog: SYNs are dropped from here on
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            with pytest.raises(TimeoutError):
                open_socket(Address("127.0.0.1", port), timeout=0.2)
        finally:
            for filler in fillers:
                filler.close()


# TLS: Debian's gearmand serves plain text even with --ssl, so a proxy ends it in front of the server.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_certs(authority, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


@pytest.fixture
def own_certificate(authority, tmp_path: Path) -> dict[str, str]:
    certificate = authority.issue_cert("worker.example")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    return {"keyfile": str(tmp_path / "key.pem"), "certfile": str(tmp_path / "cert.pem")}


def tls_for(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("chunk", [65536, 3])
def test_tls_with_certificates_on_both_sides(
    server, client, queue, run, authority, ca_certs, own_certificate, chunk
):
    context = tls_for(authority, "localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    with Proxy(server, tls=context, chunk=chunk) as proxy:
        where = {"host": "localhost", "port": proxy.port, "ca_certs": ca_certs, **own_certificate}
        run(GearmanCMD([where]).register_task(queue, Queue()))
        assert client.call(queue, REVERSE).result == "cba"


def test_a_large_payload_over_tls(gearmand, gearmand_client, queue, run, authority, ca_certs):
    with Proxy(gearmand, tls=tls_for(authority, "localhost")) as proxy:
        run(GearmanCMD([{"host": "localhost", "port": proxy.port, "ca_certs": ca_certs}]).register_task(queue, Queue()))
        message = "y" * (4 << 20)
        assert gearmand_client.call(queue, {"command": "echo", "message": message}).result == message


@pytest.mark.parametrize("fault", ["another host's certificate", "an unknown authority", "TLS 1.1"])
def test_a_server_that_is_not_the_one_meant_is_refused(
    server, queue, run, authority, ca_certs, caplog, fault
):
    issuer = trustme.CA() if fault == "an unknown authority" else authority
    context = tls_for(issuer, "other.example" if fault == "another host's certificate" else "localhost")
    if fault == "TLS 1.1":
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Proxy(server, tls=context) as proxy, caplog.at_level(logging.INFO, "gearmancmd"):
        run(GearmanCMD([{"host": "localhost", "port": proxy.port, "ca_certs": ca_certs}]).register_task(queue, Queue()))
        wait_for(lambda: proxy.connections > 1, "a second attempt")
        lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1 and "no connection to gearmand" in lines[0]


def test_the_certificate_is_checked_against_the_host_and_tls_is_recent(ca_certs):
    context = Address("localhost", ca_certs=ca_certs).ssl_context()
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


# The object by itself.


def test_a_connection_connects_again_after_it_was_lost(server):
    connection = ServerConnection(server.host, server.port)
    for _ in range(2):
        connection.connect()
        assert connection.connected and connection.fileno() >= 0
        connection.close()
        assert not connection.connected


def test_a_connection_refuses_to_connect_twice(server):
    import gearman.errors

    connection = ServerConnection(server.host, server.port)
    connection.connect()
    with closing(connection), pytest.raises(gearman.errors.ConnectionError, match="already"):
        connection.connect()


def test_a_refused_connection_names_the_server():
    import gearman.errors

    port = free_port()
    with pytest.raises(gearman.errors.ConnectionError, match=f"127.0.0.1:{port}"):
        ServerConnection("127.0.0.1", port).connect()
