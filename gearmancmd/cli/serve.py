"""``gearmancmd serve``: the embedded development server."""

from __future__ import annotations

import signal
import sys
import time

import click

from ..poll import LONGEST_WAIT
from .options import command


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
    with EmbeddedServer(port, host) as server:
        click.echo(server.address)
        click.echo("a job server for development; Ctrl+C stops it", err=True)
        while True:
            time.sleep(LONGEST_WAIT)
