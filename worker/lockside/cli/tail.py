"""`lockside tail`."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lockside.cli.options import config_option, json_option, read_settings

if TYPE_CHECKING:
    from lockside.audit.stored import Stored
    from lockside.audit.tail import Hole

POLL_SECONDS: Final = 0.1
HOLE_WAIT_SECONDS: Final = 5.0
HOLE_WAIT_FOLLOWING_SECONDS: Final = 60.0
HOLE_WAIT_SECONDS_MAX: Final = 3_600.0
WAIT_SECONDS_MAX: Final = 30.0


@click.command()
@config_option
@json_option
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--since", default="-1d", show_default=True, metavar="TIME", help="RFC 3339, or relative such as -15m.")
@click.option(
    "--hole-wait",
    type=click.FloatRange(min=0, max=HOLE_WAIT_SECONDS_MAX),
    metavar="SECONDS",
    help=f"Wait so long for a record that does not show yet. [default: {HOLE_WAIT_SECONDS:g}; "
    f"{HOLE_WAIT_FOLLOWING_SECONDS:g} with --follow]",
)
def tail(*, config: Path | None, as_json: bool, follow: bool, since: str, hole_wait: float | None) -> None:
    """Print the trail as it was written, all logs together, oldest first.

    With --json each line is one CloudEvent, byte for byte as it is kept. Records that are missing from a log are told
    on stderr: retention removed them, or somebody did.

    \b
    lockside tail --follow
    lockside tail --since -15m --json | jq .type
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config)
    from lockside.app.lookup import reading
    from lockside.app.patience import Patience
    from lockside.audit.tail import Tail
    from lockside.audit.window import instant_ms
    from lockside.errors import NotFoundOutError, StoppedError
    from lockside.ops.clock import SystemClock

    clock = SystemClock()
    since_ms = instant_ms("--since", since, clock.now().wall_ms)
    stop = threading.Event() if follow else Patience(WAIT_SECONDS_MAX)
    default_wait = HOLE_WAIT_FOLLOWING_SECONDS if follow else HOLE_WAIT_SECONDS
    patience_ms = round((default_wait if hole_wait is None else hole_wait) * 1000)
    following = Tail(reading(settings, stop), since_ms, patience_ms)
    try:
        while True:
            for step in following.poll(clock.now().wall_ms):
                _print(step, as_json=as_json)
            if not follow and not following.waiting:
                return
            # A poll asks only the logs that are due, idle ones less and less often, so this pause may stay short.
            threading.Event().wait(POLL_SECONDS)
    except StoppedError as error:
        raise NotFoundOutError(f"the audit table {settings.audit.table} did not answer in time; try again") from error


def _print(step: "Stored | Hole", *, as_json: bool) -> None:
    from lockside.audit import tail as following
    from lockside.cli.record_line import print_record

    if isinstance(step, following.Hole):
        gap = f"{step.first}" if step.first == step.last else f"{step.first} to {step.last}"
        click.echo(f"missing from audit log {step.log}: index {gap}; retention removed it, or somebody did", err=True)
    else:
        print_record(step, as_json=as_json)
