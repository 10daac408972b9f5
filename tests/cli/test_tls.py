"""--ca, --cert and --key: TLS for each command that talks to servers."""

from __future__ import annotations

import json
import signal

import pytest
import trustme
from cryptography.hazmat.primitives import serialization  # trustme's own

from gearmancmd import GearmanCMD, GearmanCMDQueue
from tests.support.commandline import gearmancmd, one_line
from tests.support.gear_client import Caller
from tests.support.proxy import Proxy
from tests.support.screen import exit_status
from tests.support.tls import require_certificate, tls_for

pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")


@pytest.fixture
def files(ca_certs, own_certificate):
    """The options that name the three files."""
    return ["--ca", ca_certs, "--cert", own_certificate["certfile"], "--key", own_certificate["keyfile"]]


@pytest.fixture
def secure(own_gearmand, authority):
    """A server that speaks TLS only, and asks for a certificate."""
    with Proxy(own_gearmand, tls=require_certificate(tls_for(authority, "localhost"), authority)) as proxy:
        yield f"localhost:{proxy.port}"


class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]


def test_call_speaks_tls(own_gearmand, queue, run, secure, files):
    run(GearmanCMD([own_gearmand.address]).register_task(queue, Queue()))
    done = gearmancmd("call", queue, "reverse", "message=Hello", "-s", secure, *files)
    assert (done.returncode, done.stdout) == (0, '"olleH"\n'), done


def test_run_speaks_tls(own_gearmand, queue, project, start, secure, files):
    running = start("run", "shop.queues:Queue", "-q", queue, "-s", secure, *files, cwd=project)
    with Caller(own_gearmand) as client:
        assert client.call(queue, {"command": "reverse", "message": "Hello"}).result == "olleH"
    assert running.wait_for_line("works on").endswith(f" at {secure}")
    running.signal(signal.SIGTERM)
    assert running.exit_status() == 0


def test_submit_cancel_status_and_workers_speak_tls(own_gearmand, queue, secure, files):
    servers = ["-s", secure, *files]
    assert gearmancmd("submit", queue, *servers, input="1\n2\n").stdout.startswith("2 tasks submitted")
    handle = gearmancmd("call", queue, "reverse", "--background", *servers).stdout.strip()
    assert gearmancmd("cancel", handle, *servers).stdout == f"cancelled {handle} on {secure}\n"
    (row,) = json.loads(gearmancmd("status", "--json", *servers).stdout)
    assert (row["server"], row["queue"], row["total"]) == (secure, queue, 3)
    assert json.loads(gearmancmd("workers", "--all", "--json", *servers).stdout)


def test_top_speaks_tls(own_gearmand, queue, screen, secure, files):
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
    top = screen(f"gearmancmd top -s {secure} {' '.join(files)}")
    top.wait_for(lambda lines: any(line.startswith(queue) for line in lines), "the queue")
    top.child.send("q")
    assert exit_status(top.child) == 0


def test_the_files_hold_for_the_servers_of_the_environment_too(secure, files):
    done = gearmancmd("status", "--json", *files, environ={"GEARMAN_SERVERS": secure})
    assert (done.returncode, done.stdout) == (0, "[]\n"), done


def test_the_authority_alone_is_enough_for_a_server_that_asks_for_no_certificate(own_gearmand, authority, ca_certs):
    with Proxy(own_gearmand, tls=tls_for(authority, "localhost")) as proxy:
        done = gearmancmd("status", "--json", "-s", f"localhost:{proxy.port}", "--ca", ca_certs)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done


def test_a_server_that_is_not_the_one_meant_is_one_line_and_exit_status_4(own_gearmand, authority, ca_certs):
    for issuer, name in ((trustme.CA(), "localhost"), (authority, "other.example")):
        with Proxy(own_gearmand, tls=tls_for(issuer, name)) as proxy:
            servers = ["-s", f"localhost:{proxy.port}", "--ca", ca_certs]
            for command in ("status", "call q reverse", "submit q"):
                line = one_line(gearmancmd(*command.split(), *servers, input="1\n"), 4)
                assert f"localhost:{proxy.port}" in line and "certificate verify failed" in line


@pytest.fixture
def pem(tmp_path, authority):
    """Files that cannot be used, by name."""
    other = authority.issue_cert("other.example")
    other.private_key_pem.write_to_path(str(tmp_path / "other-key.pem"))
    (tmp_path / "rubbish.pem").write_text("rubbish", "utf-8")
    (tmp_path / "empty.pem").write_text("", "utf-8")
    encrypted = serialization.load_pem_private_key(other.private_key_pem.bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"forgotten"),
    )
    (tmp_path / "encrypted.pem").write_bytes(encrypted)
    return tmp_path


@pytest.mark.parametrize(
    "command", ["run q=shop.queues:Queue", "call q reverse", "submit q", "status", "workers", "cancel H:x:1"]
)
def test_a_file_that_is_not_there_is_one_line_and_exit_status_2(project, command):
    for option in ("--ca", "--cert", "--key"):
        line = one_line(gearmancmd(*command.split(), option, "/no/such.pem", cwd=project), 2)
        assert option in line and "/no/such.pem" in line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--ca {pem}/rubbish.pem", "--ca {pem}/rubbish.pem cannot be used: it does not hold what it should, in PEM"),
        ("--ca {pem}/empty.pem", "--ca {pem}/empty.pem cannot be used: it does not hold what it should, in PEM"),
        ("--ca {pem}", "--ca"),
        ("--cert {pem}/rubbish.pem", "--cert {pem}/rubbish.pem cannot be used: it does not hold what it should"),
        ("--cert {pem}/cert.pem", "--cert {pem}/cert.pem cannot be used: "),
        ("--cert {pem}/cert.pem --key {pem}/rubbish.pem", "--key {pem}/rubbish.pem cannot be used: "),
        ("--cert {pem}/cert.pem --key {pem}/other-key.pem", "cannot be used: the key is not that of the certificate"),
        ("--cert {pem}/cert.pem --key {pem}/encrypted.pem", "--key is encrypted: a key without a password is needed"),
        ("--key {pem}/key.pem", "--key is the key of a certificate: name that too, with --cert"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_exit_status_2(own_certificate, pem, options, told):
    line = one_line(gearmancmd("status", *options.format(pem=pem).split()), 2)
    assert told.format(pem=pem) in line
