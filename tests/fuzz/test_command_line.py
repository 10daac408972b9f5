"""Whatever values a command line has, it ends with a documented exit status and at most one line of complaint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from gearmancmd import GearmanCMD, GearmanCMDQueue
from gearmancmd.cli import program
from tests.support.fuzzing import examples, inputs, tell
from tests.support.gearmand import Gearmand
from tests.support.workers import Running

SELF = "tests.fuzz.test_command_line"


class Queue(GearmanCMDQueue):
    def echo(self, gcmd: Any, task: Any) -> Any:
        return task

    def fail(self, gcmd: Any, task: Any) -> Any:
        return task["message"]


class Main:
    """The program as its script runs it, for click's CliRunner, which calls main() with the arguments."""

    name = "gearmancmd"

    def main(self, args: list[str], prog_name: str, **extra: Any) -> None:
        # the handler of SIGTERM is for a process of the program's own
        with mock.patch.object(sys, "argv", [prog_name, *args]), mock.patch.object(program, "on_sigterm"):
            program.main()


@pytest.fixture(scope="module")
def server(gearmand: Gearmand) -> Iterator[Gearmand]:
    """A gearmand with queues of any name, and a worker on one of them."""
    with Gearmand() as own:
        worker = Running(GearmanCMD([own.address], exception_handler=str).register_task("queue", Queue()))
        yield own
        worker.end()


def invoke(arguments: list[str], typed: bytes) -> Result:
    return CliRunner().invoke(Main(), arguments, input=typed)  # type: ignore[arg-type]


# What stands in a command line: no NUL, which no process can be given, and halves of surrogate pairs for other bytes.
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
odd = st.sampled_from(
    ["", " ", "-", "--", "-1", "0", "1e400", "nan", "1_0", "\u00b2", "\udcff", "a\nb", "\x1b[31m", "=", "a=b"]
)
values = st.one_of(odd, st.text(letters, max_size=6), st.integers(-2, 2**70).map(str), st.floats().map(str))
words = st.one_of(values, st.builds("{}={}".format, values, values))
servers = st.one_of(values, st.builds("{}:{}".format, values, values), st.just("localhost:4730"))
paths = st.one_of(
    st.sampled_from([f"{SELF}:Queue", f"queue={SELF}:Queue"]),
    values,
    st.builds("{}:{}".format, st.sampled_from([SELF, "json", "tests", ".", "", "no.such", "json\udcff"]), values),
    st.builds("{}={}:{}".format, values, st.just(SELF), st.sampled_from(["Queue", "Main", "SELF", "letters.filter"])),
)
files = st.one_of(values, st.sampled_from([__file__, "/", "/dev/null", "/no/such/file"]))


def option(name: str, value: st.SearchStrategy[str] = values, good: str = "") -> st.SearchStrategy[list[str]]:
    value = st.one_of(st.just(good), value) if good else value
    return st.one_of(st.tuples(st.just(name), value).map(list), value.map(lambda text: [f"{name}={text}"]))


def line(*start: str, arguments: Any = None, options: list[Any]) -> Any:
    """A command line that begins so, with some arguments, if it takes any, and some options behind them."""
    some = st.lists(arguments, max_size=3) if arguments is not None else st.just([])
    many = st.lists(st.one_of(*options), max_size=3).map(lambda each: [word for words in each for word in words])
    return st.builds(lambda some, more: [*start, *some, *more], some, many)


tls = [option("--ca", files), option("--cert", files), option("--key", files)]
run_options = [
    *tls,
    option("-s", servers),
    option("--prefetch", good="5"),
    option("--command", good="verb"),
    option("--client-id", good="name"),
    option("--failures", good="plain"),
    option("--max-payload", good="1000"),
    option("--log-level", good="info"),
    option("--log-format", good="json"),
]
call_options = [
    option("--json", good='{"command": "echo"}'),
    option("--command", good="verb"),
    option("--priority", good="high"),
    option("--unique", good="one"),
    st.just(["--raw"]),
    st.just(["--background"]),
]
submit_options = [option("--priority", good="high"), option("--timeout", good="20")]
status_options = [*tls, option("--interval", good="2"), st.just(["--json"])]
lines = st.one_of(
    line("run", "--check", arguments=paths, options=[*run_options, option("-q", good="queue")]),
    line("run", "--check", f"queue={SELF}:Queue", options=run_options),
    line("call", "queue", "--timeout", "20", "-s", "SERVER", arguments=words, options=call_options),
    line("call", "--background", "-s", "SERVER", arguments=words, options=[option("--timeout", good="20")]),
    line("submit", "-s", "SERVER", "other", arguments=files, options=submit_options),
    line("cancel", "-s", "SERVER", arguments=values, options=[option("--ca", files)]),
    line("status", "-s", "SERVER", options=status_options),
    line("workers", "-s", "SERVER", arguments=values, options=[st.just(["--all"]), st.just(["--json"])]),
    line("serve", "--port", "x", arguments=values, options=[option("--host", good="::1")]),
    st.lists(values, max_size=3),
)
typed = st.one_of(
    st.just(b""), st.binary(max_size=20), st.sampled_from([b'{"command":"echo"}\n', b"[" * 50_000, b"nul\0"])
)


@inputs(150)
@given(arguments=lines, typed=typed)
@examples("command_lines.jsonl", lambda kept: {"arguments": kept, "typed": b'{"command":"echo"}\n'})
def test_a_command_line_of_any_values_ends_as_documented(server, arguments, typed):
    done = invoke([server.address if word == "SERVER" else word for word in arguments], typed)
    assert done.exit_code in {0, 1, 2, 3, 4}, done
    assert "Traceback" not in done.output
    if done.exit_code:
        [complaint] = done.stderr.splitlines()
        assert complaint.startswith("gearmancmd: ") and complaint.isprintable(), complaint
    known = arguments and arguments[0] in program.program.commands
    tell(f"command line: {arguments[0] if known else '-'}", f"exit status {done.exit_code}")
