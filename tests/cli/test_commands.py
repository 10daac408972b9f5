"""The command line by exit status, stdout and stderr: nothing here is a terminal."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import threading
from contextlib import ExitStack
from importlib import metadata

import click
import pytest
from gearman import DataEncoder

import gearmancmd as library
from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd.admin import Admin
from gearmancmd.cli.program import program
from tests.support.commandline import ENVIRON, PROGRAM, UNMEASURED, gearmancmd, one_line, without
from tests.support.gear_client import Caller
from tests.support.gearmand import counts, free_port
from tests.support.waiting import wait_for
from tests.support.workers import ROOT

#: JSON nested deeper than Python can follow, as long as one argument of a command line may be.
DEEP = "[" * 60_000 + "]" * 60_000

COMMANDS = ["demo", "run", "call", "submit", "status", "top", "workers", "cancel", "serve"]


@pytest.fixture
def worker(gearmand, queue, run):
    """A worker on `queue` that does each thing that the command line shows."""

    class Queue(GearmanCMDQueue):
        def reverse(self, gcmd, task):
            return task["message"][::-1]

        def echo(self, gcmd, task):
            return task

        def name(self, gcmd, task):
            return gcmd.job.unique

        def parts(self, gcmd, task):
            gcmd.send_status(1, 2)
            gcmd.send_data({"part": 1})
            gcmd.send_warning("nearly")
            gcmd.send_data({"part": 2})
            return "whole"

        def fail(self, gcmd, task):
            raise library.CommandError("out of paper")

    run(GearmanCMD([gearmand.address]).register_task(queue, Queue()))


@pytest.fixture
def raw_worker(gearmand, queue, run):
    """A worker that sends bytes which are not JSON."""

    class Bytes(library.GearmanWorker):
        data_encoder = BytesEncoder

    class Queue(GearmanCMDQueue):
        def any(self, gcmd, task):
            gcmd.send_warning(b"nearly\xff")
            gcmd.send_data(b"part\xff,")
            return b"\0not {JSON\x1b\n\n"

        def deep(self, gcmd, task):
            return b"[" * 100_000 + b"]" * 100_000

    gcmd = GearmanCMD([gearmand.address]).register_task(queue, Queue())
    gcmd.worker = Bytes
    run(gcmd)


class BytesEncoder(DataEncoder):
    """JSON from the client, and bytes to it."""

    @classmethod
    def encode(cls, data):
        return data

    @classmethod
    def decode(cls, data):
        return json.loads(data)


@pytest.fixture
def call(gearmand, queue):
    """`gearmancmd call` on the test's own queue."""

    def call(*words, **options):
        return gearmancmd("call", queue, *words, "-s", gearmand.address, **options)

    return call


def gearadmin(server, option):
    """The lines that gearmand's own tool prints, as their fields."""
    command = ["gearadmin", "-h", server.host, "-p", str(server.port), option]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    return [line.split("\t") for line in printed.splitlines()]


# The program.


def test_the_version_names_python_and_the_dependencies():
    line = gearmancmd("--version").stdout
    python = platform.python_version()
    assert re.fullmatch(rf"gearmancmd {re.escape(library.__version__)} \(Python {re.escape(python)}, .*\)\n", line)
    for package in ("simplejson", "click", "rich", "gear"):
        assert f", {package} {metadata.version(package)}" in line
    # The module gearman is that of one of two packages.
    (name, version) = re.search(r", (pygearman|gearman3) ([\d.]+),", line).groups()
    assert metadata.version(name) == version


def test_the_version_names_only_what_is_installed(tmp_path):
    source = """
from importlib import metadata

def version(name):
    if name in {"gearman3", "simplejson"}:
        return "7"
    raise metadata.PackageNotFoundError(name)

metadata.packages_distributions = lambda: {"gearman": ["gearman3"]}
metadata.version = version
"""
    (tmp_path / "sitecustomize.py").write_text(source, "utf-8")
    line = gearmancmd("--version", environ={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}).stdout
    assert line.endswith(f"(Python {platform.python_version()}, gearman3 7, simplejson 7)\n")


