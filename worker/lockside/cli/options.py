"""Options that commands share, and the reading of the settings they lead to."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from lockside.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_FILE: Final = Path("lockside.toml")


def config_option(command: F) -> F:
    """Add `--config FILE`, which arrives as `config: Path | None`."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="LOCKSIDE_CONFIG",
        show_envvar=True,
        default=_default_file,
        help="The TOML settings file.  [default: ./lockside.toml if there is one]",
    )(command)


def json_option(command: F) -> F:
    """Add `--json`, which arrives as `as_json: bool`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for a script.")(command)


def read_settings(config: Path | None, overrides: Mapping[str, Any] | None = None) -> "Settings":
    """Load the settings, and send warnings to stderr. Raises ConfigError.

    Warnings only, as a person reads the command's own words; a worker configures its log anew from `[ops]`.
    """
    from lockside.ops import logs
    from lockside.settings import load

    if config is None:
        # On stderr, before any fault: whoever stands in the wrong folder would mend the wrong thing.
        click.echo(f"No --config and no ./{DEFAULT_FILE}: defaults and environment variables count.", err=True)
    settings = load(config, overrides)
    logs.configure("warning", settings.ops.log_format)
    return settings


def _default_file() -> Path | None:
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None
