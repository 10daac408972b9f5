"""What a command writes to stdout and stderr, where these may be closed, or lead to a full disk."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import click

from .failure import Failure
from .terminal import shown

#: The three streams, with the mode in which each is opened where it was closed.
_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_closed_streams() -> None:
    """Open /dev/null in place of each stream that whoever started us has closed.

    Its descriptor would else be given to the next socket, and what a child prints would go to a job server.
    """
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - for the life of the process
            setattr(sys, name, stream)
            os.set_inheritable(stream.fileno(), stream.fileno() <= 2)


def say(text: str) -> None:
    """A line of the command's output. Failure when it cannot be written."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise  # nobody wants it: click ends quietly
    except OSError as error:
        raise lost(error) from error


def say_bytes(data: bytes) -> None:
    """Output as it is; on a terminal, what comes next begins on a line of its own."""
    line_end = b"\n" if sys.stdout.isatty() and not data.endswith(b"\n") else b""
    try:
        click.echo(data + line_end, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise lost(error) from error


def note(text: str) -> None:
    """A line on stderr beside the output. Where it cannot be written the command goes on."""
    try:
        click.echo(shown(text, sys.stderr), err=True)
    except OSError:
        pass  # it stands in the buffer, until there is room again


def complain(text: str) -> None:
    """A line on stderr that says what is wrong."""
    note(f"gearmancmd: {text}")


def flush() -> int:
    """Write what is left in the buffers; the exit status. Python itself would say in its own words that it cannot."""
    status = 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        complain(lost(error).message)
        status = Failure.exit_code
    except ValueError:
        pass  # the user's module has closed it
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _discard(sys.stderr)
    return status


def lost(error: OSError) -> Failure:
    """The failure of what could not be written to stdout. What is still in the buffer is given up."""
    _discard(sys.stdout)
    return Failure(f"stdout cannot be written: {error.strerror or error}")


def _discard(stream: TextIO) -> None:
    """Have what is still in the buffer go nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # closed altogether, as by the user's module: there is nothing left to be written
