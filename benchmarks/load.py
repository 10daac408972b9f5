"""Filling a queue before a worker starts, and measuring how fast it is drained."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
import uuid
from contextlib import closing

from benchmarks.gearmand import Admin, Server

#: The job of 40 bytes.
REVERSE = b'{"command": "reverse", "message": "abc"}'

#: Seconds between two looks at a queue that is being drained.
INTERVAL = 0.01

#: Seconds after which a queue that does not get shorter is given up.
PATIENCE = 120

_SUBMIT_JOB_BG = 18


def echo_task(size: int) -> bytes:
    """A task whose message has `size` characters."""
    return json.dumps({"command": "echo", "message": "x" * size}).encode()


def fill(server: Server, function: str, payload: bytes, count: int) -> None:
    """Queue `count` background jobs, pipelined, each with a unique of its own: an empty one would not coalesce, but it
    is what a client should never send.
    """
    prefix = uuid.uuid4().hex[:16]
    with closing(socket.create_connection(server)) as connection, connection.makefile("rb") as answers:
        batch = max(1, min(500, 1_000_000 // len(payload)))
        for start in range(0, count, batch):
            numbers = range(start, min(count, start + batch))
            connection.sendall(b"".join(_submit(function, f"{prefix}-{number}", payload) for number in numbers))
            for _ in numbers:
                _, _, size = struct.unpack("!4sII", answers.read(12))
                answers.read(size)


def _submit(function: str, unique: str, payload: bytes) -> bytes:
    body = b"\0".join((function.encode(), unique.encode(), payload))
    return b"\0REQ" + struct.pack("!II", _SUBMIT_JOB_BG, len(body)) + body


def drain(server: Server, function: str, payload: bytes, count: int, worker: list[str], processes: int = 1) -> float:
    """Jobs per second of a worker on a queue of `count` jobs, from the time at which all its processes are connected.

    The queue is full before the worker's process starts. The rate is that between the first look that finds it shorter
    and the last that finds it not yet empty: neither the start of the worker nor the time between two looks counts.
    """
    fill(server, function, payload, count)
    process = subprocess.Popen(worker, stdout=subprocess.DEVNULL)
    try:
        with closing(Admin(server)) as admin:
            return _rate(admin, function, count, process, processes)
    finally:
        process.kill()
        process.wait()


def _rate(admin: Admin, function: str, count: int, worker: subprocess.Popen[bytes], processes: int) -> float:
    looks: list[tuple[float, int]] = []
    deadline = time.monotonic() + PATIENCE
    while True:
        jobs = admin.jobs(function)
        if jobs == 0:
            break
        if jobs < count and (processes == 1 or looks or admin.workers() == processes):
            looks.append((time.perf_counter(), jobs))
        if worker.poll() is not None:
            raise ChildProcessError(f"the worker ended with status {worker.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{jobs} of {count} jobs are left after {PATIENCE} s")
        time.sleep(INTERVAL)
    if len(looks) < 2:
        raise ValueError(f"{count} jobs are too few for a rate: they were done between two looks")
    (begin, before), (end, after) = looks[0], looks[-1]
    return (before - after) / (end - begin)
