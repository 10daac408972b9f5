"""The workers that are compared: how each is started, and whether it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from benchmarks.gearmand import Server

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


def peers() -> dict[str, Command]:
    """Other workers that are installed here, by name."""
    known = {
        "gear": (sys.executable, "gear_worker.py", [sys.executable, "-c", "import gear"]),
        "gearman3, repaired": (sys.executable, "gearman3_worker.py", [sys.executable, "-c", "import gearman"]),
        "Perl Gearman::Worker": ("perl", "worker.pl", ["perl", "-MGearman::Worker", "-e", "1"]),
        "php-gearman": ("php", "worker.php", ["php", "-r", "exit(class_exists('GearmanWorker') ? 0 : 1);"]),
    }
    return {
        name: _peer(program, script)
        for name, (program, script, probe) in known.items()
        if shutil.which(program) and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    }


def _peer(program: str, script: str) -> Command:
    return lambda server: [program, str(HERE / "peers" / script), server.host, str(server.port)]