def test_without_a_command_there_is_help():
    done = gearmancmd()
    assert done.returncode == 0
    assert re.findall(r"^  (\w+)  ", done.stdout, re.MULTILINE) == COMMANDS
    assert "gearmancmd demo" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_an_example(command):
    done = gearmancmd(command, "--help")
    assert done.returncode == 0
    examples = re.search(r"^  Examples?:\n((?:    .*\n?)+)", done.stdout, re.MULTILINE)
    assert examples, done.stdout
    assert all(line.startswith(f"    gearmancmd {command}") for line in examples[1].splitlines())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["call"], "Missing argument 'QUEUE'"),
        (["status", "--frobnicate"], "No such option"),
        (["status", "-s", "localhost:x"], "-s: port must be a number, not 'x'"),
        (["status", "-s", ""], "-s: host must be a name"),
        (["call", "queue", "reverse", "--timeout", "0"], "--timeout"),
        (["call", "queue", "reverse", "--priority", "urgent"], "urgent"),
        (["submit", "queue", "/no/such/file"], "/no/such/file"),
        (["cancel", "H:x:1\nshutdown"], "handle must be a name without control characters"),
        (["call", "two\nlines", "reverse"], "two\\nlines"),
        (["submit", "two\nlines"], "two\\nlines"),
        (["top"], "top needs a terminal"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_status_2(arguments, text):
    assert text in one_line(gearmancmd(*arguments, input='{"n": 1}\n'), 2)


@pytest.mark.parametrize("arguments", [["cancel", "H:nowhere:1", "--debug"], ["--debug", "cancel", "H:nowhere:1"]])
def test_debug_shows_the_traceback_before_the_line(gearmand, arguments):
    done = gearmancmd(*arguments, environ={"GEARMAN_SERVERS": gearmand.address})
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1] == f"gearmancmd: no job H:nowhere:1 on {gearmand.address}"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_is_named(missing, tmp_path):
    done = gearmancmd("--version", environ=without(missing, path=tmp_path))
    assert "pip install 'gearmancmd[cli]'" in one_line(done, 1)


def test_another_missing_module_is_not_taken_for_the_extra(tmp_path):
    done = gearmancmd("--version", environ=without("simplejson", path=tmp_path))
    assert "ModuleNotFoundError" in done.stderr
    assert "gearmancmd[cli]" not in done.stderr


def test_a_shell_can_complete_the_commands():
    environ = {"_GEARMANCMD_COMPLETE": "bash_complete", "COMP_WORDS": "gearmancmd s", "COMP_CWORD": "1"}
    assert gearmancmd(environ=environ).stdout.split() == ["plain,submit", "plain,status", "plain,serve"]


