"""What `lockside check` finds out: whether the worker could run with these settings, and what to mend.

It changes nothing: what it writes cannot take effect.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from lockside.app import attempts, calls, fit, lease_attempts, readable, replicated
from lockside.app.attempts import Place
from lockside.app.finding import Finding
from lockside.app.fit import Watcher, by_table
from lockside.app.provision import definitions, describe, point_in_time_recovery, shape_faults, ttl_attribute
from lockside.app.sample import scan
from lockside.app.sources import filter_fault, shadowed, sort_key_fault, specs_of
from lockside.aws.clients import clock_offset_ms, refusal
from lockside.aws.retrying import error_code, verdict
from lockside.core.entity import KeySchema
from lockside.core.failures import Verdict
from lockside.errors import ConfigError, UsageError
from lockside.state import keys_file

if TYPE_CHECKING:
    from lockside.aws.clients import Clients
    from lockside.aws.tables import TableDefinition
    from lockside.core.ports import Clock
    from lockside.layouts.registry import Registry
    from lockside.layouts.spec import Spec
    from lockside.settings import Settings, SourceSettings

T = TypeVar("T")

SAMPLE_ROWS_MAX: Final = 50
POLICY: Final = "deploy/iam/run-{engine}.json"
"""What a worker may need to be allowed, all of it."""

SIGNING_SKEW_MS: Final = 300_000
"""AWS refuses requests signed with a clock five minutes off."""


def examine(settings: "Settings", clients: "Clients", clock: "Clock", absent: str) -> tuple[Finding, ...]:
    """Look at everything the worker needs. `absent` is a fresh random name: what it names is in no table.

    Raises SetupError if the endpoint cannot be asked at all.
    """
    try:
        return tuple(_findings(settings, clients, clock, absent))
    except (BotoCoreError, ClientError) as error:
        raise refusal(error, clients.endpoint) from error


def could_run(findings: Sequence[Finding]) -> bool:
    """Whether nothing found keeps the worker from running."""
    return not any(finding.level == "fault" for finding in findings)


def _findings(settings: "Settings", clients: "Clients", clock: "Clock", absent: str) -> Iterator[Finding]:
    # First, as it is the cheapest call: an endpoint that is down is noticed at once.
    yield _clock(settings, clients, clock)
    yield _keys(settings)
    policy = POLICY.format(engine=settings.engine.kind)
    for definition in definitions(settings):
        place = Place(definition.name, f"{definition.purpose}.table", clients.dynamodb, absent, policy)
        yield from _own_table(place, definition, settings)
    if not settings.source and not settings.replica:
        yield Finding("fault", None, "source", "no table is watched", "add a [[source]] for each table to watch")
    yield from _tables(settings, clients, absent, policy)
    if settings.engine.kind == "kcl":
        yield from calls.findings(settings, clients)
        yield from lease_attempts.findings(settings, clients.dynamodb, absent, policy)
    yield from replicated.findings(settings, clients)


def readers_of(settings: "Settings", table: str) -> tuple[str, ...]:
    """Name what of ours reads a table's stream: the worker, and each replicating reader once."""
    worker = ["the worker"] if any(source.table == table for source in settings.source) else []
    names = {f'reader "{replica.reader_name}"' for replica in settings.replica if replica.table == table}
    return (*worker, *sorted(names))


def _clock(settings: "Settings", clients: "Clients", clock: "Clock") -> Finding:
    setting, margin_ms = "recipe.clock_margin_ms", settings.recipe.clock_margin_ms
    offset_ms = clock_offset_ms(clients.dynamodb, settings.audit.table, clock)
    if offset_ms is None:
        return Finding("warning", None, setting, f"{clients.endpoint} sends no Date header; the clock was not compared")
    if abs(offset_ms) <= margin_ms:
        return Finding("good", None, setting, f"the clock agrees with {clients.endpoint} within {margin_ms} ms")
    side = "ahead of" if offset_ms > 0 else "behind"
    return Finding(
        "fault" if abs(offset_ms) > SIGNING_SKEW_MS else "warning",
        None,
        setting,
        f"this machine's clock is {abs(offset_ms)} ms {side} {clients.endpoint}",
        "set the clock by NTP (chronyc tracking, timedatectl)",
    )


