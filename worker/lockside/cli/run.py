"""`lockside run`."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from lockside.cli.options import config_option, read_settings


@click.command(
    epilog="Exit codes: 0 stopped as asked; 2 wrong set-up, a halted shard, --once while another worker owns the "
    "application (a new start alone mends none of these), or nothing answered at the start; 3 trouble of the service "
    "at the start; 4 stopped on an unexpected error, or taken over by another "
    "worker, nothing skipped; 130 or 143 ended at once, by a second signal or because ops.shutdown_seconds were over."
)
@config_option
@click.option(
    "--engine", type=click.Choice(["embedded", "kcl"]), help="One process, or a fleet of them; overrides engine.kind."
)
@click.option("--once", is_flag=True, help="Write what the streams hold now, save the progress, and end.")
@click.option("--listen", metavar="HOST:PORT", help="Serve /livez, /readyz and /metrics there; overrides ops.listen.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Overrides ops.log_level.")
@click.option("--log-format", type=click.Choice(["auto", "json", "pretty"]), help="Overrides ops.log_format.")
@click.pass_context
def run(  # noqa: PLR0913 - one argument for each flag
    ctx: click.Context,
    *,
    config: Path | None,
    engine: str | None,
    once: bool,
    listen: str | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Watch the tables of the settings' sources and write the audit trail, until stopped.

    While another worker owns the application, this one stands by. With --engine kcl all workers of the application
    share the shards out, on as many machines as it is started on.

    The first Ctrl-C or SIGTERM finishes the batch and saves the progress, the second ends at once.

    \b
    lockside run --config lockside.toml
    lockside run --once        for a cron job or a one-off catch-up
    lockside run --engine kcl  as one of a fleet; `lockside kcl jars` fetches what it needs, once
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    flags = {
        "engine.kind": engine,
        "ops.listen": listen,
        "ops.log_level": log_level,
        "ops.log_format": log_format,
    }
    settings = read_settings(config, flags)
    from lockside.app.run import run as run_worker

    if settings.engine.kind == "kcl":
        _run_and_leave(lambda: run_worker(settings, once=once))
    ctx.exit(run_worker(settings, once=once))


def _run_and_leave(run_worker: Callable[[], int]) -> NoReturn:
    """Run, and end the process at once: Java has threads that never end, and Python's own way out meets them."""
    from lockside.cli.main import tell

    try:
        code = run_worker()
    except Exception as error:  # noqa: BLE001 - the outermost edge of this command
        code = tell(error)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
