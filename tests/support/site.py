"""Where a test works: a job server, a client of it, and the way to it."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.support.gear_client import Caller


class Site(NamedTuple):
    """A job server, a client of it, and how workers reach it."""

    server: Any
    client: Caller
    servers: list[Any]
