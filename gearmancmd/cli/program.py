"""The program: its commands, and what becomes of an error."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import Any, NoReturn

import click

from .. import __version__
from .call import call
from .cancel import cancel
from .demo import demo
from .failure import INTERRUPTED, failure
from .options import debug_option, debugging
from .run import run
from .serve import serve
from .status import status
from .submit import submit
from .terminal import shown
from .top import top
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


@click.group(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  gearmancmd demo",
)
@click.version_option(__version__, message="gearmancmd %(version)s")
@debug_option
@click.pass_context
def program(context: click.Context) -> None:
    """Gearman workers and queues, from the terminal."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (demo, run, call, submit, status, top, workers, cancel, serve):
    program.add_command(_command)


def main() -> NoReturn:
    """Run the command that sys.argv names, and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_exit_status())


def _exit_status() -> int:
    try:
        result = program.main(complete_var="_GEARMANCMD_COMPLETE", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"gearmancmd: {_one_line(error)}", err=True)
        return error.exit_code
    except click.Abort:  # Ctrl+C outside of a command
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message = f"{message.rstrip('.')} (see {error.ctx.command_path} --help)"
    return shown(message)


def _terminate(signum: int, frame: object) -> NoReturn:
    """Leave through all `finally` and `with` blocks: terminals are restored, servers started here are stopped."""
    sys.exit(128 + signum)
