"""The least that a foreground call takes in Python: a blocking socket. Arguments: the server, "call", and how many."""

import json
import socket
import struct
import sys
import time
from typing import BinaryIO

TASK = {"command": "reverse", "message": "abcdef"}
SUBMIT_JOB, WORK_COMPLETE = 7, 13


def main() -> None:
    """Call, and print the median in microseconds."""
    host, port = sys.argv[1].rsplit(":", 1)
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rb") as answers:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = sorted(_call(connection, answers, number) for number in range(int(sys.argv[3])))
    print(times[len(times) // 2] * 1e6)


def _call(connection: socket.socket, answers: BinaryIO, number: int) -> float:
    start = time.perf_counter()
    body = b"reverse\0u%d\0" % number + json.dumps(TASK).encode()
    connection.sendall(b"\0REQ" + struct.pack("!II", SUBMIT_JOB, len(body)) + body)
    while True:
        _, kind, size = struct.unpack("!4sII", answers.read(12))
        result = answers.read(size)
        if kind == WORK_COMPLETE:
            json.loads(result.partition(b"\0")[2])
            return time.perf_counter() - start


if __name__ == "__main__":
    main()
