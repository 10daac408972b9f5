"""``gearmancmd call``: send one task, and see what comes back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from gearman import DataEncoder

from .._wire.address import Address
from ..client import JSONGearmanClient
from ..encoder import JSONDataEncoder
from .failure import Failure, Misuse
from .notice import notice_unserved
from .options import command, priority_option, servers_option
from .output import note, say, say_bytes
from .progress import JobProgress
from .tasks import TooDeep, read_task
from .terminal import as_json, shown


@command(
    "gearmancmd call queue reverse message=Hello",
    'gearmancmd call queue --json \'{"command": "reverse", "message": "Hello"}\'',
    "gearmancmd call queue --background < task.json",
)
@click.argument("queue")
@click.argument("words", nargs=-1, metavar="[COMMAND] [KEY=VALUE]...")
@servers_option
@click.option("--json", "text", metavar="TASK", help="The whole task as JSON; - reads it from stdin.")
@click.option("--command", "key", default="command", show_default=True, metavar="KEY", help="The command's key.")
@click.option("--background", is_flag=True, help="Do not wait: print the job's handle.")
@click.option("--raw", is_flag=True, help="Print what the worker sends byte by byte, whether it is JSON or not.")
@priority_option
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait. Default: no end.")
@click.option("--unique", help="The task's own name, at most 63 bytes: jobs of the same name are done once.")
def call(
    queue: str,
    words: Sequence[str],
    servers: list[Address],
    text: str | None,
    key: str,
    background: bool,
    raw: bool,
    priority: str | None,
    timeout: float | None,
    unique: str | None,
) -> None:
    """Send a task and print its result as JSON.

    A VALUE is JSON where it can be read as such, else a string: n=1 is a number, n='"1"' is not. Without COMMAND,
    KEY=VALUE and --json the task is read from stdin. What the job sends ahead of its result is printed as it comes,
    and its progress is shown where stderr is a terminal.

    The exit status is 0 when the job is done, 1 when it failed, 2 for a wrong command line, 3 when the time is over,
    and 4 when no server answers.
    """
    if raw and background:
        raise Misuse("--raw is for a result, and --background waits for none")
    task = build_task(words, text, key)
    client_class = RawClient if raw else JSONGearmanClient
    with client_class(servers, timeout=timeout) as client:
        if background:
            result = client.submit(queue, task, background=True, priority=priority, unique=unique).handle
        else:
            with notice_unserved(servers, queue):
                result = _call(client, queue, task, priority=priority, unique=unique)
    if background:
        say(result)
    else:
        _print(result)


def _call(client: JSONGearmanClient, queue: str, task: Any, **options: Any) -> Any:
    with JobProgress() as progress:

        def show_data(data: Any) -> None:
            with progress.hidden():
                _print(data)

        def show_warning(warning: Any) -> None:
            with progress.hidden():
                note(f"warning: {warning if isinstance(warning, Raw) else _json(warning)}")

        return client.call(queue, task, on_status=progress.show, on_data=show_data, on_warning=show_warning, **options)


def _print(result: Any) -> None:
    if isinstance(result, Raw):
        say_bytes(result)
        return
    say(_json(result))


def _json(value: Any) -> str:
    try:
        return as_json(value)
    except RecursionError as error:
        raise Failure("what the worker sends is nested too deeply to be shown; --raw prints it as it is") from error


class Raw(bytes):
    """What a worker sent, as it is; as text for messages."""

    def __str__(self) -> str:
        return self.decode("utf-8", "backslashreplace")


class RawDataEncoder(DataEncoder):
    """JSON to the worker, and back whatever it sends."""

    @classmethod
    def encode(cls, encodable_object: Any) -> bytes:
        """The task as JSON."""
        return JSONDataEncoder.encode(encodable_object)

    @classmethod
    def decode(cls, decodable_string: bytes) -> Raw:
        """The bytes that came."""
        return Raw(decodable_string)


class RawClient(JSONGearmanClient):
    """A client that decodes nothing."""

    data_encoder = RawDataEncoder


def build_task(words: Sequence[str], text: str | None, key: str) -> Any:
    """The task that the command line stands for."""
    if not words:
        return _whole(text)
    if text is not None:
        raise Misuse(f"--json is the whole task: {words[0]} has no place in it")
    head, rest = ([], words) if "=" in words[0] else ([(key, words[0])], words[1:])
    return dict([*head, *map(_pair, rest)])


def _pair(word: str) -> tuple[str, Any]:
    name, mark, value = word.partition("=")
    if not mark or not name:
        raise Misuse(f"{shown(word)} is not of the form KEY=VALUE")
    try:
        return name, read_task(value)
    except TooDeep as error:
        raise Misuse(f"{name} cannot be sent: {error}") from error
    except ValueError:
        return name, value


def _whole(text: str | None) -> Any:
    if text is None and sys.stdin.isatty():
        raise Misuse("no task: give a COMMAND, KEY=VALUE, or --json, or pipe it in")
    source = "stdin" if text in {None, "-"} else "--json"
    try:
        return read_task(sys.stdin.buffer.read() if text is None or text == "-" else text)
    except TooDeep as error:
        raise Misuse(f"the task from {source} cannot be sent: {error}") from error
    except ValueError as error:
        raise Misuse(f"the task from {source} is not JSON: {error}") from error
