"""`lockside explain`."""

import base64
import binascii
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from lockside.cli.options import json_option

if TYPE_CHECKING:
    from lockside.cli.explain_input import Entry
    from lockside.cli.explain_output import Explanation
    from lockside.core.change import Change, ShardRef
    from lockside.core.entity import Keys, KeySchema
    from lockside.core.event import Interpretation
    from lockside.core.recipe import Source
    from lockside.core.records import Naming
    from lockside.layouts.detect import Detection, Sample
    from lockside.layouts.spec import Spec

SAMPLE_RECORDS: Final = 1_000
PRECISION_AWS_MS: Final = 1_000
PRECISION_LOCAL_MS: Final = 60_000
LOCAL_REGION: Final = "ddblocal"
SECRET_BYTES: Final = 32
UNDECODABLE: Final = "stream.undecodable"
NO_RECORDS: Final = "0 stream records: pages are often empty; read on with NextShardIterator, or from TRIM_HORIZON"


@click.command()
@click.option("--layout", "layouts", multiple=True, metavar="NAME", help="The layout, or several of a family.")
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
def explain(
    ctx: click.Context, layouts: tuple[str, ...], entity_key: str | None, file: BinaryIO, *, as_json: bool
) -> None:
    """Say what Lockside understands of stream records: each event, or why there is none. Needs no AWS.

    FILE holds JSON Lines of GetRecords records, the output of `aws dynamodbstreams get-records`, or a Lambda event; the
    kind is detected. Without --layout the layout is detected too.

    \b
    lockside explain records.jsonl
    aws dynamodbstreams get-records --shard-iterator "$IT" | lockside explain --layout awslabs -

    Exit codes: 0 all records were understood (an event or none); 1 some could not be decoded, and the others were
    explained; 2 wrong use, or no layout fits.
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    from lockside.cli.explain_input import ACCEPTED, entries
    from lockside.cli.explain_output import as_json as json_line
    from lockside.cli.explain_output import as_lines

    if file.isatty():
        raise click.UsageError(f"nothing to read: name a FILE, or pipe in {ACCEPTED}")
    keys = _keys(entity_key)
    iterator = entries(file)
    sample = list(islice(iterator, SAMPLE_RECORDS))
    if not sample:
        click.echo(NO_RECORDS, err=True)
        return
    specs = _specs(layouts, sample, quiet=as_json)
    explainer = Explainer(specs, _key_schema(specs, sample), keys)
    explanations = (explainer.explain(entry) for entry in chain(sample, iterator))
    for line in map(json_line, explanations) if as_json else as_lines(explanations):
        click.echo(line)
    click.echo(explainer.summary(), err=True)
    if not explainer.counts["claimed"]:
        click.echo(f"No record is a row of {', '.join(spec.name for spec in specs)}; is it another layout?", err=True)
    if explainer.counts["undecodable"]:
        ctx.exit(1)


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


def _specs(names: Sequence[str], sample: Sequence["Entry"], *, quiet: bool) -> tuple["Spec", ...]:
    """Take the layouts named, or detect them and say so: above the answer, or on stderr beside JSON."""
    from lockside.cli.explain_output import detection_lines
    from lockside.layouts.detect import detect
    from lockside.layouts.registry import builtin

    if names:
        return builtin().resolve(names)
    detection = detect(_samples(sample), builtin())
    if not detection.chosen:
        raise click.UsageError(_undetected(detection, sample, builtin().names))
    for line in detection_lines(detection):
        click.echo(line, err=quiet)
    if not quiet:
        click.echo()
    return detection.layouts


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


@dataclass
class Explainer:
    """Explains records one by one, and counts."""

    specs: tuple["Spec", ...]
    schema: "KeySchema"
    keys: "Keys"
    counts: Counter[str] = field(default_factory=Counter)
    _sources: dict[int, "Source"] = field(default_factory=dict)

    def explain(self, entry: "Entry") -> "Explanation":
        """Say what one record means; one that is broken is told, and the next goes on."""
        from lockside.core.decode import decode_record
        from lockside.core.interpret import interpret_for
        from lockside.errors import FaultyPageError, WireFaultError

        self.counts["records"] += 1
        if entry.raw is None:
            return self._broken(entry, f"{entry.fault}: {entry.place}", recorded=False)
        source = self._source(entry.raw)
        try:
            change = decode_record(entry.raw, _shard(entry.raw), self.schema, source.recipe.precision_ms)
            found, told = interpret_for(change, (source,))
        except FaultyPageError:
            # A worker would read the page again and then halt: it writes no record of this.
            return self._broken(entry, f"sequence_number: {entry.place}", recorded=False)
        except WireFaultError as fault:
            return self._broken(entry, fault.code, recorded=True)
        return self._understood(entry, change, source if found else None, told)

    def summary(self) -> str:
        """Say what the records came to."""
        counted = ("recorded", "not recorded", "no event", "undecodable")
        parts = ", ".join(f"{self.counts[name]} {name}" for name in counted)
        return f"{self.counts['records']} stream records: {parts}"

    def _understood(
        self, entry: "Entry", change: "Change", source: "Source | None", told: "Interpretation"
    ) -> "Explanation":
        from lockside.cli.explain_output import Explanation
        from lockside.core.records import Naming

        event = told.event
        naming = Naming.of(source, self.keys) if source is not None else None
        self.counts["claimed"] += source is not None
        self.counts["no event" if event is None else "recorded" if event.recorded else "not recorded"] += 1
        return Explanation(
            sequence_number=_sequence(entry.raw),
            event=event.type if event is not None else None,
            recorded=event is not None and event.recorded,
            authenticated=event.authenticated if event is not None else None,
            # A row that no layout claims may be anything, so not even its key is shown.
            entity=self._entity(change, naming) if naming is not None else None,
            actor=naming.actor(event.actor) if naming is not None and event is not None else None,
            previous_actor=naming.actor(event.previous_actor) if naming is not None and event is not None else None,
            flags=event.flags if event is not None else (),
            certainty=event.certainty if event is not None else None,
            reason=(event.reason if event is not None else None) or told.reason,
            created_ms=change.created_ms,
        )

    def _broken(self, entry: "Entry", reason: str, *, recorded: bool) -> "Explanation":
        from lockside.cli.explain_output import Explanation

        self.counts["undecodable"] += 1
        return Explanation(
            sequence_number=_sequence(entry.raw),
            event=UNDECODABLE,
            recorded=recorded,
            authenticated=None,
            entity=None,
            actor=None,
            previous_actor=None,
            flags=(),
            certainty="unknown",
            reason=reason,
        )

    def _entity(self, change: "Change", naming: "Naming") -> Mapping[str, str]:
        return {"kind": naming.kind, "name": naming.name(change.key)}

    def _source(self, raw: Mapping[str, Any]) -> "Source":
        precision_ms = PRECISION_LOCAL_MS if raw.get("awsRegion") == LOCAL_REGION else PRECISION_AWS_MS
        if precision_ms not in self._sources:
            self._sources[precision_ms] = self._made(precision_ms)
        return self._sources[precision_ms]

    def _made(self, precision_ms: int) -> "Source":
        from lockside.core.recipe import Recipe, Source

        kind = self.specs[0].traits.kind
        recipe = Recipe(
            source_id="explain",
            kind=kind,
            layouts=tuple((spec.name, spec.digest) for spec in self.specs),
            key_names=self.schema.names,
            pseudonymise=(),
            entity_key_id=self.keys.entity.id,
            image_key_id=self.keys.image.id,
            precision_ms=precision_ms,
            clock_margin_ms=2_000,
            refresh_bucket_ms=3_600_000,
        )
        return Source("explain", "", kind, self.specs, self.schema, recipe)


def _shard(raw: Mapping[str, Any]) -> "ShardRef":
    from lockside.core.change import ShardRef

    arn = raw.get("eventSourceARN")
    return ShardRef(arn if isinstance(arn, str) else "", "")


def _sequence(raw: Mapping[str, Any] | None) -> str | None:
    """Spell the sequence number as it came, if it is one: text of any other kind is not repeated."""
    body = raw.get("dynamodb") if raw is not None else None
    value = body.get("SequenceNumber") if isinstance(body, Mapping) else None
    return value if isinstance(value, str) and value.isascii() and value.isdigit() else None
