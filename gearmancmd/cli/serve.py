"""``gearmancmd serve``: the embedded development server."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import time
from contextlib import ExitStack, closing

import click

from .._wire.threads import LONGEST_WAIT_SECONDS
from .failure import Failure
from .options import command
from .output import note, say


@command("gearmancmd serve --port 4730")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=4730, show_default=True, help="The port; 0 takes a free one."
)
def serve(host: str, port: int) -> None:
    """Run a job server for development.

    It keeps its queues in memory; production uses gearmand. Its address is printed once it listens. SIGTERM ends it
    with exit status 0, Ctrl+C with 130.
    """
    from ..server import EmbeddedServer  # noqa: PLC0415 - it needs an extra of its own

    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    with ExitStack() as stack:
        try:
            server = stack.enter_context(EmbeddedServer(port, host))
        except OSError as error:
            raise Failure(_reason(host, port, error)) from error
        say(server.address)
        note("a job server for development; Ctrl+C stops it")
        while True:
            time.sleep(LONGEST_WAIT_SECONDS)


def _reason(host: str, port: int, error: OSError) -> str:
    """Why it cannot listen: gear does not say, so the operating system is asked once more."""
    try:
        with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as found:
        if found.errno == errno.EADDRINUSE:
            return f"cannot listen on {host}:{port}: the port is in use already; --port 0 takes a free one"
        return f"cannot listen on {host}:{port}: {found.strerror or found}"
    except ValueError:
        pass  # a host that is not a name: gear has said so
    return str(error)
