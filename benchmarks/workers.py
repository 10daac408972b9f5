"""The workers that are compared: how each is started, and whether it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from benchmarks.gearmand import Admin, Server

HERE = Path(__file__).parent

#: What starts a worker on a server.
Command = Callable[[Server], list[str]]


@cache
def compiled(name: str) -> str:
    """The path of c/NAME.c, compiled against libgearman. CalledProcessError without gcc or libgearman-dev."""
    binary = Path(tempfile.mkdtemp(prefix="gearmancmd-benchmarks-")) / name
    source = HERE / "c" / f"{name}.c"
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", str(binary), str(source), "-lgearman"], check=True)
    return str(binary)


def c_worker(server: Server) -> list[str]:
    """Libgearman's."""
    return [compiled("worker"), server.host, str(server.port)]


def ours(prefetch: int = 1, queues: int = 0) -> Command:
    """Gearmancmd's."""
    script = str(HERE / "peers" / "gearmancmd_worker.py")
    return lambda server: [sys.executable, script, server.address, str(prefetch), str(queues)]


def bare(prefetch: int = 1) -> Command:
    """The yardstick: one CPython thread, and no library of ours."""
    return _peer(sys.executable, "bare_worker.py", str(prefetch))


def peers() -> dict[str, Command]:
    """Libgearman's worker, and the others that are installed here, by name."""
    known = {
        "gear": (sys.executable, "gear_worker.py", [sys.executable, "-c", "import gear"]),
        "the module gearman's own": (sys.executable, "gearman_worker.py", [sys.executable, "-c", "import gearman"]),
        "Perl Gearman::Worker": ("perl", "worker.pl", ["perl", "-MGearman::Worker", "-e", "1"]),
        "php-gearman": ("php", "worker.php", ["php", "-r", "exit(class_exists('GearmanWorker') ? 0 : 1);"]),
    }
    installed = {
        name: _peer(program, script)
        for name, (program, script, probe) in known.items()
        if shutil.which(program) and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    }
    return {"libgearman's C worker": c_worker, **installed}


def _peer(program: str, script: str, *options: str) -> Command:
    return lambda server: [program, str(HERE / "peers" / script), server.host, str(server.port), *options]


@contextmanager
def working(command: list[str], server: Server) -> Iterator[None]:
    """A worker, from the time at which it has connected."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with closing(Admin(server)) as admin:
            while not admin.workers():
                time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait()
