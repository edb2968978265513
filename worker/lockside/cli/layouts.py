"""`lockside layouts`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lockside.cli.options import config_option, json_option, read_settings

if TYPE_CHECKING:
    from lockside.layouts.card import Card
    from lockside.layouts.registry import Registry

HEADER: Final = (
    "LAYOUT",
    "KIND",
    "CLIENT",
    "LANGUAGE",
    "LAPSES AT",
    "OWNER OR USER",
    "VERSION",
    "ENDS BY",
    "NEVER CERTAIN",
)
CELL_CHARS_MAX: Final = 40


@click.command()
@click.argument("name", required=False)
@click.option("--kind", type=click.Choice(["lock", "session"]), help="Only those of one kind.")
@config_option
@json_option
def layouts(*, name: str | None, kind: str | None, config: Path | None, as_json: bool) -> None:
    """List the layouts Lockside knows, or explain the one of NAME (an alias or a family will do).

    For each: the client that writes such rows, and what their stream can and cannot tell. Layouts of your own, from the
    settings file, stand among them. Needs no AWS.

    \b
    lockside layouts --kind lock
    lockside layouts awslabs
    lockside layouts --json | jq -r 'select(.clock == "none") | .name'

    Exit codes: 0 good; 2 no layout of this name, or wrong settings.
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    from lockside.errors import UsageError
    from lockside.layouts.card import card_of

    known = _known(config)
    specs = tuple(known) if name is None else known.find(name)
    cards = [card_of(spec) for spec in specs if kind in {None, spec.traits.kind}]
    if not cards:
        raise UsageError(f"--kind {kind}: {name} is no {kind} layout; leave --kind out")
    for line in _json(cards) if as_json else (_list(cards) if name is None else _each(cards)):
        click.echo(line)


def _known(config: Path | None) -> "Registry":
    from lockside.layouts.registry import builtin

    return builtin() if config is None else read_settings(config).layouts


def _json(cards: Sequence["Card"]) -> Iterator[str]:
    import orjson

    for card in cards:
        yield orjson.dumps(card).decode()


def _list(cards: Sequence["Card"]) -> Iterator[str]:
    from lockside.cli.rendering import columns, shown

    rows: list[Sequence[str]] = [HEADER]
    for card in cards:
        cells: list[Any] = [card.name, card.kind, card.about.client, card.about.language, card.lapses, card.actor]
        cells += [card.version, card.release, ", ".join(card.inferred)]
        rows.append([_cut(shown(cell or "-")) for cell in cells])
    yield from columns(rows)
    yield ""
    yield f"{len(cards)} layouts; `lockside layouts NAME` explains one, `lockside detect --table NAME` finds a table's."


def _cut(text: str) -> str:
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"


def _each(cards: Sequence["Card"]) -> Iterator[str]:
    from lockside.cli.rendering import shown

    for number, card in enumerate(cards):
        if number:
            yield ""
        for line in _card(card):
            yield "\n".join(shown(part) for part in line.split("\n"))


def _card(card: "Card") -> Iterator[str]:
    from lockside.cli.rendering import columns

    yield f"{card.name}: {card.kind}s of {card.about.client or 'a client of your own'}"
    facts = [
        ("language", card.about.language),
        ("also called", ", ".join(card.aliases)),
        ("family", card.family if card.family != card.name else ""),
        ("documentation", card.about.docs),
        ("key", ", ".join(card.keys)),
        ("its rows", "; ".join(card.rows)),
        ("lapses at", card.lapses),
        ("ends by", card.release),
        ("owner or user", card.actor or "not told"),
        ("secret", ", ".join(card.secrets)),
        ("to be set", "; ".join(card.settings)),
        ("never certain", ", ".join(card.inferred)),
    ]
    for line in columns([(label, value) for label, value in facts if value]):
        yield f"  {line}"
    if card.attributes:
        yield ""
        rows = [("ROLE", "ATTRIBUTE", "TYPES", "READ AS")]
        rows += [
            (one.role, one.name + (" (optional)" if one.optional else ""), " ".join(one.types), one.read_as)
            for one in card.attributes
        ]
        yield from (f"  {line}" for line in columns(rows))
    yield ""
    yield from (f"  - {limit}" for limit in card.limits)
    if card.about.notes:
        yield ""
        yield from (f"  {line}" for line in card.about.notes.strip().split("\n"))
