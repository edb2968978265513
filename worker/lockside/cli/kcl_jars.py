"""`lockside kcl jars`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lockside.emulators.jars import Fetched


@click.command(epilog="Exit codes: 0 all jars are there; 2 one is not to be had, or is not what the lock names.")
@click.option(
    "--offline",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Take them from this folder: a Maven cache's copy, or all jars side by side.",
)
def jars(*, offline: Path | None) -> None:
    """Fetch Amazon's Kinesis Client Library, once.

    The 75 jars (31 MB) that the lock in this package names, each checked by size and SHA-256, from Maven Central or the
    mirror that ~/.m2/settings.xml names, into the ordinary Maven cache (M2_REPO, else ~/.m2/repository).

    \b
    lockside kcl jars
    lockside kcl jars --offline /media/jars
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    from lockside.app import fleet

    files = fleet.fetch_jars(_tell, offline)
    size = sum(file.stat().st_size for file in files) / 1_000_000
    click.echo(f"All {len(files)} jars are there ({size:.0f} MB), each with the SHA-256 that the lock names.")


def _tell(step: "Fetched") -> None:
    """Show progress on stderr: on one line of a terminal, else now and then."""
    terminal = sys.stderr.isatty()
    if terminal or step.count in {1, step.total} or step.count % 25 == 0:
        line = f"{step.count}/{step.total}  {step.jar.coordinate}"
        click.echo(f"\r\x1b[K{line}" if terminal else line, err=True, nl=not terminal or step.count == step.total)
