"""What the commands have in common: their servers, --debug, and an example under each --help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import click

from .._wire.address import DEFAULT_SERVER, SERVERS_VARIABLE, Address, parse_address, servers_from_environment
from .tls import TLSFiles

F = TypeVar("F", bound=Callable[..., Any])

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


def servers_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """-s, as often as there are servers, and the files for TLS; the command gets both as a list of addresses."""

    @wraps(function)
    def with_servers(
        *arguments: Any,
        servers: Sequence[str],
        tls_ca: str | None,
        tls_cert: str | None,
        tls_key: str | None,
        **options: Any,
    ) -> Any:
        """Make one of four options."""
        files = TLSFiles(tls_ca, tls_cert, tls_key)
        return function(*arguments, servers=_addresses(servers, files), **options)

    decorated: Callable[..., Any] = with_servers
    for option in reversed(_SERVER_OPTIONS):
        decorated = option(decorated)
    return decorated


_FILE = click.Path(exists=True, dir_okay=False, readable=True)
_SERVER_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "-s",
        "--server",
        "servers",
        multiple=True,
        metavar="HOST:PORT",
        help=f"A job server; may be repeated. Default: ${SERVERS_VARIABLE} (host:port,...), else {DEFAULT_SERVER}.",
    ),
    click.option("--ca", "tls_ca", type=_FILE, help="TLS, and the authorities (PEM) to trust instead of the system's."),
    click.option("--cert", "tls_cert", type=_FILE, help="TLS with this certificate (PEM) of one's own."),
    click.option("--key", "tls_key", type=_FILE, help="The key (PEM) of --cert, where that file does not hold it."),
)


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


def _addresses(values: Sequence[str], files: TLSFiles) -> list[Address]:
    files.check()
    try:
        return [files.address(parse_address(text, "-s")) for text in values or servers_from_environment()]
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
