"""From the configured sources to what the core works with: each table described, its layout found, its recipe fixed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import rfc8785
from botocore.exceptions import BotoCoreError, ClientError

from lockside.app.provision import shape_faults
from lockside.aws import clients as aws_clients
from lockside.aws.answers import having
from lockside.aws.retrying import verdict
from lockside.aws.tables import TableDefinition, audit_table, state_table
from lockside.core.entity import Keys, KeySchema
from lockside.core.failures import Verdict
from lockside.core.recipe import Recipe, Source
from lockside.errors import ConfigError, LayoutError, SetupError
from lockside.layouts.schema import Rows
from lockside.layouts.spec import Spec, row_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient

    from lockside.core.gap import OnGap
    from lockside.core.ports import StartMode
    from lockside.layouts.registry import Registry
    from lockside.settings import RecipeSettings, Settings, SourceSettings

PRECISION_AWS_MS: Final = 1_000
"""ApproximateCreationDateTime is rounded down to the second (DynamoDB Streams API reference)."""

PRECISION_LOCAL_MS: Final = 60_000
"""DynamoDB Local rounds it down to the minute (seen on 2.6.1)."""

VIEW_TYPE: Final = "NEW_AND_OLD_IMAGES"

OWN_TABLES: Final["Mapping[str, Callable[[str], TableDefinition]]"] = {
    "audit.table": audit_table,
    "state.table": state_table,
}
"""What makes each of Lockside's own tables, by the setting that names it."""


@dataclass(frozen=True, slots=True)
class Table:
    """One watched table as DynamoDB describes it. `stream_arn` is its newest stream, None where there never was one."""

    name: str
    key_schema: KeySchema
    stream_arn: str | None
    stream_enabled: bool
    view_type: str | None


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream to read, and the sources on it in the order of the configuration."""

    table: str
    arn: str
    start: "StartMode"
    sources: tuple[Source, ...]
    on_gap: "OnGap" = "continue"


def describe(client: "DynamoDBClient", name: str, setting: str) -> Table:
    """Describe a table.

    Raises SetupError that names the setting if there is none, or if the endpoint refuses.
    """
    way_out = "create it, or correct the name, aws.region or aws.endpoint_url"
    described = _described(client, name, setting, way_out)
    specification = described.get("StreamSpecification") or {}
    names = sorted(described["KeySchema"], key=lambda element: element["KeyType"] != "HASH")
    return Table(
        name=name,
        key_schema=KeySchema(tuple(element["AttributeName"] for element in names)),
        stream_arn=described.get("LatestStreamArn"),
        stream_enabled=bool(specification.get("StreamEnabled")),
        view_type=specification.get("StreamViewType"),
    )


def describe_own(client: "DynamoDBClient", name: str, setting: str) -> None:
    """Find one of Lockside's own tables. Raises SetupError if it is not there, or has another shape."""
    described = _described(client, name, setting, "`lockside init` makes it")
    if faults := shape_faults(OWN_TABLES[setting](name), described):
        raise SetupError(
            f'{setting} = "{name}": {"; ".join(faults)}; name another table in {setting} and run `lockside init`'
        )


def own_table_gone(settings: "Settings") -> SetupError:
    """Say what to do when a table of ours is gone: a watched one, or its stream, never ends the worker in this way."""
    return SetupError(
        f'audit.table = "{settings.audit.table}" or state.table = "{settings.state.table}": deleted while the worker '
        "ran, which has stopped; restore it from a backup, or let `lockside init` make an empty one, and start again"
    )


def _described(client: "DynamoDBClient", name: str, setting: str, way_out: str) -> "Mapping[str, Any]":
    try:
        answer = having("Table", dict, "DescribeTable", lambda: client.describe_table(TableName=name))
    except (ClientError, BotoCoreError) as error:
        if verdict(error) is Verdict.NOT_FOUND:
            raise SetupError(
                f'{setting} = "{name}": there is no such table at {client.meta.endpoint_url} in '
                f"{client.meta.region_name}; {way_out}"
            ) from error
        raise aws_clients.refusal(error, client.meta.endpoint_url) from error
    described: Mapping[str, Any] = answer["Table"]
    return described


