"""The program: its commands, and what becomes of an error."""

from __future__ import annotations

import sys
import traceback
from typing import Any, NoReturn

import click

from .again import unblock_stop_signals
from .call import call
from .cancel import cancel
from .demo import demo
from .failure import INTERRUPTED, Failure, failure
from .options import debug_option, debugging
from .output import complain, flush, lost, open_closed_streams, say
from .run import run
from .serve import serve
from .sigterm import on_sigterm, terminate
from .status import status
from .submit import submit
from .top import top
from .versions import versions
from .workers import workers


class Program(click.Group):
    """A group whose commands fail with one line on stderr; with --debug, the traceback comes first."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError) as error:
            # click ends quietly when nobody reads the output any more
            if debugging(context) and error.__cause__ is not None:
                traceback.print_exception(error.__cause__)
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:
            if debugging(context):
                traceback.print_exc()
            raise failure(error) from error

    def list_commands(self, context: click.Context) -> list[str]:
        """The commands in the order in which one meets them, not that of the alphabet."""
        return list(self.commands)


def _say_versions(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        say(versions())
        context.exit()


@click.group(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  gearmancmd demo",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_versions,
    help="Show the version, and those of what is below.",
)
@debug_option
@click.pass_context
def program(context: click.Context) -> None:
    """Gearman workers and queues, from the terminal."""
    if context.invoked_subcommand is None:
        say(context.get_help())


for _command in (demo, run, call, submit, status, top, workers, cancel, serve):
    program.add_command(_command)


def main() -> NoReturn:
    """Run the command that sys.argv names, and exit."""
    open_closed_streams()
    on_sigterm(terminate)
    unblock_stop_signals()
    lost = 0
    try:
        status = _exit_status()
    finally:
        lost = flush()
    sys.exit(status or lost)


def _exit_status() -> int:
    try:
        result = program.main(complete_var="_GEARMANCMD_COMPLETE", standalone_mode=False)
    except click.ClickException as error:
        complain(_one_line(error))
        return error.exit_code
    except OSError as error:  # click has printed --help
        complain(lost(error).message)
        return Failure.exit_code
    except click.Abort:  # Ctrl+C outside of a command
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message = f"{message.rstrip('.')} (see {error.ctx.command_path} --help)"
    return message
