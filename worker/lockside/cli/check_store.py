"""`lockside check-store`."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lockside.cli.options import config_option, json_option, read_settings

if TYPE_CHECKING:
    from lockside.app.store_check import Report

DEFAULT_TABLE: Final = "lockside-check-store"


@click.command(
    epilog="Exit codes: 0 all laws held, and each was put to the test; 1 one was broken; 2 wrong set-up; 3 could not "
    "find out, for example because no superseded holder tried to write in so short a time."
)
@config_option
@json_option
@click.option("--seconds", type=click.FloatRange(1, 86_400), default=30.0, show_default=True, help="For how long.")
@click.option("--clients", type=click.IntRange(2, 64), default=8, show_default=True, help="Processes at once.")
@click.option(
    "--seed", type=int, help="Repeat what clients of an earlier run chose to do.  [default: another each time]"
)
@click.option("--endpoint", metavar="URL", help="Where DynamoDB is; overrides aws.endpoint_url.")
@click.option("--table", default=DEFAULT_TABLE, show_default=True, help="What the names of its tables begin with.")
@click.option(
    "--lease", type=click.FloatRange(0.5, 60), default=2.0, show_default=True, help="Seconds of a lock's lease."
)
@click.option(
    "--faults",
    type=click.FloatRange(0, 0.5),
    default=0.0,
    show_default=True,
    help="Share of calls to go wrong: refused, failed, or done with the answer lost.",
)
@click.option("--keep", is_flag=True, help="Leave the tables that it made.")
@click.pass_context
def check_store(  # noqa: PLR0913 - one argument for each flag
    ctx: click.Context,
    *,
    config: Path | None,
    as_json: bool,
    seconds: float,
    clients: int,
    seed: int | None,
    endpoint: str | None,
    table: str,
    lease: float,
    faults: float,
    keep: bool,
) -> None:
    """Find out whether the stores keep their promises on your DynamoDB.

    Many processes read, write, delete and scan key phrases and take locks, all at random. Then it is found out whether
    some order of the writes explains every read, whether scans were ordered and complete, whether a lock never had two
    holders, and whether a counter refused every write of a holder that was overtaken: holders are stopped in mid-lock
    until that happens. It makes tables of its own and removes them.

    \b
    lockside check-store --seconds 30 --clients 8
    lockside check-store --endpoint http://127.0.0.1:8000 --faults 0.05
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config, {"aws.endpoint_url": endpoint})
    import secrets

    from lockside.app.store_check import Plan, Site, check, prepare, remove
    from lockside.aws.clients import reached
    from lockside.cli import check_store_output
    from lockside.stores.sigterm import unwinding

    site = Site(settings.aws, table, secrets.token_hex(4), lease, faults)
    plan = Plan(seconds, clients, secrets.randbelow(1 << 32) if seed is None else seed)
    found = reached(settings.aws, site.locks)
    # SIGTERM too ends the clients, those that are stopped as well, and removes the tables.
    with unwinding():
        made = prepare(found, site)
        try:
            with check_store_output.progress(seconds) as show:
                report = check(site, plan, threading.Event(), show)
        finally:
            if not keep:
                remove(found, made)
    lines = check_store_output.json_line(report, plan) if as_json else check_store_output.lines(report, plan)
    click.echo(lines)
    ctx.exit(_exit_code(report))


def _exit_code(report: "Report") -> int:
    verdict: Any = report.verdict
    if verdict.findings:
        return 1
    return 3 if verdict.open_questions else 0