def specs_of(source: "SourceSettings", number: int, known: "Registry") -> tuple[Spec, ...]:
    """Find a source's layouts among the known ones, with its overrides and within its filter.

    Raises ConfigError that names the source.
    """
    overrides: dict[str, Any] = dict(source.attributes)
    if source.principal:
        overrides["principal"] = list(source.principal)
    if source.releases is not None:
        overrides["releases"] = source.releases
    try:
        specs = known.resolve([source.layout])
    except LayoutError as error:
        raise ConfigError(f"source[{number}].layout: {error}") from error
    needy = [spec.name for spec in specs if spec.needs_lease and source.lease_ms is None]
    if needy:
        raise ConfigError(
            f"source[{number}].lease_ms: layout {needy[0]} stores no lease, so it must be given here in milliseconds"
        )
    if source.stale_after_seconds is not None and not any(_never_lapses(spec) for spec in specs):
        raise ConfigError(
            f"source[{number}].stale_after_seconds = {source.stale_after_seconds}: only locks without any lease grow "
            f"stale, and rows of layout {specs[0].name} end by themselves; leave it out"
        )
    try:
        specs = tuple(spec.with_overrides(overrides) for spec in specs)
    except LayoutError as error:
        raise ConfigError(f"source[{number}]: {error}") from error
    if source.rows == Rows():
        return specs
    within = row_rule(source.rows)
    return tuple(spec.within(within) for spec in specs)


def filter_fault(source: "SourceSettings", key_names: "Sequence[str]") -> str | None:
    """Say what of a source's filter its table's key cannot meet: no row would ever be the source's."""
    if source.rows.sort is None or len(key_names) > 1:
        return None
    return f'rows.sort: table "{source.table}" has no sort key (its key is {key_names[0]}); leave it out'


def shadowed(sources: "Sequence[SourceSettings]", specs: "Mapping[int, Sequence[Spec]]") -> "Mapping[int, str]":
    """Find sources that never get a row, since one before them on their table takes every row; say why, by number.

    Of several that claim a row the first in the file has it.
    """
    taken: dict[str, tuple[int, str]] = {}
    found: dict[int, str] = {}
    for number, source in enumerate(sources):
        if source.table in taken:
            first, layout = taken[source.table]
            found[number] = (
                f'on table "{source.table}" nothing is left for it: source[{first}] before it takes every row, as '
                f"layout {layout} asks for nothing of a row; give that source rows = {{ ... }}, or put it last"
            )
        greedy = next((spec.name for spec in specs.get(number, ()) if spec.rows.asks_nothing), None)
        if greedy is not None:
            taken.setdefault(source.table, (number, greedy))
    return found


def sort_key_fault(specs: "Sequence[Spec]", table: str, key_names: "Sequence[str]") -> str | None:
    """Say if a layout's rows have a sort key always and the table has none: no row of it could be in the layout."""
    needy = [spec for spec in specs if len(spec.key_names) > len(key_names)]
    if len(needy) < len(specs) or not needy:
        return None
    wanted, own = " and ".join(needy[0].key_names), " and ".join(key_names)
    return f'rows of {needy[0].name} have two keys ({wanted}), table "{table}" has {own} alone; correct table or layout'


def _never_lapses(spec: Spec) -> bool:
    return spec.traits.kind == "lock" and spec.traits.clock == "none"


