"""What stands in deploy/, held against the code: part of `make check`, so each test takes an instant."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from lockside.cli.main import main

DEPLOY: Final = Path(__file__).parents[2] / "deploy"


def parse(words: Sequence[str]) -> None:
    """Read a command line of Lockside's and do nothing. Raises click.UsageError where a word of it is unknown."""
    name, *arguments = words
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    command.make_context(name, list(arguments)).close()
