"""Sockets, TLS and buffers, observed from a client through a real job server."""

from __future__ import annotations

import datetime
import logging
import re
import socket
import ssl
import struct
import time
from contextlib import closing
from typing import BinaryIO

import pytest
import trustme

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd._wire.address import Address, parse_address
from gearmancmd._wire.connection import ServerConnection
from gearmancmd._wire.opening import open_socket
from gearmancmd.admin import Admin
from gearmancmd.errors import ServerUnavailable
from tests.support.gear_client import Caller
from tests.support.gearmand import Gearmand, free_port
from tests.support.proxy import Proxy
from tests.support.tls import require_certificate, tls_for
from tests.support.waiting import LIMIT, wait_for


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


# Names and their addresses.


def test_connecting_gives_up_after_the_time_out(dead_address):
    with pytest.raises(TimeoutError):
        open_socket(Address(*dead_address.target), deadline=time.monotonic() + 0.2)


def test_dead_addresses_together_take_no_longer_than_the_time_out(names, dead_address):
    names.add("dead.example", *[dead_address.target] * 3)
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        open_socket(Address("dead.example"), time.monotonic() + 0.3)


def test_what_is_wrong_with_each_address_is_told(names, dead_address):
    names.add("mixed.example", dead_address.target, ("127.0.0.2", free_port("127.0.0.2")))
    with pytest.raises(OSError, match=r"^127\.0\.0\.1: timed out; 127\.0\.0\.2: Connection refused$"):
        open_socket(Address("mixed.example"), time.monotonic() + 0.3)


def test_what_is_wrong_with_all_addresses_is_told_once(names):
    names.add("down.example", ("127.0.0.1", free_port()), ("127.0.0.2", free_port("127.0.0.2")))
    with pytest.raises(ConnectionRefusedError):
        open_socket(Address("down.example"))


def test_a_name_without_addresses_is_an_error(names):
    names.add("empty.example")
    with pytest.raises(OSError, match=r"empty\.example has no address"):
        open_socket(Address("empty.example"))


@pytest.mark.parametrize(
    "error",
    [
        UnicodeError("label too long"),
        ValueError("embedded null character"),
        OverflowError("Python int too large to convert to C long"),
        TypeError("getaddrinfo() argument 1 must be string or None"),
    ],
)
def test_whatever_a_look_up_raises_is_an_error_of_the_system_with_its_text(names, error):
    names.fail("odd.example", error)
    with pytest.raises(OSError, match=r"'odd\.example' cannot be looked up: ") as failed:
        open_socket(Address("odd.example"))
    assert str(error) in str(failed.value)


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "a\0b", "\udc80"])
def test_a_host_that_is_none_is_an_error_of_the_system(host):
    """By its parts: where users write it, it is refused."""
    with pytest.raises(OSError):
        open_socket(Address(host))


# TLS: Debian's gearmand serves plain text even with --ssl, so a proxy ends it in front of the server.


@pytest.mark.parametrize("chunk", [65536, 3])
def test_tls_with_certificates_on_both_sides(server, client, queue, run, authority, ca_certs, own_certificate, chunk):
    context = require_certificate(tls_for(authority, "localhost"), authority)
    with Proxy(server, tls=context, chunk=chunk) as proxy:
        where = {"host": "localhost", "port": proxy.port, "ca_certs": ca_certs, **own_certificate}
        run(GearmanCMD([where]).register_task(queue, Queue()))
        assert client.call(queue, REVERSE).result == "cba"


def test_a_large_payload_over_tls(gearmand, gearmand_client, queue, run, authority, ca_certs):
    with Proxy(gearmand, tls=tls_for(authority, "localhost")) as proxy:
        run(GearmanCMD([{"host": "localhost", "port": proxy.port, "ca_certs": ca_certs}]).register_task(queue, Queue()))
        message = "y" * (4 << 20)
        assert gearmand_client.call(queue, {"command": "echo", "message": message}).result == message


# What is wrong with a server, and what the user reads of it.
FAULTS = {
    "another host's certificate": "certificate verify failed: Hostname mismatch, .* not valid for 'localhost'",
    "an unknown authority": "certificate verify failed: ",
    "an expired certificate": "certificate verify failed: certificate has expired",
    "TLS 1.1": "alert|protocol",
    "no TLS": "wrong version number|record layer failure|packet length too long",
}


@pytest.fixture(params=FAULTS)
def fault(request, authority, ca_certs):
    """(the server's TLS, or None; what is told of it)"""
    if request.param == "no TLS":
        return None, FAULTS[request.param]
    expired = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    issuer = trustme.CA() if request.param == "an unknown authority" else authority
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(
        "other.example" if request.param == "another host's certificate" else "localhost",
        not_after=expired if request.param == "an expired certificate" else None,
    ).configure_cert(context)
    if request.param == "TLS 1.1":
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context, FAULTS[request.param]