def test_a_reader_that_leaves_is_no_error(gearmand):
    process = subprocess.Popen(
        [*PROGRAM, "status", "--json", "--watch", "--interval", "0.01", "-s", gearmand.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRON,
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


# Servers.


def test_servers_come_from_the_environment(gearmand):
    done = gearmancmd("workers", "--all", "--json", environ={"GEARMAN_SERVERS": gearmand.address})
    assert {row["server"] for row in json.loads(done.stdout)} == {gearmand.address}


def test_several_servers_in_the_environment(gearmand, own_gearmand):
    servers = f"{gearmand.address},{own_gearmand.address}"
    done = gearmancmd("workers", "--all", "--json", environ={"GEARMAN_SERVERS": servers})
    assert {row["server"] for row in json.loads(done.stdout)} == {gearmand.address, own_gearmand.address}


def test_servers_of_the_command_line_come_before_the_environment(gearmand):
    done = gearmancmd("status", "-s", gearmand.address, environ={"GEARMAN_SERVERS": "127.0.0.1:1"})
    assert done.returncode == 0, done


def test_a_wrong_server_in_the_environment_is_named_as_such():
    done = gearmancmd("status", environ={"GEARMAN_SERVERS": "localhost:4730,localhost:x"})
    assert "GEARMAN_SERVERS: port must be a number, not 'x'" in one_line(done, 2)


def test_without_any_the_server_is_localhost_4730():
    assert "else localhost:4730" in " ".join(gearmancmd("status", "--help").stdout.split())


@pytest.mark.parametrize("command", ["status", "workers", "cancel H:x:1", "call q reverse", "submit q"])
def test_no_server_is_one_line_and_exit_status_4(command):
    address = f"127.0.0.1:{free_port()}"
    assert address in one_line(gearmancmd(*command.split(), "-s", address, input="1\n"), 4)


# status, workers, cancel.


def test_status_is_a_table(own_gearmand, queue):
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
        client.send(f"{queue}-{'long' * 50}", {}, background=True)
        done = gearmancmd("status", "-s", own_gearmand.address)
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = [line.split() for line in done.stdout.splitlines()]
    assert header == ["queue", "waiting", "running", "workers"]
    assert rows == [[queue, "1", "0", "0"], [f"{queue}-{'long' * 50}", "1", "0", "0"]]


def test_status_as_json(own_gearmand, queue):
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
        done = gearmancmd("status", "--json", "-s", own_gearmand.address)
    address = own_gearmand.address
    expected = {"server": address, "queue": queue, "total": 1, "waiting": 1, "running": 0, "workers": 0}
    assert json.loads(done.stdout) == [expected]


def test_status_of_a_server_without_queues(own_gearmand):
    done = gearmancmd("status", "-s", own_gearmand.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no queues\n")
    assert gearmancmd("status", "--json", "-s", own_gearmand.address).stdout == "[]\n"


def test_status_shows_the_servers_that_answer(own_gearmand, queue):
    down = f"127.0.0.1:{free_port()}"
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
        done = gearmancmd("status", "-s", own_gearmand.address, "-s", down)
    assert one_line(done, 4) == f"{down}: Connection refused"
    assert done.stdout.splitlines()[1].split() == [queue, own_gearmand.address, "1", "0", "0"]


def test_status_names_cannot_steer_a_terminal(own_gearmand):
    with Caller(own_gearmand) as client:
        client.send("\x1b[31mred\x9b0m[b]", {}, background=True)
        table = gearmancmd("status", "-s", own_gearmand.address).stdout
        lines = gearmancmd("status", "--json", "-s", own_gearmand.address).stdout
    assert "\\x1b[31mred\\x9b0m[b]" in table
    assert not re.search("[\x1b\x9b]", table + lines)
    assert json.loads(lines)[0]["queue"] == "\x1b[31mred\x9b0m[b]"


def test_status_watches_until_ctrl_c(own_gearmand, queue, start):
    watching = start("status", "--watch", "--json", "--interval", "0.01", "-s", own_gearmand.address)
    watching.wait_for_line("[]")
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
    watching.wait_for_line(queue)
    watching.signal(signal.SIGINT)
    assert watching.exit_status() == 0
    assert watching.stderr == []


def test_workers_are_shown_and_clients_on_demand(own_gearmand, queue, run):
    class Queue(GearmanCMDQueue):
        def reverse(self, gcmd, task):
            return task["message"][::-1]

    nobody = gearmancmd("workers", "-s", own_gearmand.address)
    assert (nobody.returncode, nobody.stdout, nobody.stderr) == (0, "", "no workers\n")
    run(GearmanCMD([own_gearmand.address], client_id="archive-7").register_task(queue, Queue()))
    wait_for(lambda: counts(own_gearmand, queue)[2], "the worker")
    done = gearmancmd("workers", "-s", own_gearmand.address)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows == [["server", "address", "name", "queues"], [own_gearmand.address, "127.0.0.1", "archive-7", queue]]
    everyone = json.loads(gearmancmd("workers", "--all", "--json", "-s", own_gearmand.address).stdout)
    assert [row["client_id"] for row in everyone if row["queues"] == [queue]] == ["archive-7"]
    assert [row for row in everyone if not row["queues"]]


def test_cancel_takes_a_job_out_of_its_queue(own_gearmand, queue):
    with Caller(own_gearmand) as client:
        first, second = (client.send(queue, {}, background=True).handle.decode() for _ in range(2))
    done = gearmancmd("cancel", first, second, "-s", own_gearmand.address)
    assert done.returncode == 0
    assert done.stdout == "".join(f"cancelled {handle} on {own_gearmand.address}\n" for handle in (first, second))
    rows = gearadmin(own_gearmand, "--show-jobs")
    assert {row[0]: row[2] for row in rows if row[0] in {first, second}} == {first: "1", second: "1"}


def test_cancel_of_a_job_that_is_not_there(gearmand):
    line = one_line(gearmancmd("cancel", "H:nowhere:1", "-s", gearmand.address), 1)
    assert line == f"no job H:nowhere:1 on {gearmand.address}"


# demo and serve.


STORY = """job server  SERVER on 127\\.0\\.0\\.1:\\d+
worker      queue "queue", with the command "reverse"
task        {"command": "reverse", "message": "namraeg"}
result      "gearman"
task        {"command": "reverse", "message": "\\.eert a pu deppac eW"}
result      "We capped up a tree\\."
task        {"command": "reverse", "message": "Hello"}
result      "olleH"
"""


def test_the_demo_says_hello_backwards_on_gearmand():
    done = gearmancmd("demo")
    assert re.fullmatch(STORY.replace("SERVER", "gearmand"), done.stdout), done
    assert (done.returncode, done.stderr) == (0, "")


def test_the_demo_falls_back_on_the_embedded_server(tmp_path):
    done = gearmancmd("demo", environ={"PATH": str(tmp_path)})
    assert re.fullmatch(STORY.replace("SERVER", "the embedded server"), done.stdout), done
    assert (done.returncode, done.stderr) == (0, "")


def test_the_demo_without_any_job_server_names_both(tmp_path):
    done = gearmancmd("demo", environ={"PATH": str(tmp_path), **without("gear", path=tmp_path)})
    line = one_line(done, 1)
    assert "no gearmand on PATH" in line
    assert "pip install 'gearmancmd[embedded]'" in line


def test_the_demo_tells_when_gearmand_does_not_start(tmp_path):
    program = tmp_path / "gearmand"
    program.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    program.chmod(0o755)
    assert "gearmand does not start" in one_line_at_the_end(gearmancmd("demo", environ={"PATH": f"{tmp_path}:/bin"}))


def one_line_at_the_end(done):
    assert done.returncode == 1, done
    return done.stderr.splitlines()[-1]


def test_serve_is_a_job_server_until_sigterm(queue, start, run):
    serving = start("serve", "--port", "0")
    address = serving.wait_for_line("127.0.0.1:")

    class Queue(GearmanCMDQueue):
        def reverse(self, gcmd, task):
            return task["message"][::-1]

    run(GearmanCMD([address]).register_task(queue, Queue()))
    done = gearmancmd("call", queue, "reverse", "message=Hello", "-s", address)
    assert (done.returncode, done.stdout) == (0, '"olleH"\n'), done
    serving.signal(signal.SIGTERM)
    assert serving.exit_status() == 0
    assert serving.stdout == [address]


def test_serve_ends_with_ctrl_c_without_a_traceback(start):
    serving = start("serve", "--port", str(free_port()))
    serving.wait_for_line("Ctrl+C stops it")
    serving.signal(signal.SIGINT)
    assert serving.exit_status() == 130
    assert "Traceback" not in "".join(serving.stderr)


def test_serve_on_a_port_that_is_taken_is_one_line(gearmand):
    line = one_line(gearmancmd("serve", "--port", str(gearmand.port)), 1)
    assert line == f"cannot listen on {gearmand.address}: the port is in use already; --port 0 takes a free one"


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("192.0.2.1", "Cannot assign requested address"),
        ("bad..host", "bad..host:0"),
    ],
)
def test_serve_where_it_cannot_listen_says_why(host, told):
    line = one_line(gearmancmd("serve", "--port", "0", "--host", host), 1)
    assert "cannot listen on" in line and told in line


def test_serve_without_gear_names_the_extra(tmp_path):
    done = gearmancmd("serve", environ=without("gear", path=tmp_path))
    assert "pip install 'gearmancmd[embedded]'" in one_line(done, 1)


# call.


def test_call_prints_the_result(worker, call):
    done = call("reverse", "message=Hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, '"olleH"\n', "")


@pytest.mark.parametrize(
    ("words", "task"),
    [
        (["echo", "text=Hello"], {"command": "echo", "text": "Hello"}),
        (["echo", "n=-1", "f=1.50", "none=null"], {"command": "echo", "n": -1, "f": 1.5, "none": None}),
        (["echo", "list=[1, {}]", 'quoted="1"'], {"command": "echo", "list": [1, {}], "quoted": "1"}),
        (["echo", "equation=a=b", "empty="], {"command": "echo", "equation": "a=b", "empty": ""}),
        (["echo", "nan=NaN"], {"command": "echo", "nan": "NaN"}),
        (["echo", "ü=\u20ac"], {"command": "echo", "ü": "\u20ac"}),
        (["command=echo", "n=1"], {"command": "echo", "n": 1}),
        (["--json", '{"command": "echo", "n": {"m": 1}}'], {"command": "echo", "n": {"m": 1}}),
        (["--command", "verb", "quick", "command=echo"], {"command": "echo", "verb": "quick"}),
    ],
)
def test_call_makes_the_task_of_the_words(worker, call, words, task):
    done = call(*words)
    assert done.returncode == 0, done
    assert json.loads(done.stdout) == task


@pytest.mark.parametrize("options", [[], ["--json", "-"]])
def test_call_reads_the_task_from_stdin(worker, call, options):
    done = call(*options, input='{"command": "reverse",\n "message": "Hello"}\n')
    assert (done.returncode, done.stdout) == (0, '"olleH"\n'), done


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["reverse", "Hello"], "Hello is not of the form KEY=VALUE"),
        (["reverse", "=Hello"], "=Hello is not of the form KEY=VALUE"),
        (["reverse", "--json", "{}"], "--json is the whole task"),
        (["--json", "{"], "the task from --json is not JSON"),
        ([], "the task from stdin is not JSON"),
        (["--json", DEEP], "the task from --json cannot be sent: it is nested too deeply"),
        (["reverse", f"message={DEEP}"], "message cannot be sent: it is nested too deeply"),
        (["--raw", "--background", "reverse"], "--raw is for a result, and --background waits for none"),
        (["reverse", "--unique", "x" * 64], "unique"),
    ],
)
def test_call_with_a_wrong_task_is_one_line_and_exit_status_2(call, words, text):
    assert text in one_line(call(*words), 2)


