"""``gearmancmd run``: a worker from an import path, in this process or in many."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import click
from click.core import ParameterSource

from .._pool.limits import Limits
from .._wire.address import Address
from ..cmd import GearmanCMD
from ..pool import WorkerPool
from ..queue import command_table
from .again import Again
from .log import FORMATS, LEVELS, LogOptions, set_up_logging
from .metrics import MetricsAddress, metrics_options, monitor_pool, monitor_worker
from .notice import notice_mute
from .options import command, debugging, servers_option
from .output import note, say
from .processes import number_of_processes, run_pool
from .single import SingleWorker
from .worker import WorkerOptions, make_in_child, make_worker

#: For spans of time and amounts.
ABOVE_0 = click.FloatRange(min=0, min_open=True)


@command(
    "gearmancmd run myapp.queues:Queue -q queue",
    "gearmancmd run mail=myapp.queues:Mail post=myapp.queues:Post -s localhost:4730 --prefetch 10",
    "gearmancmd run myapp:gcmd -p auto --max-jobs 10000",
)
@click.argument("targets", nargs=-1, required=True, metavar="[QUEUE=]MODULE:NAME...")
@click.option("-q", "--queue", metavar="QUEUE", help="The queue of the target that does not name its own.")
@servers_option
@click.option("--prefetch", type=click.IntRange(min=1), help="Jobs held at once. Default: as many as threads, or 1.")
@click.option("--threads", type=click.IntRange(min=1), help="Commands that run beside each other, in threads.")
@click.option("--command", metavar="KEY", help="The key that names the command. Default: command.")
@click.option("--client-id", metavar="NAME", help="The worker's name in `gearmancmd workers`.")
@click.option(
    "--failures",
    type=click.Choice(["warning", "exception", "plain"]),
    help="How clients hear why a job failed: by a warning, which suits every client; by an exception, for clients "
    "that all ask for exceptions; or not at all. Default: warning.",
)
@click.option(
    "--max-payload",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="Bytes that a job may have; a larger one fails. Default: 256 MiB.",
)
@click.option(
    "--log-level",
    type=click.Choice(list(LEVELS), case_sensitive=False),
    help="What the log has, wherever the module sets it up. Default: info; with --debug, debug.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    help="How the log is printed: as text, or one JSON object a line. Default: text, or as the module sets it up.",
)
@click.option("--check", is_flag=True, help="Import the targets, print their commands, and exit.")
@click.option(
    "--hide-errors", is_flag=True, help='Tell clients "internal error", not the type and text of an exception.'
)
@click.option("--fail-fast", is_flag=True, help="End, with exit status 1, when a command raises an exception.")
@click.option(
    "-p",
    "--processes",
    metavar="N",
    callback=number_of_processes,
    help='Work in so many processes, and replace those that end; "auto": one for each core.',
)
@click.option(
    "--grace",
    type=ABOVE_0,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="What the jobs in hand have after SIGTERM and Ctrl+C.",
)
@click.option("--max-jobs", type=click.IntRange(min=1), help="Start a process afresh after so many jobs.")
@click.option("--max-memory", type=ABOVE_0, metavar="MB", help="Start a process afresh that holds so much memory.")
@click.option("--max-lifetime", type=ABOVE_0, metavar="SECONDS", help="Start a process afresh after so long a time.")
@click.option(
    "--hard-time-limit",
    type=ABOVE_0,
    metavar="SECONDS",
    help="Kill a process whose job takes longer; the job goes back to its queue. For -p.",
)
@metrics_options
@click.pass_context
def run(
    context: click.Context,
    /,
    targets: Sequence[str],
    queue: str | None,
    servers: list[Address],
    log_level: str | None,
    log_format: str | None,
    check: bool,
    hide_errors: bool,
    fail_fast: bool,
    processes: int | None,
    grace: float,
    max_jobs: int | None,
    max_memory: float | None,
    max_lifetime: float | None,
    hard_time_limit: float | None,
    metrics: MetricsAddress,
    **attributes: object,
) -> None:
    """Work on queues with what is at import paths.

    MODULE:NAME is a queue's class, with the queue in front of it or in -q; or a GearmanCMD, or a function that returns
    one, which has its own queues, servers, handlers and hooks. Options given here count more than its own. The current
    directory is importable, as with python -m. Where the module sets up logging, that is left as it is.

    An exception that a command raises fails its job; its traceback is logged, and the worker goes on; with --fail-fast
    its process ends, and with -p another one takes its place.

    SIGTERM and Ctrl+C let the jobs in hand finish, and answer them; a second one ends the worker at once, and the jobs
    go back to their queues. The exit status is 0 after SIGTERM, 130 after Ctrl+C, and 143 or 130 where jobs went back.
    SIGHUP starts afresh with the code as it is now, with -p one process after the other. SIGUSR1 logs what each thread
    is at, and the jobs in hand.
    """
    again = Again()
    if hard_time_limit is not None and processes is None:
        raise click.UsageError("--hard-time-limit kills a process: it needs others, with -p", context)
    if hide_errors:
        attributes["expose_errors"] = False
    default = logging.DEBUG if debugging(context) else logging.INFO
    options = WorkerOptions(
        tuple(targets),
        queue,
        servers,
        context.get_parameter_source("servers") is ParameterSource.COMMANDLINE,
        fail_fast,
        LogOptions(default, log_level, log_format, many=processes is not None),
        {name: value for name, value in attributes.items() if value is not None},
    )
    limits = Limits(max_jobs, max_memory, max_lifetime)
    if check:
        print_commands(options.make())
    elif processes is None:
        context.exit(run_single(options, limits, grace, again, metrics))
    else:
        context.exit(run_many(options, limits, grace, processes, hard_time_limit, metrics))


def run_single(options: WorkerOptions, limits: Limits, grace: float, again: Again, metrics: MetricsAddress) -> int:
    """Work in this process; the exit status."""
    gcmd = make_worker(options)
    worker = SingleWorker(gcmd, limits, grace, again, monitor_worker(metrics, gcmd))
    say_what(options)
    with notice_mute(options.known_servers):
        return worker.run()


def run_many(
    options: WorkerOptions,
    limits: Limits,
    grace: float,
    processes: int,
    hard_time_limit: float | None,
    metrics: MetricsAddress,
) -> int:
    """Work in many processes; the exit status."""
    set_up_logging(options.log)
    with monitor_pool(metrics, partial(make_in_child, options)) as (health, factory):
        pool = WorkerPool(
            factory,
            processes,
            grace_seconds=grace,
            hard_time_limit=hard_time_limit,
            on_turn=health,
            **limits._asdict(),
        )
        say_what(options)
        with notice_mute(options.known_servers):
            return run_pool(pool)


def say_what(options: WorkerOptions) -> None:
    """Say on stderr what is worked on; not where the log is JSON, which says it too."""
    for text in options.notes() if options.log.format != "json" else ():
        note(text)


def print_commands(gcmd: GearmanCMD) -> None:
    """Print each queue with its commands."""
    for name, target in gcmd.queues.items():
        say(f"{name}: {', '.join(command_table(target, name).commands) or 'what its dispatch chooses'}")