class Greeting(Proxy):
    """Greets in plain text, as a server without TLS; with TLS, after the handshake."""

    def _serve(self, accepted: socket.socket) -> None:
        self._sockets.append(accepted)
        if self._tls:
            accepted = self._tls.wrap_socket(accepted, server_side=True)
            self._sockets.append(accepted)
        socket.socket.send(accepted, b"220 welcome\r\n")


def faulty(server, context) -> Proxy:
    return Proxy(server, tls=context) if context is not None else Greeting(server)


def readable(text: str) -> bool:
    """Whether it is free of OpenSSL's codes and places."""
    return "_ssl.c" not in text and "[SSL" not in text


def test_a_server_that_is_not_the_one_meant_is_refused_with_the_whole_reason(
    server, queue, run, ca_certs, caplog, fault
):
    context, reason = fault
    with faulty(server, context) as proxy, caplog.at_level(logging.INFO, "gearmancmd"):
        run(GearmanCMD([{"host": "localhost", "port": proxy.port, "ca_certs": ca_certs}]).register_task(queue, Queue()))
        wait_for(lambda: proxy.connections > 1, "a second attempt")
        lines = [record.getMessage() for record in caplog.records if not record.getMessage().startswith("worker ")]
    assert len(lines) == 1 and "no connection to gearmand" in lines[0]
    assert re.search(f"TLS failed: .*({reason})", lines[0]) and readable(lines[0])


def test_who_connects_by_himself_hears_the_whole_reason(gearmand, ca_certs, fault):
    import gearman.errors

    context, reason = fault
    with faulty(gearmand, context) as proxy:
        where = {"host": "localhost", "port": proxy.port, "ca_certs": ca_certs}
        with pytest.raises(gearman.errors.ConnectionError, match=f"TLS failed: .*({reason})") as refused:
            ServerConnection(*parse_address(where)).connect()
        assert readable(str(refused.value))
        with pytest.raises(ServerUnavailable, match=f"localhost:{proxy.port}.*TLS failed: .*({reason})") as refused:
            Admin([where], timeout=LIMIT).version()
        assert readable(str(refused.value))


def test_tls_that_breaks_later_is_told_of_in_the_same_way(server, queue, run, authority, ca_certs, caplog):
    with Greeting(server, tls=tls_for(authority, "localhost")) as proxy, caplog.at_level(logging.INFO, "gearmancmd"):
        run(GearmanCMD([{"host": "localhost", "port": proxy.port, "ca_certs": ca_certs}]).register_task(queue, Queue()))
        lines = wait_for(lambda: [line for line in caplog.messages if "TLS" in line], "a line in the log")
    line = lines[0]
    assert re.search(f"{proxy.port}: TLS failed: .*({FAULTS['no TLS']})", line) and readable(line)


class Slow(Proxy):
    """Takes its time for TLS. A plain connection to the own machine is there at once, even if no time is left."""

    def _serve(self, accepted: socket.socket) -> None:
        time.sleep(0.3)
        super()._serve(accepted)


def test_each_address_of_a_name_is_tried_within_the_time_out(gearmand, names, dead_address, authority, ca_certs):
    with Slow(gearmand, tls=tls_for(authority, "many.example")) as proxy:
        names.add("many.example", dead_address.target, dead_address.target, (proxy.host, proxy.port))
        with closing(open_socket(Address("many.example", ca_certs=ca_certs), time.monotonic() + 9)) as opened:
            assert opened.getpeername() == (proxy.host, proxy.port)


def test_a_worker_reaches_its_server_behind_a_dead_address(
    server, client, queue, run, names, dead_address, authority, ca_certs
):
    with Slow(server, tls=tls_for(authority, "many.example")) as proxy:
        names.add("many.example", dead_address.target, (proxy.host, proxy.port))
        run(GearmanCMD([{"host": "many.example", "ca_certs": ca_certs}]).register_task(queue, Queue()))
        assert client.call(queue, REVERSE).result == "cba"


def test_a_full_name_is_checked_without_its_last_dot(server, client, queue, run, names, authority, ca_certs):
    with Slow(server, tls=tls_for(authority, "gearmand.example")) as proxy:
        names.add("gearmand.example.", (proxy.host, proxy.port))
        run(GearmanCMD([{"host": "gearmand.example.", "ca_certs": ca_certs}]).register_task(queue, Queue()))
        assert client.call(queue, REVERSE).result == "cba"


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
