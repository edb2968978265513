"""`lockside detect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lockside.cli.options import config_option, json_option, read_settings
from lockside.errors import NotFoundOutError

if TYPE_CHECKING:
    from lockside.app.detection import Answer

ROWS_DEFAULT: Final = 1_000
ROWS_MAX: Final = 100_000


@click.command(
    epilog="Exit codes: 0 found; 1 no layout fits, or a question is open; 2 wrong use, no such table, or no answer "
    "from AWS; 3 could not find out (an empty table, rows of nothing but keys, Scan denied)."
)
@click.option("--table", required=True, metavar="NAME", help="The table to look at.")
@click.option(
    "--limit",
    type=click.IntRange(1, ROWS_MAX),
    default=ROWS_DEFAULT,
    show_default=True,
    metavar="ROWS",
    help="Look at so many rows at most; a row costs one read unit for each 4 KB.",
)
@config_option
@json_option
@click.pass_context
def detect(ctx: click.Context, *, table: str, limit: int, config: Path | None, as_json: bool) -> None:
    """Find out which layouts a table's rows are in, and print the [[source]] blocks to paste.

    Reads a bounded sample of the table, strongly consistent, and its description. It changes nothing and prints no
    value of any row: only names of attributes, counts and scores. The settings file is asked for [aws] and for layouts
    of your own.

    \b
    lockside detect --table my-locks
    lockside detect --table my-sessions --limit 100 --json
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config)
    from lockside.app.detection import examine
    from lockside.aws.clients import reached
    from lockside.cli import detect_output

    def progress(count: int) -> None:
        click.echo(f"{count} rows read ...", err=True)

    answer = examine(settings, reached(settings.aws, table), table, limit, progress)
    for line in [detect_output.as_json(answer)] if as_json else detect_output.as_lines(answer):
        click.echo(line)
    if not answer.detection.sampled:
        raise NotFoundOutError(_nothing(answer))
    ctx.exit(0 if answer.settled else 1)


def _nothing(answer: "Answer") -> str:
    told = "its rows hold nothing but their keys" if answer.looked_at else "it is empty"
    return (
        f'--table "{answer.table}": {told}, so there is nothing to tell a layout by; try again when a client has '
        "written, or take the layout from `lockside layouts`"
    )