def test_call_another_programs_worker(gearmand, queue, call):
    command = ["gearman", "-h", gearmand.host, "-p", str(gearmand.port), "-w", "-f", queue, "--", "cat"]
    program = subprocess.Popen(command)
    try:
        assert json.loads(call("any", "n=1").stdout) == {"command": "any", "n": 1}
    finally:
        program.kill()
        program.wait()


def test_call_prints_what_comes_ahead_of_the_result(worker, call):
    done = call("parts")
    assert (done.returncode, done.stdout) == (0, '{"part": 1}\n{"part": 2}\n"whole"\n'), done
    assert done.stderr == 'warning: "nearly"\n'


def test_call_raw_prints_what_the_worker_sends_byte_by_byte(raw_worker, call):
    done = call("any", "--raw", text=False)
    assert (done.returncode, done.stdout) == (0, b"part\xff,\0not {JSON\x1b\n\n"), done
    assert done.stderr == b"warning: nearly\\xff\n"


def test_call_without_raw_names_the_result_that_is_not_json(raw_worker, call):
    done = call("any", text=False)
    assert done.returncode == 1
    assert b"its result cannot be decoded" in done.stderr


def test_call_raw_of_json_and_of_a_failure(worker, call):
    done = call("echo", "n=1", "--raw")
    assert (done.returncode, done.stdout) == (0, '{"command":"echo","n":1}'), done
    assert re.fullmatch(r'job \S+ failed: "out of paper"', one_line(call("fail", "--raw"), 1))


