"""The command line under test, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ENVIRONMENT, ROOT

PROGRAM = [sys.executable, "-m", "gearmancmd"]

#: GEARMAN_SERVERS of whoever runs the tests is not for them.
ENVIRON = {name: value for name, value in ENVIRONMENT.items() if name != "GEARMAN_SERVERS"} | {"PYTHONUTF8": "1"}

#: For commands that are interrupted anywhere: coverage has locks of its own in the process, and may hang on them.
UNMEASURED = {name: value for name, value in ENVIRON.items() if not name.startswith("COVERAGE")}

QUEUES = """
import argparse
import asyncio
import os
import sys

from gearmancmd import CommandError, GearmanCMDQueue

class Queue(GearmanCMDQueue):
    def reverse(self, gcmd, task):
        return task["message"][::-1]

    def fail(self, gcmd, task):
        raise CommandError("out of paper")

    def crash(self, gcmd, task):
        raise ValueError("a bug")

    def cancel(self, gcmd, task):
        raise asyncio.CancelledError("too late")

    def quote(self, gcmd, task):
        return {}["\\x1b[31m"]

    def steer(self, gcmd, task):
        raise ValueError(task["text"])

    def leave(self, gcmd, task):
        sys.exit(3)

    def parse(self, gcmd, task):
        argparse.ArgumentParser().parse_args(["--nonsense"])

    def descriptors(self, gcmd, task):
        return [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]

    def wait(self, gcmd, task):
        print("waiting", flush=True)
        with open(task["fifo"]) as fifo:
            return fifo.read()

class Nothing:
    def __init__(self):
        raise AssertionError("made")

class Grumpy(GearmanCMDQueue):
    def __init__(self):
        raise RuntimeError("not today")

class Leaving(GearmanCMDQueue):
    def __init__(self):
        sys.exit(1)

class Picky(GearmanCMDQueue):
    def __init__(self, color):
        pass

empty = GearmanCMDQueue()
queue = Queue()
nothing = object()
"""


def gearmancmd(
    *arguments: str,
    input: str | bytes = b"",
    environ: dict[str, str] | None = None,
    cwd: Path = ROOT,
    text: bool = True,
) -> subprocess.CompletedProcess[Any]:
    """Run a command to its end; what it printed is str, or with `text` false bytes."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        input=input.encode() if isinstance(input, str) else input,
        capture_output=True,
        timeout=LIMIT,
        cwd=cwd,
        env={**ENVIRON, **(environ or {})},
    )
    if not text:
        return done
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Command:
    """A command that goes on until it is stopped; what it prints can be waited for."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path = ROOT,
        stdin: Any = subprocess.DEVNULL,
        environ: dict[str, str] | None = None,
        measured: bool = True,
    ) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**(ENVIRON if measured else UNMEASURED), **(environ or {})},
        )
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.stdout)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.stderr)),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))

    def wait_for_line(self, text: str) -> str:
        """The first line, of stdout or stderr, that holds `text`."""

        def found() -> str | None:
            assert self.process.poll() is None or not self.ended(), (self.stdout, self.stderr)
            return next((line for line in [*self.stdout, *self.stderr] if text in line), None)

        return wait_for(found, f"{text!r} in the output {self.stdout} {self.stderr}")  # type: ignore[return-value]

    def ended(self) -> bool:
        """Whether all of the output has been read."""
        return not any(reader.is_alive() for reader in self._readers)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_status(self) -> int:
        """Wait for its end."""
        status = self.process.wait(LIMIT)
        for reader in self._readers:
            reader.join(LIMIT)
        return status

    def end(self) -> None:
        """Kill it, if it has not ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.exit_status()


def without(*modules: str, path: Path) -> dict[str, str]:
    """An environment in which these modules cannot be imported."""
    source = f"import sys; sys.modules.update(dict.fromkeys({modules!r}))"
    (path / "sitecustomize.py").write_text(source, "utf-8")
    return {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}"}


def one_line(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line on stderr that a command failed with."""
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("gearmancmd: "), done
    return line.removeprefix("gearmancmd: ")
