"""A program that dials again and again, and forks at each line of that, one after the other.

It is a process of its own: to fork one that has run many tests takes long.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
from contextlib import closing
from types import FrameType
from typing import Any

from gearmancmd._wire.address import Address
from gearmancmd._wire.opening import open_socket
from tests.support.forking import in_child
from tests.support.processes import sockets

#: Seconds for all of it.
LIMIT = 100


def inodes() -> set[int]:
    """The sockets of this process, whatever their descriptors."""
    return {os.fstat(fd).st_ino for fd in sockets()}


class Lines:
    """Forks at one of the lines that this thread executes, in whatever module."""

    def __init__(self, at: int) -> None:
        self._left = at
        #: The sockets that the child had.
        self.found: str | None = None

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line" and self.found is None:
            self._left -= 1
            if not self._left:
                self.found = ""
                self.found = in_child(inodes)
        return self


def main(host: str, port: str, ca_certs: str = "") -> None:
    """Print, as JSON, how many lines there were, at which of them the child had the connection, and if that was TLS."""
    address = Address(host, int(port), ca_certs=ca_certs or None)
    bad = []
    at = 0
    deadline = time.monotonic() + LIMIT
    tracer = sys.gettrace()  # that of coverage, perhaps
    while True:
        at += 1
        lines = Lines(at)
        sys.settrace(lines)
        try:
            opened = open_socket(address, deadline)
        finally:
            sys.settrace(tracer)
        with closing(opened):
            if lines.found is None:
                break
            if str(os.fstat(opened.fileno()).st_ino) in lines.found:
                bad.append(at)
    print(json.dumps([at, bad, isinstance(opened, ssl.SSLSocket)]))
