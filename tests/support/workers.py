"""Workers under test, in a thread or in a process of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import gearmancmd
from tests.support.waiting import LIMIT, wait_for

ROOT = Path(__file__).parent.parent.parent

#: For programs that are to import this checkout, wherever they run.
ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}

#: For those that are interrupted anywhere: coverage has locks of its own in this process, and would hang on them.
UNMEASURED = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("COVERAGE")}


class Running:
    """A GearmanCMD whose run() is under way in a thread; `error` is what left run()."""

    def __init__(self, gcmd: gearmancmd.GearmanCMD, **options: Any) -> None:
        self.gcmd = gcmd
        self.error: BaseException | None = None
        self._options = options
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.gcmd.run(**self._options)
        except BaseException as error:
            self.error = error

    def wait(self) -> BaseException | None:
        """Wait for run() to return by itself; what left it."""
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "run() does not return"
        return self.error

    def end(self) -> None:
        """Stop, if it has not ended."""
        while self._thread.is_alive():
            self.gcmd.stop()
            self._thread.join(0.5)


class WorkerProcess:
    """A Python program under test. Each line that it prints can be waited for."""

    def __init__(self, source: str, *arguments: str, environment: dict[str, str] = ENVIRONMENT) -> None:
        self._start("-c", source, *arguments, environment=environment)

    def _start(self, *arguments: str, environment: dict[str, str] = ENVIRONMENT) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for_line(self, text: str) -> str:
        """The first line that holds `text`."""
        try:
            return wait_for(lambda: next((line for line in self.lines if text in line), None), f"{text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}, and the output is {self.lines}") from None

    def interrupt(self) -> None:
        """Press Ctrl+C."""
        self.process.send_signal(signal.SIGINT)

    def exit_status(self) -> int:
        """Wait for the process to end."""
        return self.process.wait(LIMIT)

    def end(self) -> None:
        """Kill it, if it has not ended."""
        self.process.kill()
        self.process.wait()
        self._reader.join()


class ExampleProcess(WorkerProcess):
    """A file of examples/ under test."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._start(str(ROOT / "examples" / name), *arguments)
