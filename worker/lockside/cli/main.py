"""The command `lockside`: a table of verbs, each imported only when it is run.

Exit codes: 0 good, 1 the answer is bad news, 2 wrong use or set-up, 3 could not find out, 4 stopped on an unexpected
error.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from lockside.errors import LocksideError, UsageError

EXIT_BAD_NEWS: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_FOUND_OUT: Final = 3
EXIT_UNEXPECTED: Final = 4
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE_CLOSED: Final = 141


@dataclass(frozen=True, slots=True)
class Verb:
    """One command: where it is, and what the list of commands says of it without importing it."""

    target: str
    help: str


VERBS: Final[Mapping[str, Verb]] = {
    "demo": Verb("lockside.cli.demo:demo", "Show the main job live, on an emulator on this machine."),
    "explain": Verb(
        "lockside.cli.explain:explain", "Say what Lockside understands of your stream records; needs no AWS."
    ),
    "init": Verb("lockside.cli.init:init", "Create the audit and state tables and the keys file."),
    "check": Verb("lockside.cli.check:check", "Find out whether the worker could run, and what to mend."),
    "run": Verb("lockside.cli.run:run", "Watch the tables and write the audit trail."),
    "tail": Verb("lockside.cli.tail:tail", "Print the trail's newest events, and follow it."),
    "query": Verb("lockside.cli.query:query", "Look up a lock, a session, an actor or a kind of event."),
    "status": Verb("lockside.cli.status:status", "Say how the worker stands: its owner, each shard, its lag."),
    "kcl": Verb("lockside.cli.kcl:kcl", "Fetch what a fleet needs; say which worker has which shard."),
    "redrive": Verb("lockside.cli.redrive:redrive", "Read undecodable changes again, and record what they say."),
    "version": Verb("lockside.cli.version:version", "Print the version."),
}

EPILOG: Final = """\b
Try it without AWS, on this machine:
  lockside demo
See what it makes of your own table's stream:
  aws dynamodbstreams get-records --shard-iterator ... | lockside explain -
Set it up (config/lockside.toml shows every setting):
  lockside init --config lockside.toml --dry-run
  lockside check --config lockside.toml
  lockside run --config lockside.toml

\b
Exit codes: 0 good; 1 the answer is bad news; 2 wrong use or set-up;
3 could not find out; 4 stopped on an unexpected error.
"""


class LazyGroup(click.Group):
    """A group that knows its commands by name, and turns Lockside's errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order a newcomer needs them."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name].target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and end with its exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            _leave_closed_pipe()
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge: shown, without its contents if it is not ours
            ctx.exit(tell(error))


def tell(error: Exception) -> int:
    """Show an error as a message; return the exit code it ends a command with."""
    if isinstance(error, LocksideError):
        click.echo(f"lockside: {error}", err=True)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_NOT_FOUND_OUT
    _show_unexpected(error)
    return EXIT_UNEXPECTED


def _leave_closed_pipe() -> NoReturn:
    # Python would flush stdout at exit and complain once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(EXIT_PIPE_CLOSED)


def _show_unexpected(error: Exception) -> None:
    from lockside.ops.trace import trace

    click.echo("lockside: an unexpected error; this is a defect, please report it with these lines:", err=True)
    for line in trace(error):
        click.echo(f"  {line}", err=True)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """An audit trail of the locks and login sessions in a DynamoDB table, from its change stream."""
