"""How answers look to people: aligned columns, coloured on a terminal and plain elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

COLOURS: Final[Mapping[str, str]] = {"fault": "red", "warning": "yellow", "good": "green"}


def columns(rows: Sequence[Sequence[str]], gap: str = "  ") -> Iterator[str]:
    """Align the cells of rows; the last column is as long as it is."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield gap.join([*padded, row[-1]]).rstrip()


def level(word: str) -> str:
    """Colour a level's word; click takes the colour away where no terminal reads."""
    return click.style(word, fg=COLOURS.get(word.strip()))


def shown(text: str) -> str:
    """Spell text that an application wrote so that it cannot move a terminal's cursor, colour it or break the line."""
    return (
        text
        if text.isprintable()
        else "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    )
