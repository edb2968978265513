"""`lockside version`."""

import platform

import click

from lockside import __version__
from lockside.cli.options import json_option


@click.command()
@json_option
def version(*, as_json: bool) -> None:
    """Print the version of Lockside and of the Python it runs on."""
    if as_json:
        import json

        click.echo(json.dumps({"lockside": __version__, "python": platform.python_version()}))
    else:
        click.echo(f"lockside {__version__} (Python {platform.python_version()})")
