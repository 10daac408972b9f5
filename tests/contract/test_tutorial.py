"""The tutorial is gone through as a reader does: files are saved, lines typed and Ctrl+C pressed. What is printed is
what the page has, but for handles and seconds.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearmancmd.admin import Admin
from tests.support.commandline import Command
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ENVIRONMENT, ROOT, ExampleProcess

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
#: What a reader does one after the other, from the job server on; to install is README's first command too.
STEPS = list(
    re.finditer(
        r"^```(?P<language>\w+)\n(?P<block>.*?)^```$|`(?P<file>\w+\.py)`|(?P<key>[Pp]ress Ctrl\+C(?P<twice> twice)?)",
        PAGE[PAGE.index("## A job server\n") :],
        re.MULTILINE | re.DOTALL,
    )
)
VARYING = re.compile(r"H:\S+:\d+|\d+\.\d s|[\d,]+/s")
#: In place of a virtual environment's commands.
COMMANDS = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}\ngearmancmd() {{ python -m gearmancmd "$@"; }}\n'


class Reader:
    """Does what the page says, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: The workers that were stopped, or ended by themselves, from the first on.
        self.ended: list[Command | ExampleProcess] = []
        self._address = ""
        self._file = ""
        self._line = ""
        self._printed = ""
        self._server: Command | None = None
        self._workers: list[Command | ExampleProcess] = []

    def take(self, step: re.Match[str]) -> None:
        if step["file"]:
            self._file = step["file"]
        elif step["key"]:
            self._press_ctrl_c(twice=bool(step["twice"]))
        elif step["language"] == "python":
            (self.folder / self._file).write_text(step["block"].replace("localhost:4730", self._address), "utf-8")
        elif step["language"] == "sh":
            self._type(step["block"])
        else:
            self._compare(step["block"])

    def _type(self, line: str) -> None:
        self._line = line
        words = shlex.split(line)
        if words[:2] == ["gearmancmd", "serve"]:
            self._server = Command(*words[1:], "--port", "0")
            self._address = self._server.wait_for_line("127.0.0.1:")
        elif words[:2] == ["gearmancmd", "run"]:
            self._workers.append(Command(*words[1:], cwd=self.folder, environ={"GEARMAN_SERVERS": self._address}))
            self._workers[-1].wait_for_line(" answers")
        elif words == ["python", "words.py"]:
            self._workers.append(ExampleProcess(str(self.folder / words[1])))
            wait_for(lambda: [queue.workers for queue in Admin([self._address]).status()] == [1], "the worker")
        else:
            self._printed = self._run(line)

    def _run(self, line: str) -> str:
        """What is printed, on either stream, until the prompt comes back."""
        done = subprocess.run(
            ["sh", "-c", COMMANDS + line],
            cwd=self.folder,
            env={**ENVIRONMENT, "GEARMAN_SERVERS": self._address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
        return done.stdout

    def _compare(self, expected: str) -> None:
        if self._line == "gearmancmd status\n" and self._printed != expected:  # it follows what happens
            wait_for(lambda: self._run(self._line) == expected, expected)
        else:
            assert VARYING.sub("*", self._printed) == VARYING.sub("*", expected)

    def _press_ctrl_c(self, twice: bool) -> None:
        for worker in self._workers:
            worker.process.send_signal(signal.SIGINT)
            if twice:
                worker.wait_for_line("SIGINT stops")
                worker.process.send_signal(signal.SIGINT)
            worker.exit_status()
        self.ended += self._workers
        self._workers = []

    def end(self) -> None:
        for process in [*self._workers, *self.ended, *filter(None, [self._server])]:
            process.end()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.end()


@pytest.mark.timeout(300)  # it starts some thirty programs, one after the other
def test_the_tutorial(reader):
    for step in STEPS:
        reader.take(step)
    first = reader.ended[0]
    assert first.exit_status() == 1, "the exception of a command ends the first worker"
    assert "KeyError: 'text'" in first.lines


def test_the_tutorial_comes_first():
    pages = re.findall(r"^[a-z/-]+$", (ROOT / "docs" / "index.md").read_text("utf-8"), re.MULTILINE)
    assert pages[0] == "tutorial"