def test_call_of_a_result_that_is_nested_too_deeply(raw_worker, call):
    done = call("deep")
    assert "nest" in one_line(done, 1) or "recursion" in done.stderr
    done = call("deep", "--raw")
    assert (done.returncode, done.stdout.strip("[]")) == (0, ""), done


def test_call_of_a_job_that_fails_is_one_line_with_the_reason_and_exit_status_1(worker, call):
    done = call("fail")
    assert "out of paper" in one_line(done, 1)
    assert done.stdout == ""


def test_call_without_a_worker_is_over_in_time_with_exit_status_3(call):
    one_line(call("reverse", "--timeout", "0.2"), 3)


def test_call_can_be_interrupted(gearmand, queue, start):
    calling = start("call", queue, "reverse", "-s", gearmand.address)
    wait_for(lambda: counts(gearmand, queue)[0], "the job")
    calling.signal(signal.SIGINT)
    assert calling.exit_status() == 130
    assert calling.stderr == []


def test_call_names_the_job(worker, call):
    assert call("name", "--unique", "order-7").stdout == '"order-7"\n'


def test_call_in_the_background_prints_the_handle(gearmand, queue, call):
    done = call("reverse", "message=Hello", "--background")
    assert done.returncode == 0, done
    assert re.fullmatch(r"H:\S+:\d+\n", done.stdout)
    assert counts(gearmand, queue) == (1, 0, 0)


