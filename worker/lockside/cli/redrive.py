"""`lockside redrive`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lockside.cli.options import config_option, json_option, read_settings
from lockside.errors import NotFoundOutError, StoppedError, UsageError

if TYPE_CHECKING:
    from lockside.app.redrive import Outcome

WAIT_SECONDS_MAX: Final = 60.0

HINTS: Final = {
    "pending": "its worker has not got past it yet; let one run, and try again in a minute",
    "not_watched": "no source of the settings watches its table",
    "seal_key": "it was sealed under a key that the keys file does not hold; use the keys file of that time",
    "sealed": "what is kept of it does not open: it was damaged or tampered with",
    "defect": "a fault of Lockside's own; please report it",
}


@click.command(epilog="Exit codes: 0 nothing undecodable is left; 1 some changes stay as they are; 2 wrong use.")
@config_option
@json_option
@click.option("--id", "record_id", metavar="RECORD_ID", help="The change of this stream.undecodable record.")
@click.option("--all", "everything", is_flag=True, help="Every change that is kept.")
@click.option("--dry-run", is_flag=True, help="Say what would become of them, and change nothing.")
@click.pass_context
def redrive(  # noqa: PLR0913 - one argument for each flag
    ctx: click.Context, *, config: Path | None, as_json: bool, record_id: str | None, everything: bool, dry_run: bool
) -> None:
    """Read undecodable changes again, and record what they say.

    After an upgrade, or with a corrected source. Each change that can be read becomes a stream.redriven record, which
    refers to the stream.undecodable one, and is no longer kept; what still cannot be read stays. Without --id or --all
    nothing is changed: it lists what is kept, and what would become of it.

    \b
    lockside redrive
    lockside redrive --all
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    if record_id is not None and everything:
        raise UsageError("give one of --id and --all; you gave both")
    dry_run = dry_run or not (record_id is not None or everything)
    settings = read_settings(config)
    from lockside.app.patience import Patience
    from lockside.app.redrive import redriving

    done = left = 0
    try:
        with redriving(settings, Patience(WAIT_SECONDS_MAX)) as redriver:
            for outcome in redriver.run(record_id, dry_run=dry_run):
                left += outcome.fault is not None
                done += outcome.fault is None
                _print(outcome, as_json=as_json, dry_run=dry_run)
    except StoppedError as error:
        raise NotFoundOutError("the state or the audit table did not answer in time; run it again") from error
    click.echo(_summary(done, left, dry_run=dry_run), err=True)
    ctx.exit(1 if left else 0)


def _summary(done: int, left: int, *, dry_run: bool) -> str:
    if not done + left:
        return "Nothing undecodable is kept."
    if not dry_run:
        return f"{done} redriven, {left} left."
    advice = "; `lockside redrive --all` does it" if done else ""
    return f"{done} could be redriven, {left} would be left. Nothing was changed{advice}."


def _print(outcome: "Outcome", *, as_json: bool, dry_run: bool) -> None:
    line = _line(outcome, dry_run=dry_run)
    if as_json:
        import orjson

        click.echo(orjson.dumps(line))
        return
    place = f"{line['table']} {line['shard']} {line['sequence_number']}"
    click.echo(f"{line['record']}  {line['outcome']:<10}  {_told(outcome)}  ({place})")


def _told(outcome: "Outcome") -> str:
    if outcome.fault is not None:
        hint = HINTS.get(outcome.fault)
        return f"{outcome.fault}: {hint}" if hint else outcome.fault
    return f"{outcome.kept.code} -> {outcome.event or f'no event ({outcome.reason})'}"


def _line(outcome: "Outcome", *, dry_run: bool) -> dict[str, Any]:
    kept = outcome.kept
    done = "redrivable" if dry_run else "redriven"
    return {
        "record": kept.record_id,
        "table": kept.shard.table,
        "shard": kept.shard.shard_id,
        "sequence_number": str(kept.position),
        "was": kept.code,
        "outcome": done if outcome.fault is None else "left",
        "event": outcome.event,
        "reason": outcome.reason if outcome.fault is None else outcome.fault,
    }
