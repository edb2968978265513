"""`lockside status`."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lockside.cli.options import config_option, json_option, read_settings
from lockside.errors import NotFoundOutError, StoppedError

if TYPE_CHECKING:
    from lockside.app.status import Reading, Report

WATCH_SECONDS: Final = 2.0
WAIT_SECONDS_MAX: Final = 20.0


@click.command(
    epilog="Exit codes: 0 all is well; 1 bad news (no live owner, a halted shard, a change unwritten for over five "
    "minutes, a worker that tells nothing any more); 2 wrong set-up; 3 could not find out."
)
@config_option
@json_option
@click.option("--watch", is_flag=True, help="Refresh every two seconds, until Ctrl-C.")
@click.pass_context
def status(ctx: click.Context, *, config: Path | None, as_json: bool, watch: bool) -> None:
    """Say how the worker stands: its owner, and each shard of each source.

    Position and lag of each shard, the age of its oldest unwritten change, the deadlines it watches, when its progress
    was saved, and which recipe is in force since when. It reads the state table only, from any machine.

    \b
    lockside status
    lockside status --json | jq .problems
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config)
    from lockside.app.status import reading

    source = reading(settings)
    if watch:
        _watch(source, as_json=as_json)
    report = _report(source)
    _print(report, as_json=as_json)
    ctx.exit(1 if report.problems else 0)


def _watch(source: "Reading", *, as_json: bool) -> None:
    while True:
        try:
            report = _report(source)
        except NotFoundOutError as error:
            # What does not answer now may answer soon: whoever watches wants to see both.
            click.echo(f"lockside: {error}", err=True)
        else:
            if not as_json:
                click.clear()
            _print(report, as_json=as_json)
        threading.Event().wait(WATCH_SECONDS)


def _report(source: "Reading") -> "Report":
    from lockside.app.patience import Patience

    try:
        return source.report(Patience(WAIT_SECONDS_MAX))
    except StoppedError as error:
        raise NotFoundOutError(f"the state table {source.table} did not answer in time; try again") from error


def _print(report: "Report", *, as_json: bool) -> None:
    from lockside.cli import status_output

    if as_json:
        import orjson

        click.echo(orjson.dumps(status_output.for_scripts(report)))
        return
    click.echo("\n".join(status_output.for_people(report)))
