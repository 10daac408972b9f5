"""--metrics-port of ``gearmancmd run``: where /metrics, /healthz and /readyz are served."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..cmd import GearmanCMD
from ..logs import logger
from .endpoint import application, listen
from .health import Health, PoolHealth, WorkerHealth

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


class MetricsAddress(NamedTuple):
    """Where to listen; without a port, nowhere."""

    host: str
    port: int | None


def metrics_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options; the command gets both as `metrics`."""

    @wraps(function)
    def with_address(*arguments: Any, metrics_host: str, metrics_port: int | None, **options: Any) -> Any:
        """Make one of two options."""
        return function(*arguments, metrics=MetricsAddress(metrics_host, metrics_port), **options)

    port = click.option(
        "--metrics-port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Serve /metrics, for Prometheus, /healthz and /readyz on this port; 0 takes a free one.",
    )
    host = click.option(
        "--metrics-host", default="127.0.0.1", show_default=True, help="The address of --metrics-port to listen on."
    )
    return port(host(with_address))


def monitor_worker(address: MetricsAddress, gcmd: GearmanCMD) -> WorkerHealth:
    """The health of this process, which is to be the stop trigger of its GearmanCMD. That is measured where there is a
    port. MissingExtra without prometheus_client.
    """
    health = WorkerHealth()
    gcmd.hooks = [*gcmd.hooks, health]
    health.start()
    if address.port is not None:
        from .shared_metrics import add_metrics  # noqa: PLC0415 - it needs an extra of its own

        add_metrics(gcmd)
        from prometheus_client import make_wsgi_app  # noqa: PLC0415 - it is there, now that we are here

        _serve(address, health, make_wsgi_app())
    return health


@contextmanager
def monitor_pool(
    address: MetricsAddress, factory: Callable[[], GearmanCMD]
) -> Iterator[tuple[PoolHealth, Callable[[], GearmanCMD]]]:
    """The same for a pool, in a ``with`` block: its `on_turn`, and its factory, which measures what it makes."""
    health = PoolHealth()
    health.start()
    if address.port is None:
        yield health, factory
        return
    from .shared_metrics import measured, shared_metrics  # noqa: PLC0415 - it needs an extra of its own

    with tempfile.TemporaryDirectory(prefix="gearmancmd-metrics-", ignore_cleanup_errors=True) as directory:
        _serve(address, health, shared_metrics(directory))
        yield health, partial(measured, factory, directory)


def _serve(address: MetricsAddress, health: Health, metrics: WSGIApplication) -> None:
    checks = {"/healthz": health.is_alive, "/readyz": health.is_ready}
    assert address.port is not None
    where = listen(address.host, address.port, application(metrics, checks))
    logger.info("metrics: http://%s/metrics", where)
