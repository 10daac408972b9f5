"""What clients that were not written here see when a job fails: the table of docs/errors.md, row by row."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearmancmd import CommandError, GearmanCMD, GearmanCMDQueue
from tests.support.gearmand import counts
from tests.support.waiting import LIMIT, wait_for
from tests.support.workers import ROOT

CLIENTS = Path(__file__).parent / "clients"
PACKAGES = ["gearmanode@0.9.2", "gearman@2.1.0"]

#: Seconds that a client may still run after its job has ended, before it is said to hang.
PATIENCE = 3.0

# How a job ends as a client sees it, in the words of docs/errors.md, and the reason that the client hears.
REASON = json.dumps("out of paper")
FAILED_WITH_REASON = ("failed", REASON)
FAILED = ("failed", None)
EXCEPTION_WITH_REASON = ("exception", REASON)
EXCEPTION = ("exception", None)
HANGS = ("hangs", None)
DIES = ("dies", None)
UNHEARD = ("success, no callback", None)
CLIENT_ERROR = ("client error", None)
WRONG_HANDLE = ("failed, wrong handle", None)

MODES = ("warning", "exception", "plain")
SEEN = {
    "C: gearman_client_do": (FAILED, HANGS, FAILED),
    "C: gearman_client_do, exceptions asked for": (FAILED, EXCEPTION, FAILED),
    "the gearman tool": (FAILED_WITH_REASON, HANGS, FAILED),
    "PHP: doNormal": (FAILED, EXCEPTION, FAILED),
    "PHP: runTasks, fail and warning callbacks": (FAILED_WITH_REASON, UNHEARD, FAILED),
    "PHP: runTasks, exception callback too": (FAILED_WITH_REASON, EXCEPTION_WITH_REASON, FAILED),
    "Perl: Gearman::Client": (FAILED_WITH_REASON, DIES, FAILED),
    "Perl: Gearman::Client, exceptions asked for": (FAILED_WITH_REASON, EXCEPTION_WITH_REASON, FAILED),
    "Python: gear": (FAILED_WITH_REASON, FAILED, FAILED),
    "Python: gear, exceptions asked for": (FAILED_WITH_REASON, EXCEPTION_WITH_REASON, FAILED),
    "npm: gearmanode": (FAILED_WITH_REASON, CLIENT_ERROR, FAILED),
    "npm: gearmanode, exceptions asked for": (FAILED_WITH_REASON, EXCEPTION_WITH_REASON, FAILED),
    "npm: gearman": (FAILED_WITH_REASON, WRONG_HANDLE, FAILED),
    "npm: gearman, exceptions asked for": (FAILED_WITH_REASON, EXCEPTION_WITH_REASON, FAILED),
}
ROWS = [
    pytest.param(client, mode, seen, id=f"{client}, {mode}")
    for client, row in SEEN.items()
    for mode, seen in zip(MODES, row)
]

#: Clients with libgearman 2.0.0 or newer no longer hang.
MENDED = {HANGS: FAILED}


class Printer(GearmanCMDQueue):
    def __init__(self) -> None:
        self.refused = threading.Event()

    def refuse(self, gcmd: GearmanCMD, task: Any) -> Any:
        self.refused.set()
        raise CommandError("out of paper")

    def report(self, gcmd: GearmanCMD, task: Any) -> Any:
        return "printed"


@functools.cache
def available(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def need(what: str, *command: str) -> None:
    if not available(*command):
        pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def c_program(tmp_path_factory) -> str:
    """clients/do.c, compiled."""
    need("gcc or libgearman-dev", "gcc", "-fsyntax-only", "-include", "libgearman/gearman.h", "-xc", os.devnull)
    program = str(tmp_path_factory.mktemp("c") / "do")
    subprocess.run(["gcc", "-Wall", "-Werror", "-o", program, str(CLIENTS / "do.c"), "-lgearman"], check=True)
    return program


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory) -> str:
    """Where npm has put the two packages."""
    need("node", "node", "--version")
    need("npm", "npm", "--version")
    folder = tmp_path_factory.mktemp("npm")
    install = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--fetch-retries=0", *PACKAGES]
    try:
        subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=60)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot install {' and '.join(PACKAGES)}: {error}")
    return str(folder / "node_modules")


@pytest.fixture
def start(request, monkeypatch) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a client by its name in the table, or skips the test; whatever of it still runs afterwards is killed."""
    started: list[subprocess.Popen[str]] = []

    def command(name: str) -> list[str]:
        if name.startswith("C: "):
            return [request.getfixturevalue("c_program")]
        if name == "the gearman tool":
            need("gearman-tools", "gearman", "-H")
            return [sys.executable, str(CLIENTS / "gearman_tool.py")]
        if name.startswith("PHP: "):
            need("php-gearman", "php", "-r", "new GearmanClient();")
            return ["php", str(CLIENTS / ("donormal.php" if "doNormal" in name else "runtasks.php"))]
        if name.startswith("Perl: "):
            need("Gearman::Client", "perl", "-MGearman::Client", "-e1")
            return ["perl", str(CLIENTS / "taskset.pl")]
        if name.startswith("npm: "):
            monkeypatch.setenv("NODE_PATH", request.getfixturevalue("node_modules"))
            return ["node", str(CLIENTS / ("gearmanode.js" if "gearmanode" in name else "gearman.js"))]
        need("gear", sys.executable, "-c", "import gear")
        return [sys.executable, str(CLIENTS / "gear_client.py")]

    def start(name: str, *arguments: str) -> subprocess.Popen[str]:
        options = ["exceptions"] if name.endswith(("asked for", "exception callback too")) else []
        program = [*command(name), *arguments, *options]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def says(process: subprocess.Popen[str], limit: float = LIMIT) -> dict[str, Any]:
    """The line that a client prints about its job."""
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return {"ended": "hangs", "reason": None}
    assert process.returncode == 0 and output, errors
    return json.loads(output.splitlines()[-1])


@pytest.mark.parametrize("client, mode, seen", ROWS)
def test_what_a_client_sees(gearmand, queue, run, start, client, mode, seen):
    printer = Printer()
    run(GearmanCMD([gearmand.address], failures=mode).register_task(queue, printer))

    failing = start(client, gearmand.host, str(gearmand.port), queue, '{"command": "refuse"}')
    wait_for(lambda: printer.refused.is_set() or failing.poll() is not None, "the command to be called")
    wait_for(lambda: counts(gearmand, queue)[0] == 0, "the job to end")
    said = says(failing, PATIENCE if seen == HANGS else LIMIT)
    assert (said["ended"], said["reason"]) in (seen, MENDED.get(seen)), said

    succeeding = start(client, gearmand.host, str(gearmand.port), queue, '{"command": "report"}')
    assert says(succeeding) == {"ended": "complete", "result": '"printed"'}


def test_the_page_says_the_same():
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    begin = cells.index(["client", *(f'`"{mode}"`' for mode in MODES)])
    rows = [row for row in cells[begin + 2 :] if len(row) == 1 + len(MODES)]
    told = {
        client: tuple(ended + (", with the reason" if reason else "") for ended, reason in row)
        for client, row in SEEN.items()
    }
    assert {client.replace("`", ""): tuple(row) for client, *row in rows} == told