def test_call_with_a_priority(gearmand, queue, call):
    for priority, times in (("high", 1), ("normal", 2), ("low", 3)):
        for _ in range(times):
            assert call("reverse", "--background", "--priority", priority).returncode == 0
    rows = gearadmin(gearmand, "--priority-status")
    assert [row[1:4] for row in rows if row[0] == queue] == [["1", "2", "3"]]


# submit.


@pytest.fixture
def submit(gearmand, queue):
    def submit(*arguments, **options):
        return gearmancmd("submit", queue, *arguments, "-s", gearmand.address, **options)

    return submit


def lines(number):
    return "".join(json.dumps({"command": "reverse", "message": str(n)}) + "\n" for n in range(number))


def test_submit_sends_each_line_as_a_background_job(gearmand, queue, submit, run):
    done = submit(input=lines(1000))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert re.fullmatch(r"1,000 tasks submitted, [\d,]+/s\n", done.stdout)
    assert counts(gearmand, queue)[0] == 1000
    messages = []

    class Queue(GearmanCMDQueue):
        def reverse(self, gcmd, task):
            messages.append(task["message"])

    run(GearmanCMD([gearmand.address]).register_task(queue, Queue()))
    wait_for(lambda: counts(gearmand, queue)[0] == 0, "the queue to be empty")
    assert messages == [str(n) for n in range(1000)]


def test_submit_reads_a_file_and_skips_empty_lines(gearmand, queue, submit, tmp_path):
    file = tmp_path / "tasks.jsonl"
    file.write_text("1\n\n  \n[2]\r\n3", "utf-8")
    done = submit(str(file))
    assert done.stdout.startswith("3 tasks submitted"), done
    assert counts(gearmand, queue)[0] == 3


def test_submit_of_nothing(submit):
    assert submit().stdout.startswith("0 tasks submitted")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        *((line, "is not JSON: ") for line in (b"{", b"NaN", b"\xff\xfe", b"1 2", b'"\x00"', b"9" * 10_000)),
        (b"[" * 100_000 + b"]" * 100_000, "cannot be sent: it is nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "cannot be sent: it is nested too deeply"),
    ],
)
def test_submit_ends_at_a_bad_line_and_names_it(gearmand, queue, submit, line, wrong):
    done = submit(input=b"1\n\n2\n" + line + b"\n3\n")
    message = one_line(done, 2)
    assert message.startswith(f"line 4 {wrong}")
    assert message.endswith("; 2 tasks before it submitted")
    assert counts(gearmand, queue)[0] == 2


def test_submit_with_a_priority(gearmand, queue, submit):
    assert submit("--priority", "low", input="1\n").returncode == 0
    rows = gearadmin(gearmand, "--priority-status")
    assert [row[1:4] for row in rows if row[0] == queue] == [["0", "0", "1"]]


# Where what can be read is too deep to be written.


def refused(gearmand, queue, command, depth, path):
    """What a command says of a task of that depth, in this process, for there are many to try; None when it is sent."""
    path.write_text("[" * depth + "]" * depth + "\n", "utf-8")
    arguments = {"call": ["--background", "--json", path.read_text("utf-8")], "submit": [str(path)]}[command]
    try:
        program.main([command, queue, "-s", gearmand.address, *arguments], standalone_mode=False)
    except click.ClickException as error:
        assert error.exit_code == 2
        return error.message
    return None


