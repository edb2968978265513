"""`lockside check`."""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lockside.cli.options import config_option, json_option, read_settings

if TYPE_CHECKING:
    from lockside.app.finding import Finding

ABSENT_BYTES: Final = 16
"""As many random bytes name a key that is in no table."""


@click.command(epilog="Exit codes: 0 the worker could run; 1 it could not; 2 wrong settings, or no answer from AWS.")
@config_option
@json_option
@click.pass_context
def check(ctx: click.Context, *, config: Path | None, as_json: bool) -> None:
    """Find out whether the worker could run, and what to mend.

    Looks at the tables, their streams, TTL and sampled rows, the keys file and the clock. Each call of the worker is
    made once, in a form that cannot take effect, so that a missing permission is found now; nothing is changed.

    \b
    lockside check --config lockside.toml
    lockside check --json | jq 'select(.level == "fault")'
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config)
    from lockside.app import preflight
    from lockside.aws.clients import reached
    from lockside.ops.clock import SystemClock

    clients, absent = reached(settings.aws, settings.audit.table), secrets.token_hex(ABSENT_BYTES)
    findings = preflight.examine(settings, clients, SystemClock(), absent)
    for line in _json_lines(findings) if as_json else _lines(findings):
        click.echo(line)
    ctx.exit(0 if preflight.could_run(findings) else 1)


def _json_lines(findings: "Sequence[Finding]") -> Iterator[str]:
    import orjson

    for finding in findings:
        yield orjson.dumps(finding).decode()


def _lines(findings: "Sequence[Finding]") -> Iterator[str]:
    from lockside.cli.rendering import level

    for finding in findings:
        subject = f"{finding.table}: " if finding.table else ""
        yield f"{level(finding.level.ljust(7))}  {subject}{finding.what}  [{finding.setting}]"
        if finding.fix:
            yield f"         → {finding.fix}"
    faults = sum(finding.level == "fault" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    verdict = f"The worker cannot run: {faults} to mend" if faults else "The worker could run"
    yield f"{verdict}; {warnings} warning{'' if warnings == 1 else 's'}."
