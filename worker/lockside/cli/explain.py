"""`lockside explain`."""

import base64
import binascii
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from lockside.cli.options import config_option, json_option, read_settings

if TYPE_CHECKING:
    from lockside.cli.explain_input import Entry
    from lockside.cli.explain_records import Plan
    from lockside.core.entity import Keys, KeySchema
    from lockside.layouts.detect import Detection, Sample
    from lockside.layouts.spec import Spec
    from lockside.settings import Settings

SAMPLE_RECORDS: Final = 1_000
SECRET_BYTES: Final = 32
LINES_AT_ONCE: Final = 1_000
NO_RECORDS: Final = "0 stream records: pages are often empty; read on with NextShardIterator, or from TRIM_HORIZON"


@click.command()
@click.option("--layout", "layouts", multiple=True, metavar="NAME", help="The layout, or several of a family.")
@config_option
@click.option(
    "--source", "sources", multiple=True, metavar="ID", help="As this source of the settings would; give it repeatedly."
)
@json_option
@click.option(
    "--entity-key",
    metavar="KEY",
    envvar="LOCKSIDE_ENTITY_KEY",
    show_envvar=True,
    help="The key of the sessions' pseudonyms, as in the keys file or any text; a fixed public one otherwise.",
)
@click.argument("file", type=click.File("rb"), default="-")
@click.pass_context
def explain(  # noqa: PLR0913 - one argument for each flag
    ctx: click.Context,
    layouts: tuple[str, ...],
    sources: tuple[str, ...],
    entity_key: str | None,
    file: BinaryIO,
    *,
    config: Path | None,
    as_json: bool,
) -> None:
    """Say what Lockside understands of stream records: each event, or why there is none. Needs no AWS.

    FILE holds JSON Lines of GetRecords records, the output of `aws dynamodbstreams get-records`, or a Lambda event; the
    kind is detected. Without --layout or --source the layout is detected too. A settings file adds layouts of your own;
    --source takes filter, renamed attributes and pseudonyms from it as well.

    \b
    lockside explain records.jsonl
    aws dynamodbstreams get-records --shard-iterator "$IT" | lockside explain --layout awslabs -
    lockside explain --config lockside.toml --source locks records.jsonl

    Exit codes: 0 all records were understood (an event or none); 1 some could not be decoded, and the others were
    explained; 2 wrong use, no layout fits, or two fit as well and read the rows differently.
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    from lockside.cli.explain_input import ACCEPTED, entries
    from lockside.cli.explain_output import as_json as json_line
    from lockside.cli.explain_output import as_lines
    from lockside.cli.explain_records import Explainer

    if layouts and sources:
        raise click.UsageError("give --layout or --source; you gave both")
    if file.isatty():
        raise click.UsageError(f"nothing to read: name a FILE, or pipe in {ACCEPTED}")
    keys = _keys(entity_key)
    settings = read_settings(config) if config is not None or sources else None
    out = _Output()
    iterator = entries(file, out.flush)
    sample = list(islice(iterator, SAMPLE_RECORDS))
    if not sample:
        click.echo(NO_RECORDS, err=True)
        return
    plans = _of_sources(sources, settings) if sources and settings else _plans(layouts, sample, settings, quiet=as_json)
    explainer = Explainer(plans, _key_schema(plans[0].specs, sample), keys)
    explanations = map(explainer.explain, chain(sample, iterator))
    out.write(map(json_line, explanations) if as_json else as_lines(explanations))
    click.echo(explainer.summary(), err=True)
    if not explainer.counts["claimed"]:
        named = ", ".join(spec.name for plan in plans for spec in plan.specs)
        click.echo(f"No record is a row of {named}; is it another layout?", err=True)
    if explainer.counts["undecodable"]:
        ctx.exit(1)


class _Output:
    """Lines on their way out: many at once, and none held back while the input is waited for."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._lines: list[str] = []

    def write(self, lines: Iterable[str]) -> None:
        """Print all lines."""
        held = self._lines
        for line in lines:
            held.append(line)
            if len(held) >= LINES_AT_ONCE:
                self.flush()
        self.flush()

    def flush(self) -> None:
        """Print what is held."""
        if self._lines:
            click.echo("\n".join(self._lines))
            self._lines.clear()


def _keys(entity_key: str | None) -> "Keys":
    """Take the entity key as the keys file spells it (32 bytes in base64), or any text as it is."""
    from dataclasses import replace

    from lockside.core.entity import PUBLIC_KEYS, Key

    if entity_key is None:
        return PUBLIC_KEYS
    if not entity_key:
        raise click.UsageError("--entity-key is empty; leave it out to use the fixed public key")
    secret = entity_key.encode("utf-8", "surrogateescape")
    try:
        decoded = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    return replace(PUBLIC_KEYS, entity=Key("given", decoded if len(decoded) == SECRET_BYTES else secret))


