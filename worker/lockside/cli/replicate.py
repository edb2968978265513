"""`lockside replicate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lockside.cli.options import config_option, json_option, read_settings
from lockside.errors import NotFoundOutError, StoppedError, UsageError

if TYPE_CHECKING:
    from lockside.settings import Settings

WAIT_SECONDS_MAX: Final = 60.0


@click.command(
    epilog="Exit codes: 0 stopped as asked, or all compared replicas are alike; 1 a compared replica differs; 2 wrong "
    "set-up, a halted shard, or --once while another process replicates; 3 could not find out, or a replica differs "
    "whose replicator is further behind than --settle; 4 stopped on an unexpected error, or taken over by another "
    "process, nothing skipped."
)
@config_option
@json_option
@click.option(
    "--replica", "ids", multiple=True, metavar="ID", help="Only this replica, and those that share its reader."
)
@click.option("--bootstrap", is_flag=True, help="Copy each table into its replicas first, beside the stream.")
@click.option("--once", is_flag=True, help="Replicate what the streams hold now, save the progress, and end.")
@click.option("--compare", is_flag=True, help="Compare replicas with their tables, and end. Changes nothing.")
@click.option(
    "--settle",
    "settle_seconds",
    type=click.FloatRange(0, 3_600),
    default=15.0,
    show_default=True,
    help="With --compare: for how many seconds to look again at rows that may only be late.",
)
@click.option("--keys", "show_keys", is_flag=True, help="With --compare: print keys in clear. A session's is a secret.")
@click.option("--listen", metavar="HOST:PORT", help="Serve /livez, /readyz and /metrics there; overrides ops.listen.")
@click.pass_context
def replicate(  # noqa: PLR0913 - one argument for each flag
    ctx: click.Context,
    *,
    config: Path | None,
    as_json: bool,
    ids: tuple[str, ...],
    bootstrap: bool,
    once: bool,
    compare: bool,
    settle_seconds: float,
    show_keys: bool,
    listen: str | None,
) -> None:
    """Keep the replicas of the settings' [[replica]] sections, until stopped.

    Each is fed from its table's stream, into a second DynamoDB table or into Redis. It reads with checkpoints of its
    own and never holds the audit trail up.

    \b
    lockside replicate --bootstrap      the first time: copies what is there, makes the target's table
    lockside replicate                  from then on
    lockside replicate --compare        from anywhere, also while it runs
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    if compare and (bootstrap or once):
        raise UsageError("--compare only looks; give it without --bootstrap and --once")
    if (as_json or show_keys) and not compare:
        raise UsageError("--json and --keys go with --compare; replicating tells by its log")
    settings = read_settings(config, {"ops.listen": listen})
    if compare:
        ctx.exit(_compare(settings, ids, settle_seconds, as_json=as_json, show_keys=show_keys))
    from lockside.app.replicate import run

    ctx.exit(run(settings, ids, bootstrap=bootstrap, once=once))


def _compare(
    settings: "Settings", ids: tuple[str, ...], settle_seconds: float, *, as_json: bool, show_keys: bool
) -> int:
    from lockside.app.patience import Patience
    from lockside.app.replica_comparison import comparing
    from lockside.cli import replicate_output

    codes = {0}
    try:
        for each in comparing(settings, ids, lambda: Patience(WAIT_SECONDS_MAX + settle_seconds)):
            with replicate_output.progress(each.name, each.rows_estimate) as show:
                report = each.compare(settle_seconds, show)
            # What differs while the replicator is further behind than it was looked at may only be late.
            codes.add(0 if report.comparison.is_alike else 1 if report.is_settled else 3)
            lines = replicate_output.json_line(report, show_keys=show_keys) if as_json else None
            click.echo(lines or "\n".join(replicate_output.lines(report, show_keys=show_keys)))
    except StoppedError as error:
        raise NotFoundOutError("a table or a replica did not answer in time; try again") from error
    return 1 if 1 in codes else max(codes)
