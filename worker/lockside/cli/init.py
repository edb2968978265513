"""`lockside init`."""

import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockside.cli.options import DEFAULT_FILE, config_option, json_option, read_settings

if TYPE_CHECKING:
    from lockside.app.provision import Plan


@click.command()
@config_option
@json_option
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--stores", is_flag=True, help="Create the tables of [stores] too: locks, fences, phrases, sessions.")
def init(*, config: Path | None, as_json: bool, dry_run: bool, stores: bool) -> None:
    """Create the audit and state tables and the keys file, where they are missing.

    For a fleet (engine.kind = "kcl") KCL's three tables of each watched stream too. Run it as often as you like: what
    is there stays as it is.

    \b
    lockside init --config lockside.toml --dry-run
    lockside init --config lockside.toml
    lockside init --config lockside.toml --stores
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config)
    from datetime import UTC, datetime

    from lockside.app import provision
    from lockside.aws.clients import reached

    clients = reached(settings.aws, settings.audit.table)
    planned = provision.plan(settings, clients, stores=stores)
    _print(planned, clients.endpoint, as_json=as_json)
    if dry_run:
        click.echo("Nothing was changed (--dry-run).", err=True)
        return
    if any(step.changes for step in planned.steps):
        created = datetime.now(UTC).isoformat(timespec="seconds")
        provision.apply(planned, clients, threading.Event(), created, lambda line: click.echo(line, err=True))
    if stores:
        provision.found_phrases(settings, clients)
    if not as_json:
        named = f" --config {shlex.quote(str(config))}" if config is not None and config != DEFAULT_FILE else ""
        click.echo(f"Ready. Next: lockside check{named}")


def _print(planned: "Plan", endpoint: str, *, as_json: bool) -> None:
    from lockside.cli.rendering import columns

    rows = [(step.action.value, step.subject, step.detail) for step in planned.steps]
    if as_json:
        import orjson

        for action, subject, detail in rows:
            click.echo(orjson.dumps({"action": action, "subject": subject, "detail": detail}))
        return
    click.echo(f"At {endpoint}:")
    for line in columns(rows):
        click.echo(f"  {line}")