def _plans(
    names: Sequence[str], sample: Sequence["Entry"], settings: "Settings | None", *, quiet: bool
) -> list["Plan"]:
    """Take the layouts named, or detect them and say so: above the answer, or on stderr beside JSON."""
    from lockside.cli.explain_output import detection_lines
    from lockside.cli.explain_records import Plan
    from lockside.layouts.detect import detect
    from lockside.layouts.registry import builtin

    known = builtin() if settings is None else settings.layouts
    if names:
        return [Plan("explain", known.resolve(names))]
    detection = detect(_samples(sample), known)
    if not detection.chosen:
        raise click.UsageError(_undetected(detection, sample, known.names))
    if any(candidate.question is not None for candidate in detection.groups[0]):
        raise click.UsageError(_asked(detection))
    for line in detection_lines(detection):
        click.echo(line, err=quiet)
    if not quiet:
        click.echo()
    settled = [group for group in detection.groups if all(candidate.question is None for candidate in group)]
    groups = [tuple(candidate.spec for candidate in group) for group in settled]
    # A layout that asks nothing of a row would leave none to those after it.
    groups.sort(key=lambda specs: any(spec.rows.asks_nothing for spec in specs))
    return [Plan("explain" if len(groups) == 1 else specs[0].family, specs) for specs in groups]


def _of_sources(ids: Sequence[str], settings: "Settings") -> list["Plan"]:
    """Take sources of the settings, in the order of the file. Raises UsageError for one that is not there."""
    from lockside.app.sources import specs_of
    from lockside.cli.explain_records import Plan

    known, recipe = settings.layouts, settings.recipe
    there = [source.id for source in settings.source]
    if strange := [name for name in ids if name not in there]:
        told = f"the settings have {', '.join(there)}" if there else "the settings have no [[source]]"
        raise click.UsageError(f'--source "{strange[0]}": there is none of this id; {told}')
    return [
        Plan(
            id=source.id,
            specs=specs_of(source, number, known),
            pseudonymise=tuple(sorted(source.pseudonymise)),
            lease_ms=source.lease_ms,
            clock_margin_ms=recipe.clock_margin_ms,
            refresh_bucket_ms=recipe.refresh_bucket_seconds * 1_000,
        )
        for number, source in enumerate(settings.source)
        if source.id in ids
    ]


def _asked(detection: "Detection") -> str:
    """Say what only a person knows, and how to answer it."""
    asked = next(candidate for candidate in detection.chosen if candidate.question is not None)
    ways = " or ".join(f"--layout {spec.name}" for spec in (asked.spec, *asked.instead))
    return f"{asked.question}; answer it with {ways}"


def _undetected(detection: "Detection", sample: Sequence["Entry"], names: Sequence[str]) -> str:
    from lockside.cli.explain_input import ACCEPTED
    from lockside.cli.explain_output import near_misses

    if not any(entry.raw is not None and "dynamodb" in entry.raw for entry in sample):
        return f"nothing in the input is a stream record; give {ACCEPTED}"
    if not detection.sampled:
        told = "the records hold no images to detect a layout by (does the stream show NEW_AND_OLD_IMAGES?)"
    else:
        told = f"no layout fits the {detection.sampled} rows sampled"
    near = "\n".join(near_misses(detection))
    return f"{told}; say which with --layout: {', '.join(names)}{f'{chr(10)}{near}' if near else ''}"


def _bodies(sample: Sequence["Entry"]) -> Iterator[Mapping[str, Any]]:
    for entry in sample:
        body = entry.raw.get("dynamodb") if entry.raw is not None else None
        if isinstance(body, Mapping) and isinstance(body.get("Keys"), Mapping):
            yield body


def _samples(sample: Sequence["Entry"]) -> list["Sample"]:
    from lockside.layouts.detect import Sample

    # Some serialisers spell an absent image as null.
    images = ((body["Keys"], body.get("NewImage") or body.get("OldImage")) for body in _bodies(sample))
    return [Sample(keys, image) for keys, image in images if isinstance(image, Mapping)]


def _key_schema(specs: Sequence["Spec"], sample: Sequence["Entry"]) -> "KeySchema":
    """Find the key's names without a table: the layout's own if all records have them, else what all records share.

    Never the whole of one record's Keys: a TTL removal carries the keys of indexes too.
    """
    from lockside.core.entity import KeySchema
    from lockside.layouts.detect import guess_order

    # What the most records have: a broken record takes no name away from the others.
    counted = Counter(name for body in _bodies(sample) for name in body["Keys"])
    most = max(counted.values(), default=0)
    shared = {name for name, count in counted.items() if count == most}
    own = specs[0].key_names
    if not shared:
        return KeySchema(own)
    if not shared.issuperset(own):
        return KeySchema(tuple(guess_order(shared)))
    # A client with an optional sort key: the one other name that all records have is it.
    others = sorted(shared - set(own))
    return KeySchema((*own, *others) if len(own) == 1 and len(others) == 1 else own)
