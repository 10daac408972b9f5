"""How long a client waits: for a foreground call, and for a result that other jobs follow."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

from benchmarks.figures import Figure, median
from benchmarks.gearmand import gearmand
from benchmarks.workers import Command, bare, compiled, ours, working

_SUBMIT_JOB, _WORK_COMPLETE = 7, 13


def calls(rounds: int, quick: bool) -> Iterator[Figure]:
    """Foreground calls of libgearman's client, through ours and through the bare loop."""
    count = 1_000 if quick else 5_000
    found: tuple[list[list[float]], list[list[float]]] = ([], [])
    for _ in range(rounds):
        for times, worker in zip(found, (ours(1), bare(1)), strict=True):
            times.append(_call(worker, count))
    for percentile, wanted in ((50, "at most 1.6"), (99, "")):
        mine, theirs = (median(_percentile(each, percentile) for each in times) for times in found)
        yield Figure(f"foreground call, p{percentile}", mine, "us", theirs, wanted)


def _call(worker: Command, count: int) -> list[float]:
    with gearmand() as server, working(worker(server), server):
        command = [compiled("client"), server.host, str(server.port), "latency", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [float(line) for line in done.stdout.split()]


def results(rounds: int, quick: bool) -> Iterator[Figure]:
    """At prefetch 64, with jobs of 50 ms each: from the end of a command until its client has the result."""
    jobs = 20 if quick else 64
    for command, wanted in (("sleep", ""), ("compute", "longest 10 ms at most")):
        waits = sorted(wait for _ in range(min(rounds, 3)) for wait in _waits(command, jobs))
        for percentile, which, bar in ((50, "p50", ""), (99, "p99", ""), (100, "longest", wanted)):
            name = f"result of a 50 ms job ({command}) on its way, {which}"
            yield Figure(name, _percentile(waits, percentile) * 1000, "ms", wanted=bar)


def _waits(command: str, jobs: int) -> list[float]:
    with gearmand() as server, closing(socket.create_connection(server)) as client, client.makefile("rb") as answers:
        for number in range(jobs):
            body = f"wait\0u{number}\0".encode() + json.dumps({"command": command}).encode()
            client.sendall(b"\0REQ" + struct.pack("!II", _SUBMIT_JOB, len(body)) + body)
        with working(ours(64)(server), server):
            return _read_waits(answers, jobs)


def _read_waits(answers: BinaryIO, jobs: int) -> list[float]:
    waits: list[float] = []
    while len(waits) < jobs:
        _, kind, size = struct.unpack("!4sII", answers.read(12))
        body = answers.read(size)
        if kind == _WORK_COMPLETE:
            waits.append(time.time() - float(json.loads(body.partition(b"\0")[2])))
    return waits


def _percentile(values: list[float], percentile: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percentile // 100)]
