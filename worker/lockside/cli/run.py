"""`lockside run`."""

from pathlib import Path

import click

from lockside.cli.options import config_option, read_settings


@click.command(
    epilog="Exit codes: 0 stopped as asked; 2 wrong set-up, a halted shard, or --once while another worker owns the "
    "application: a new start alone mends none of these; 4 stopped on an unexpected error, or taken over by another "
    "worker, nothing skipped; 130 or 143 ended at once, by a second signal or because ops.shutdown_seconds were over."
)
@config_option
@click.option("--once", is_flag=True, help="Write what the streams hold now, save the progress, and end.")
@click.option("--listen", metavar="HOST:PORT", help="Serve /livez, /readyz and /metrics there; overrides ops.listen.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Overrides ops.log_level.")
@click.option("--log-format", type=click.Choice(["auto", "json", "pretty"]), help="Overrides ops.log_format.")
@click.pass_context
def run(  # noqa: PLR0913 - one argument for each flag
    ctx: click.Context,
    *,
    config: Path | None,
    once: bool,
    listen: str | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Watch the tables of the settings' sources and write the audit trail, until stopped.

    While another worker owns the application, this one stands by.

    The first Ctrl-C or SIGTERM finishes the batch and saves the progress, the second ends at once.

    \b
    lockside run --config lockside.toml
    lockside run --once        for a cron job or a one-off catch-up
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config, {"ops.listen": listen, "ops.log_level": log_level, "ops.log_format": log_format})
    from lockside.app.worker import run as run_worker

    ctx.exit(run_worker(settings, once=once))
