"""`lockside lock`."""

import os
from pathlib import Path
from typing import Final

import click

from lockside.cli.options import config_option, read_settings

GRACE_SECONDS: Final = 10.0
LEASE_SECONDS: Final = 20.0

EXIT_CODES: Final = """\b
Exit codes:
  the command's own; 128 + N if signal N ended it
  1    the lock stayed another's (--conflict-exit-code names another)
  2    wrong use or set-up; 3 could not find out: the command was not run
  125  the lock was lost, and the command was stopped
  126  the command cannot be run; 127 there is no such command
"""


@click.group()
def lock() -> None:
    """Hold a lock of the table [stores] lock_table, from the shell."""


@lock.command(epilog=EXIT_CODES, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@config_option
@click.option("--table", metavar="NAME", help="The lock table.  [default: stores.lock_table]")
@click.option("-w", "--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after so long.")
@click.option(
    "-n", "--nonblock", is_flag=True, help="Do not wait at all, not even for a dead holder's lease; --wait 0."
)
@click.option("--lease", type=float, default=LEASE_SECONDS, show_default=True, metavar="SECONDS")
@click.option("-E", "--conflict-exit-code", "conflict", type=click.IntRange(0, 255), default=1, show_default=True)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=GRACE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="What the command has to end once the lock is lost.",
)
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(  # noqa: PLR0913 - one argument for each flag
    ctx: click.Context,
    *,
    config: Path | None,
    table: str | None,
    wait: float | None,
    nonblock: bool,
    lease: float,
    conflict: int,
    grace: float,
    name: str,
    command: tuple[str, ...],
) -> None:
    """Hold the lock NAME while COMMAND runs: flock for DynamoDB.

    Waits for the lock, for ever unless told otherwise, and renews it for as long as the command runs. The command finds
    the lock's fence, a number that grows with every holder, in LOCKSIDE_FENCE, and its name in LOCKSIDE_LOCK; signals
    are handed on to it. If the lock can no longer be kept for sure, the command is stopped, with what it started.

    A holder that died is only found out by waiting for its lease: its row must stand unchanged for so long while this
    process looks. So --nonblock, and a --wait that is shorter, never take over from one: give --wait a few seconds more
    than the holders' --lease where nobody else would.

    \b
    lockside lock run nightly -- ./nightly.sh
    lockside lock run --wait 25 -E 0 nightly -- ./nightly.sh
    lockside lock run nightly -- sh -c 'echo "fence $LOCKSIDE_FENCE"'
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config)
    from lockside.app import lock_run
    from lockside.app.stores import store_client
    from lockside.stores import LockClient
    from lockside.stores.lock_client import WAIT_SECONDS_MAX
    from lockside.stores.sigterm import unwinding

    seconds = 0.0 if nonblock else WAIT_SECONDS_MAX if wait is None else wait
    order = lock_run.Order(name, command[1:] if command[0] == "--" else command, seconds, conflict, grace)
    client = LockClient(store_client(settings.aws), table or settings.stores.lock_table, lease=lease)
    with unwinding(), client:
        code = lock_run.run(client, order, os.environ)
    ctx.exit(code)
