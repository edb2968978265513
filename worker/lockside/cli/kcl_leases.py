"""`lockside kcl leases`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lockside.cli.options import config_option, json_option, read_settings
from lockside.errors import NotFoundOutError, StoppedError

if TYPE_CHECKING:
    from lockside.app.leases import FleetReport, LeaseReport

WAIT_SECONDS_MAX: Final = 20.0


@click.command(
    epilog="Exit codes: 0 every shard is leased; 1 one is not, or there is none; 2 wrong set-up; 3 no answer."
)
@config_option
@json_option
@click.pass_context
def leases(ctx: click.Context, *, config: Path | None, as_json: bool) -> None:
    """Say which worker of the fleet has which shard: its checkpoint, lag, age, and who leads.

    The leader hands the leases out. The age is how long ago the shard's worker told of it last.

    \b
    lockside kcl leases
    lockside kcl leases --json | jq '.leases[] | select(.owner == null)'
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config, {"engine.kind": "kcl"})
    from lockside.app import leases as fleet
    from lockside.app.patience import Patience

    reading = fleet.fleet_reading(settings)
    try:
        report = reading.report(Patience(WAIT_SECONDS_MAX))
    except StoppedError as error:
        raise NotFoundOutError("the lease tables did not answer in time; try again") from error
    if as_json:
        import orjson

        click.echo(orjson.dumps(fleet.as_json(report)))
    else:
        click.echo("\n".join(_lines(report)))
    ctx.exit(1 if report.problems else 0)


def _lines(report: "FleetReport") -> Iterator[str]:
    from lockside.cli.rendering import level

    yield f"Application {report.application}"
    for arn, leader in report.leaders.items():
        yield ""
        mine = [each for each in report.leases if each.stream_arn == arn]
        open_ = [each for each in mine if not each.lease.finished]
        yield f"{arn}"
        yield f"  leader {leader or 'none'}; {len(open_)} shards leased or waiting, {len(mine) - len(open_)} finished"
        for each in open_:
            yield f"  {each.lease.shard_id}  {each.lease.owner or 'nobody':24}  {_place(each)}"
    for problem in report.problems:
        yield f"{level('warning')}  {problem}"


def _place(each: "LeaseReport") -> str:
    lag = "lag unknown" if each.lag_ms is None else f"lag {each.lag_ms / 1000:.1f} s"
    age = "not told of yet" if each.age_ms is None else f"told {each.age_ms / 1000:.0f} s ago"
    return f"after {each.lease.checkpoint}  {lag}, {age}"