def _keys(settings: "Settings") -> Finding:
    path = settings.keys.file
    try:
        keys_file.load(path)
    except ConfigError as error:
        # The way out of a wrong mode or a missing file stands behind the first semicolon.
        what, _, fix = str(error).partition("; ")
        return Finding("fault", None, "keys.file", what, fix or "restore the file from its backup")
    return Finding("good", None, "keys.file", f"{path} can be read, by its owner only")


def _described(place: Place) -> tuple[dict[str, Any] | None, Finding | None]:
    """Describe a table, None if there is none; that it may not be described is a finding."""
    try:
        return describe(place.client, place.name), None
    except ClientError as error:
        if verdict(error) is not Verdict.DENIED:
            raise
        return None, place.denied("dynamodb:DescribeTable", error_code(error))


def _own_table(place: Place, definition: "TableDefinition", settings: "Settings") -> Iterator[Finding]:
    name, setting = place.name, place.setting
    table, denied = _described(place)
    if denied is not None:
        yield denied
    elif table is None:
        yield Finding("fault", name, setting, "the table does not exist", "run lockside init")
        return
    elif faults := shape_faults(definition, table):
        yield Finding("fault", name, setting, "; ".join(faults), f"name another table in {setting}, run lockside init")
        return
    else:
        yield from _kept(place, definition, table, settings.audit.retention_days)
    if definition.purpose == "audit":
        yield from attempts.audit(place)
    else:
        yield from attempts.state(place, batched=settings.state.batched, owned=settings.engine.kind == "embedded")


def _kept(
    place: Place, definition: "TableDefinition", table: Mapping[str, Any], retention_days: int
) -> Iterator[Finding]:
    """Look at what keeps a table's items, and what lets them go."""
    name, setting, client = place.name, place.setting, place.client
    yield Finding("good", name, setting, "the table is there, with its keys and indexes")
    if definition.create["DeletionProtectionEnabled"] and not table.get("DeletionProtectionEnabled"):
        fix = "run lockside init, or set audit.deletion_protection = false"
        yield Finding("warning", name, "audit.deletion_protection", "the table can be deleted by mistake", fix)
    if definition.point_in_time_recovery and _if_allowed(lambda: point_in_time_recovery(client, name)) is False:
        fix = "run lockside init, or set audit.point_in_time_recovery = false"
        yield Finding("warning", name, "audit.point_in_time_recovery", "point-in-time recovery is off", fix)
    wanted = definition.ttl_attribute
    if wanted and retention_days and _if_allowed(lambda: ttl_attribute(client, name) or "") not in {wanted, None}:
        what = f"TTL is not on for {wanted}, so nothing is removed after {retention_days} days"
        yield Finding(
            "warning", name, "audit.retention_days", what, "run lockside init, or set audit.retention_days = 0"
        )


def _tables(settings: "Settings", clients: "Clients", absent: str, policy: str) -> Iterator[Finding]:
    """Look at each watched table: each of its sources, its stream, its rows."""
    known, watchers = settings.layouts, list[Watcher]()
    for index, source in enumerate(settings.source):
        try:
            watchers.append(Watcher(index, source, specs_of(source, index, known)))
        except UsageError as error:
            setting, _, what = str(error).partition(": ")
            fix = "correct it; config/lockside.toml describes the keys of a source"
            yield Finding("fault", source.table, setting, what, fix)
            watchers.append(Watcher(index, source, ()))
    for number, why in shadowed(settings.source, {each.number: each.specs for each in watchers}).items():
        yield Finding("fault", settings.source[number].table, f"source[{number}]", why)
    for members in by_table(watchers).values():
        first = members[0]
        watched = Place(first.source.table, f"source[{first.number}].table", clients.dynamodb, absent, policy)
        readers = readers_of(settings, first.source.table)
        yield from _table(members, watched, clients, readers, known)