@pytest.mark.parametrize("command", ["call", "submit"])
def test_a_task_of_any_depth_is_sent_or_is_bad_input(gearmand, queue, command, tmp_path, capsys):
    sent, too_deep = 1, 100_000
    while too_deep - sent > 1:
        depth = (sent + too_deep) // 2
        if refused(gearmand, queue, command, depth, tmp_path / "task") is None:
            sent = depth
        else:
            too_deep = depth
    assert sent > 100
    for depth in [*range(too_deep, too_deep + 12), 100_000]:
        message = refused(gearmand, queue, command, depth, tmp_path / "task")
        assert "nested too deeply" in message
        assert command == "call" or re.match("line 1 .*; 0 tasks", message)


@pytest.fixture
def endless_submit(queue):
    """Starts `gearmancmd submit` on a pipe whose lines never end."""
    with ExitStack() as stack:

        def start(server):
            process = subprocess.Popen(
                [*PROGRAM, "submit", queue, "-s", server.address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=UNMEASURED,
            )
            feeding = threading.Thread(target=feed, args=(process.stdin,))
            feeding.start()
            stack.callback(process.stdout.close)
            stack.callback(process.stderr.close)
            stack.callback(feeding.join)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def feed(stream):
    try:
        while True:
            stream.write(b"1\n" * 1000)
    except OSError:
        pass  # the command is over
    try:
        stream.close()
    except OSError:
        pass


def test_submit_takes_lines_as_their_jobs_are_accepted(own_gearmand, queue, endless_submit):
    process = endless_submit(own_gearmand)
    wait_for(lambda: counts(own_gearmand, queue)[0] > 5000, "the first jobs")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert re.fullmatch(rb"[\d,]+ tasks accepted before Ctrl\+C\n", process.stderr.read())


def test_submit_tells_how_far_it_came_at_sigterm(own_gearmand, queue, endless_submit):
    process = endless_submit(own_gearmand)
    wait_for(lambda: counts(own_gearmand, queue)[0] > 5000, "the first jobs")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    told = re.fullmatch(rb"([\d,]+) tasks accepted before SIGTERM\n", process.stderr.read())
    assert 0 < int(told[1].replace(b",", b"")) <= counts(own_gearmand, queue)[0]


@pytest.mark.parametrize(
    ("number", "name", "status"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "Ctrl+C", 130)]
)
def test_submit_tells_how_far_it_came_when_it_waits_for_input(gearmand, queue, start, number, name, status):
    reading, writing = os.pipe()
    with open(reading) as stdin, open(writing, "w") as feeding:
        submitting = start("submit", queue, "-s", gearmand.address, stdin=stdin, measured=False)
        feeding.write("1\n" * 5000)
        feeding.flush()
        wait_for(lambda: counts(gearmand, queue)[0], "the first jobs")
        submitting.signal(number)
        assert submitting.exit_status() == status
    (line,) = submitting.stderr
    assert re.fullmatch(rf"[\d,]+ tasks accepted before {re.escape(name)}", line)


def test_submit_tells_how_far_it_came_when_a_server_refuses(own_gearmand, queue):
    """gearmand takes no more than `maxqueue`."""
    with Caller(own_gearmand) as client:
        client.send(queue, {}, background=True)
    Admin([own_gearmand.address]).maxqueue(queue, 3)
    done = gearmancmd("submit", queue, "-s", own_gearmand.address, input=lines(10))
    assert one_line(done, 1).endswith("; 2 tasks accepted before")


def test_submit_tells_how_far_it_came_when_its_input_breaks_off(gearmand, queue, tmp_path):
    done = gearmancmd("submit", queue, str(tmp_path), "-s", gearmand.address)
    assert "directory" in one_line(done, 1 if done.returncode == 1 else 2)


def test_submit_tells_how_far_it_came_when_the_server_is_lost(own_gearmand, queue, endless_submit):
    process = endless_submit(own_gearmand)
    wait_for(lambda: counts(own_gearmand, queue)[0] > 100, "the first jobs")
    own_gearmand.stop()
    assert process.wait(30) == 4
    error = process.stderr.read().decode()
    assert re.fullmatch(r"gearmancmd: .*127.0.0.1.*; [\d,]+ tasks accepted before\n", error), error