def resolve(client: "DynamoDBClient", settings: "Settings", keys: Keys) -> tuple[Stream, ...]:
    """Resolve all configured sources, grouped by stream.

    Raises SetupError for a missing table, a stream that is off or of another view type.
    """
    if not settings.source:
        raise ConfigError(
            'source: nothing is watched; add a [[source]] with id, table and layout, for example id = "locks", '
            'table = "DynamoDBLockTable", layout = "pydynlock"'
        )
    tables = {
        source.table: describe(client, source.table, f"source[{number}].table")
        for number, source in enumerate(settings.source)
    }
    known = settings.layouts
    specs = {number: specs_of(source, number, known) for number, source in enumerate(settings.source)}
    for number, why in shadowed(settings.source, specs).items():
        raise ConfigError(f"source[{number}]: {why}")
    grouped: dict[str, list[tuple[SourceSettings, Source]]] = {}
    for number, source in enumerate(settings.source):
        table = tables[source.table]
        if fault := filter_fault(source, table.key_schema.names):
            raise ConfigError(f"source[{number}].{fault}")
        precision = precision_ms(settings.recipe.time_precision_ms, stream_of(table, f"source[{number}].table"))
        if fault := sort_key_fault(specs[number], table.name, table.key_schema.names):
            raise ConfigError(f"source[{number}].layout: {fault}")
        made = _source(source, specs[number], table.key_schema, _common(settings.recipe, keys, precision))
        grouped.setdefault(source.table, []).append((source, made))
    return tuple(_stream(tables[name], members, settings) for name, members in grouped.items())


def precision_ms(setting: int | Literal["auto"], stream_arn: str) -> int:
    """Return what creation times are rounded down to; `auto` goes by the region that DynamoDB Local gives its ARNs."""
    if setting != "auto":
        return setting
    return PRECISION_LOCAL_MS if ":dynamodb:ddblocal:" in stream_arn else PRECISION_AWS_MS


def stream_of(table: Table, setting: str) -> str:
    """Return the ARN of a table's stream. Raises SetupError where it is off, or does not show both images."""
    if not table.stream_enabled or table.stream_arn is None:
        raise SetupError(
            f'{setting} = "{table.name}": its stream is off; switch it on with `aws dynamodb update-table'
            f" --table-name {table.name} --stream-specification StreamEnabled=true,StreamViewType={VIEW_TYPE}`"
        )
    if table.view_type != VIEW_TYPE:
        raise SetupError(
            f'{setting} = "{table.name}": its stream shows {table.view_type}, and {VIEW_TYPE} is needed'
            " to tell what changed; switch the stream off and on again with that view type (it will be a new stream)"
        )
    return table.stream_arn


def _common(recipe: "RecipeSettings", keys: Keys, precision: int) -> dict[str, Any]:
    """Return what the recipes of all sources on a stream share."""
    return {
        "entity_key_id": keys.entity.id,
        "image_key_id": keys.image.id,
        "precision_ms": precision,
        "clock_margin_ms": recipe.clock_margin_ms,
        "refresh_bucket_ms": recipe.refresh_bucket_seconds * 1_000,
    }


def _source(
    source: "SourceSettings", specs: tuple[Spec, ...], key_schema: KeySchema, common: "Mapping[str, Any]"
) -> Source:
    kind = specs[0].traits.kind
    recipe = Recipe(
        source_id=source.id,
        kind=kind,
        layouts=tuple((spec.name, spec.digest) for spec in specs),
        key_names=key_schema.names,
        pseudonymise=tuple(sorted(source.pseudonymise)),
        lease_ms=source.lease_ms,
        rows=_filter_json(source.rows),
        **common,
    )
    stale_ms = None if source.stale_after_seconds is None else source.stale_after_seconds * 1_000
    return Source(source.id, source.table, kind, specs, key_schema, recipe, stale_ms)


def _filter_json(rows: Rows) -> str | None:
    """Spell a filter as the recipe keeps it: what it asks for, and nothing left at its default."""
    asked = rows.model_dump(mode="json", exclude_defaults=True)
    return rfc8785.dumps(asked).decode() if asked else None


def _stream(table: Table, members: "Iterable[tuple[SourceSettings, Source]]", settings: "Settings") -> Stream:
    listed = list(members)
    starts = {source.start or settings.engine.start for source, _ in listed}
    if len(starts) > 1:
        raise ConfigError(
            f'source.start: the sources on table "{table.name}" share one stream and must start alike, not at '
            + " and ".join(sorted(starts))
        )
    # They share the stream's gaps too: the stricter wish counts.
    on_gap: OnGap = "halt" if any(source.on_gap == "halt" for source, _ in listed) else "continue"
    arn = cast("str", table.stream_arn)
    return Stream(table.name, arn, starts.pop(), tuple(source for _, source in listed), on_gap)
