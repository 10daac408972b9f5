"""What the commands have in common: their servers, --debug, and an example under each --help."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from ..address import parse_address

F = TypeVar("F", bound=Callable[..., Any])

#: The environment variable that libgearman reads too: "host:port,host:port".
SERVERS_VARIABLE = "GEARMAN_SERVERS"
DEFAULT_SERVER = "localhost:4730"

_DEBUG = "gearmancmd.debug"


def command(*examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A command of the program: its help is the function's docstring with the examples below it."""
    # \b keeps click from filling the lines up
    epilog = "\n".join(["\b", "Example:" if len(examples) == 1 else "Examples:", *(f"  {line}" for line in examples)])

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(epilog=epilog)(debug_option(function))

    return decorate


def debug_option(function: F) -> F:
    """--debug, before or behind the command."""
    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
    )(function)


def debugging(context: click.Context) -> bool:
    """Whether --debug was given."""
    return bool(context.meta.get(_DEBUG))


def servers_option(function: F) -> F:
    """-s, as often as there are servers; the command gets them as a list of "host:port"."""
    return click.option(
        "-s",
        "--server",
        "servers",
        multiple=True,
        metavar="HOST:PORT",
        callback=_servers,
        help=f"A job server; may be repeated. Default: ${SERVERS_VARIABLE} (host:port,...), else {DEFAULT_SERVER}.",
    )(function)


def priority_option(function: F) -> F:
    """--priority, or None for the normal one."""
    choice = click.Choice(["high", "normal", "low"])
    return click.option("--priority", type=choice, help="Before or behind the others.")(function)


def interval_option(function: F) -> F:
    """--interval of the commands that look again and again."""
    above_0 = click.FloatRange(min=0, min_open=True)
    text = "Seconds between two looks."
    return click.option("--interval", type=above_0, default=1.0, show_default=True, help=text)(function)


def _set_debug(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        context.meta[_DEBUG] = True


def _servers(context: click.Context, option: click.Parameter, values: Sequence[str]) -> list[str]:
    source, texts = "-s", list(values)
    if not texts:
        source = SERVERS_VARIABLE
        texts = [text for text in os.environ.get(SERVERS_VARIABLE, "").split(",") if text.strip()] or [DEFAULT_SERVER]
    try:
        return [str(parse_address(text, source)) for text in texts]
    except ValueError as error:
        raise click.UsageError(str(error), context) from error
