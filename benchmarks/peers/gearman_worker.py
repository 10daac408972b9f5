"""The worker of the module gearman itself: HOST PORT. With gearman3 its transport is repaired as far as is needed."""

from __future__ import annotations

import json
import sys
from typing import Any

import gearman
from gearman.connection import GearmanConnection


class Repaired(GearmanConnection):
    """gearman3 calls array.fromstring(), which is gone since Python 3.9; pygearman hands the bytes over as here."""

    def read_data_from_socket(self, bytes_to_read: int = 4096) -> int:
        """Read what has arrived."""
        data = self.gearman_socket.recv(bytes_to_read)
        if not data:
            self.throw_exception(message="remote disconnected")
        self._incoming_buffer.frombytes(data)
        return len(self._incoming_buffer)


class Worker(gearman.GearmanWorker):
    """The module's own, on that connection."""

    connection_class = Repaired


def reverse(worker: Any, job: Any) -> bytes:
    """The job of 40 bytes."""
    return json.dumps(json.loads(job.data)["message"][::-1]).encode()


if __name__ == "__main__":
    benchmarked = Worker([f"{sys.argv[1]}:{sys.argv[2]}"])
    benchmarked.register_task(b"reverse", reverse)
    benchmarked.work()