def _table(
    watchers: Sequence[Watcher], watched: Place, clients: "Clients", readers: Sequence[str], known: "Registry"
) -> Iterator[Finding]:
    place, name = f"source[{watchers[0].number}]", watched.name
    table, denied = _described(watched)
    if denied is not None:
        yield denied
        return
    if table is None:
        what = f"the table does not exist at {clients.endpoint}"
        yield Finding("fault", name, f"{place}.table", what, "correct the name, aws.region or aws.endpoint_url")
        return
    yield from attempts.watched(watched, table)
    yield from readable.stream(place, name, table, clients.streams, readers)
    schema = KeySchema(tuple(each["AttributeName"] for each in sorted(table["KeySchema"], key=_sort_last)))
    sound: list[Watcher] = []
    for watcher in watchers:
        if fault := sort_key_fault(watcher.specs, name, schema.names):
            yield Finding("fault", name, watcher.setting, *fault.rsplit("; ", 1))
        elif watcher.specs:
            sound.append(watcher)
    for watcher in sound:
        if fault := sort_key_fault(watcher.specs, name, schema.names):
            yield Finding("fault", name, f"source[{watcher.number}].layout", *fault.rsplit("; ", 1))
            return
        if fault := filter_fault(watcher.source, schema.names):
            setting, _, what = fault.partition(": ")
            yield Finding("fault", name, f"source[{watcher.number}].{setting}", what)
        yield from _ttl(f"source[{watcher.number}]", watcher.source, watcher.specs, clients)
    if sound:
        yield from _fit(sound, schema, clients, known)


def _sort_last(element: Mapping[str, Any]) -> bool:
    return bool(element["KeyType"] != "HASH")


def _fit(watchers: Sequence[Watcher], schema: KeySchema, clients: "Clients", known: "Registry") -> Iterator[Finding]:
    table = watchers[0].source.table
    found = _if_allowed(lambda: scan(clients.dynamodb, table, SAMPLE_ROWS_MAX))
    if found is None:
        what, fix = "its rows were not compared with the layout: Scan is denied", "allow dynamodb:Scan for this check"
        yield Finding("warning", table, watchers[0].setting, what, f"{fix}; the worker does not need it")
        return
    yield from fit.findings(watchers, schema, found[0], known)


def _ttl(place: str, source: "SourceSettings", layouts: Sequence["Spec"], clients: "Clients") -> Iterator[Finding]:
    wanted = sorted({layout.ttl_attr for layout in layouts if layout.ttl_attr})
    found = _if_allowed(lambda: ttl_attribute(clients.dynamodb, source.table))
    if found and wanted and found not in wanted:
        what = f"TTL is on for {found}, the layout expects {', '.join(wanted)}"
        fix = "turn TTL on for that attribute, or name the table's in source.attributes"
        yield Finding("warning", source.table, f"{place}.layout", what, fix)
    if wanted and not found:
        what = f"TTL is off; rows the clients leave behind stay for ever ({', '.join(wanted)} would end them)"
        specification = f"Enabled=true,AttributeName={wanted[0]}"
        command = f"aws dynamodb update-time-to-live --table-name {source.table}"
        fix = f"if that is not meant: {command} --time-to-live-specification {specification}"
        yield Finding("warning", source.table, f"{place}.layout", what, fix)


def _if_allowed(ask: Callable[[], T]) -> T | None:
    """Ask what is only good to know: a worker's own permissions need not cover it."""
    try:
        return ask()
    except ClientError as error:
        if verdict(error) is Verdict.DENIED:
            return None
        raise
