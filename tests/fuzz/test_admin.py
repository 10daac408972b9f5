"""Whatever a server answers to an admin command, however it is cut, it is rows or an error that is documented."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmancmd._wire.address import parse_address
from gearmancmd._wire.text import ask
from gearmancmd.admin import Admin
from gearmancmd.errors import AdminError, ServerUnavailable
from tests.support.fuzzing import examples, inputs, tell
from tests.support.waiting import LIMIT


class TextServer:
    """Answers whatever it is asked with the same bytes, in pieces, and hangs up."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._pieces: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def answer(self, text: bytes, cuts: list[int]) -> None:
        """What it says from now on."""
        self._pieces, ways = [], cycle(cuts)
        while text:
            length = next(ways)
            self._pieces.append(text[:length])
            text = text[length:]

    def _serve(self) -> None:
        while True:
            with suppress(OSError), self._listener.accept()[0] as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not connection.recv(65536):
                    return
                for piece in self._pieces:
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # until the client hangs up: to close sooner would break the connection
                    pass

    def close(self) -> None:
        host, _, port = self.address.partition(":")
        socket.create_connection((host, int(port))).close()
        self._thread.join(LIMIT)
        self._listener.close()


@pytest.fixture(scope="module")
def text_server() -> Iterator[TextServer]:
    with closing(TextServer()) as server:
        yield server


COMMANDS: dict[str, Any] = {
    "status": Admin.status,
    "priority status": Admin.priority_status,
    "workers": Admin.workers,
    "jobs": Admin.jobs,
    "version": Admin.version,
    "cancel": lambda admin: admin.cancel("H:x:1"),
    "maxqueue": lambda admin: admin.maxqueue("queue", 1),
}

figures = st.one_of(st.integers(-1, 10**20).map(str), st.sampled_from(["", "\u00b2", "\u0663", "1_0", "9" * 5000, "x"]))
names = st.one_of(st.sampled_from(["queue", "two words", "ERR", ".", "-", ""]), st.text(max_size=6))
rows = st.builds(lambda name, more: "\t".join([name, *more]), names, st.lists(figures, max_size=5))
connections = st.builds("{} {} {} : {}".format, figures, names, names, names)
lines = st.one_of(
    rows, connections, st.sampled_from([".", "OK", "OK 1.1.20", "ERR UNKNOWN_COMMAND x", "ERR UNKNOWN_JOB"]), names
).map(lambda line: line.encode("utf-8", "surrogateescape"))
ends = st.sampled_from([b"\n", b"\r\n", b"\n.\n", b"\0\n", b"\r", b""])
texts = st.one_of(
    st.lists(st.tuples(lines, ends).map(b"".join), max_size=6).map(b"".join),
    st.lists(rows.map(lambda row: row.encode() + b"\n"), max_size=4).map(lambda lines: b"".join(lines) + b".\n"),
    st.binary(max_size=40),
)
cuts = st.lists(st.one_of(st.integers(1, 5), st.just(10_000)), min_size=1, max_size=4)


@inputs(100)
@given(command=st.sampled_from(sorted(COMMANDS)), text=texts, pieces=cuts)
@examples("admin.jsonl", lambda kept: {"command": kept[0], "text": kept[1].encode("latin-1"), "pieces": [3, 10_000]})
def test_any_answer_is_rows_or_a_documented_error(text_server, command, text, pieces):
    text_server.answer(text, pieces)
    try:
        COMMANDS[command](Admin([text_server.address], timeout=LIMIT))
    except (AdminError, ServerUnavailable) as error:
        assert str(error) and text_server.address in str(error)
        tell("admin", type(error).__name__)
    else:
        tell("admin", "rows")


@inputs(100)
@given(text=texts, pieces=cuts)
def test_any_cut_of_an_answer_gives_the_same_lines(text_server, text, pieces):
    heard = []
    for cut in (pieces, [len(text) + 1]):
        text_server.answer(text, cut)
        address = parse_address(text_server.address)
        [answer] = ask([address], b"status\n", time.monotonic() + LIMIT, lambda lines: lines[-1] == ".")
        heard.append((answer.lines, str(answer.error)))
    assert heard[0] == heard[1]
    expected = [line.rstrip(b"\r").decode("utf-8", "surrogateescape") for line in text.split(b"\n")[:-1]]
    whole = "." in expected
    assert heard[0][0] == (expected[: expected.index(".") + 1] if whole else expected)
    tell("admin: cuts", "whole" if whole else "cut off")
