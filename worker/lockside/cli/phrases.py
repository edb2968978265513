"""`lockside phrases`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lockside.cli.options import config_option, json_option, read_settings

if TYPE_CHECKING:
    from lockside.stores import Phrase


@click.command()
@config_option
@json_option
@click.option("--table", metavar="NAME", help="The table of key phrases.  [default: stores.phrase_table]")
@click.option("--start", metavar="KEY", help="The first key.")
@click.option("--end", metavar="KEY", help="The first key left out.")
@click.option("--after", metavar="KEY", help="Go on behind this key, in the direction of printing.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Print so many at most.")
@click.option("--reverse", is_flag=True, help="From the last key to the first.")
@click.option("--count", is_flag=True, help="Print only how many there are under the prefix.")
@click.argument("prefix")
def phrases(  # noqa: PLR0913 - one argument for each flag
    *,
    config: Path | None,
    as_json: bool,
    table: str | None,
    start: str | None,
    end: str | None,
    after: str | None,
    limit: int | None,
    reverse: bool,
    count: bool,
    prefix: str,
) -> None:
    """Print the key phrases under PREFIX, in code-point order of their keys.

    A line is a key and its value as JSON; bytes and decimals, which JSON has not, are shown as base64 and as text. With
    --json it is one object.

    \b
    lockside phrases orders/
    lockside phrases orders/ --start 2026-11 --end 2026-12 --limit 20
    lockside phrases orders/ --json | jq -r .key
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    settings = read_settings(config)
    from lockside.app.stores import store_client
    from lockside.cli.rendering import shown
    from lockside.stores import KeyPhraseStore

    under = KeyPhraseStore(store_client(settings.aws), table or settings.stores.phrase_table).prefix(prefix)
    if count:
        click.echo(under.count())
        return
    printed = 0
    with under.phrases(start, end, limit, reverse=reverse, after=after) as scan:
        for phrase in scan:
            line = _object(phrase)
            click.echo(_spelled(line) if as_json else f"{shown(phrase.key)}\t{shown(_value(line))}")
            printed += 1
    if not printed:
        click.echo("Nothing found.", err=True)
    elif printed == limit:
        click.echo(f"There may be more: go on with --after {_for_shell(scan.cursor or '')}", err=True)


def _for_shell(key: str) -> str:
    """Quote a key for a shell; what a terminal would not show as it is, as bash and zsh spell it in $'…'."""
    import shlex

    if key.isprintable():
        return shlex.quote(key)
    plain = (each if each.isprintable() and each not in "'\\" else f"\\U{ord(each):08x}" for each in key)
    return f"$'{''.join(plain)}'"


def _object(phrase: "Phrase") -> dict[str, Any]:
    import base64
    from decimal import Decimal

    line: dict[str, Any] = {"key": phrase.key}
    match phrase.value:
        case bytes():
            line["base64"] = base64.b64encode(phrase.value).decode()
        case Decimal():
            line["decimal"] = str(phrase.value)
        case _:
            line["value"] = phrase.value
    return {**line, "version": phrase.version, "expires_ms": phrase.expires_ms}


def _value(line: dict[str, Any]) -> str:
    kind = next(name for name in ("value", "base64", "decimal") if name in line)
    return _spelled(line["value"]) if kind == "value" else f"{kind}:{line[kind]}"


def _spelled(value: Any) -> str:
    import json

    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text
