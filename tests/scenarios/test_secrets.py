"""Law 7: nothing produced from the captures, or from any layout's cases, holds ids, tokens, payloads or versions."""

import copy
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError

from lockside.aws.retrying import Retrier
from lockside.aws.tables import state_table
from lockside.core.change import ShardRef
from lockside.core.decode import decode_record
from lockside.core.entity import PUBLIC_KEYS, entity_key
from lockside.core.interpret import interpret_for
from lockside.core.ports import LiveEntry
from lockside.core.recipe import Source
from lockside.engines.neighbours import Neighbours
from lockside.engines.processor import ShardProcessor
from lockside.errors import FaultyPageError
from lockside.layouts.detect import Sample, detect
from lockside.layouts.registry import builtin
from lockside.layouts.spec import Spec
from lockside.ops import logs
from lockside.ops.metrics import PrometheusMeter
from lockside.ops.trace import trace
from lockside.reactions.lapses import LapseWatch
from lockside.state.live_index import to_item
from lockside.state.undecodable import Limits, UndecodableTable
from tests.fakes.captures import CAPTURES, NAMES, read, secrets
from tests.fakes.cases import CaseFile, case_files
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.live import MemoryLive
from tests.fakes.sources import SHARD, source
from tests.fakes.trail import MemoryTrail

UNLIMITED = Limits(changes_max=1_000_000, bytes_max=2**40)
FILES = case_files()
LAYOUT_OF = {"tristanls": "tristanls", "dynamodb-session-flask": "session-web"}


class AlwaysThere:
    """A reader whose rows are those of the last change: every due hold lapses."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        """Take the rows' last images."""
        self._records = records

    def read(self, src: Source, keys: Any) -> Mapping[Any, Any]:
        """Read each key's last image."""
        rows = {
            entity_key(record["dynamodb"]["Keys"], src.key_schema): record["dynamodb"].get("NewImage")
            for record in self._records
        }
        return {key: rows.get(key) for key in keys}


def broken(records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each record broken in each of its members, with positions of their own."""
    position = 10**6
    for record in records:
        for spoil in SPOILS:
            twisted = copy.deepcopy(record)
            spoil(twisted)
            position += 1
            twisted["dynamodb"]["SequenceNumber"] = f"{position:021d}"
            yield twisted


def _each_attribute(record: dict[str, Any], wire: object) -> None:
    for member in ("NewImage", "OldImage"):
        for name in record["dynamodb"].get(member, {}):
            record["dynamodb"][member][name] = wire


SPOILS: list[Callable[[dict[str, Any]], object]] = [
    lambda record: record.update(eventName="UPSERT"),
    lambda record: record["dynamodb"].pop("ApproximateCreationDateTime"),
    lambda record: record["dynamodb"].update(Keys={}),
    lambda record: record["dynamodb"].pop("NewImage", None) and record["dynamodb"].pop("OldImage", None),
    lambda record: record["dynamodb"]["Keys"].update(
        {name: {"Z": wire} for name, wire in record["dynamodb"]["Keys"].items()}
    ),
    lambda record: _each_attribute(record, {"Q": "unknown type"}),
    lambda record: _each_attribute(record, "no map"),
]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_produced_holds_a_secret(name: str) -> None:
    """Records, observer records, live index items, log lines, metrics and errors, from good and from broken input."""
    kept = secrets(name)
    assert kept or name == "iceberg"
    output = produced(read(CAPTURES / f"{name}.jsonl"), source(LAYOUT_OF.get(name, name)))
    assert len(output) > 10_000
    assert not [secret for secret in kept if secret in output]


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_produced_from_a_layouts_cases_holds_a_secret(name: str) -> None:
    """The same for every layout, by the attributes that it names as secrets."""
    file = FILES[name]
    kept = named_secrets(file)
    assert kept or file.source.kind == "lock"
    output = produced([file.raw(case, n) for n, case in enumerate(file.cases, 1)], file.source)
    assert len(output) > 10_000
    assert not [secret for secret in kept if secret in output]


def named_secrets(file: CaseFile) -> set[str]:
    """Collect what stands in the attributes that a file's layouts call secret, and ids without what is put before them.

    What is shorter than eight characters would be found by chance.
    """
    names = {name for layout in file.source.layouts if isinstance(layout, Spec) for name in layout.secrets}
    found: set[str] = set()
    for case in file.cases:
        for image in (case.old or {}, case.new or {}):
            for name in names & image.keys():
                spelled = next(iter(image[name].values()))
                text = spelled if isinstance(spelled, str) else json.dumps(spelled)
                found |= {text} if "{" in text else {text, re.split("[#:_]", text)[-1]}
    return {text for text in found if len(text) >= SECRET_CHARS_MIN}


SECRET_CHARS_MIN = 8


def produced(records: list[dict[str, Any]], src: Source) -> str:
    """Run records, then all of them broken, through a processor; return everything that came out."""
    shard = ShardRef("arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026-11-23T08:00:00.000", "shardId-1")
    clock, trail, live, meter = FakeClock(), MemoryTrail(), MemoryLive(), PrometheusMeter()
    log, heard = io.StringIO(), list[Any]()
    with ExitStack() as stack:
        stack.callback(structlog.reset_defaults)
        logs.configure("debug", "json", log)
        watch = LapseWatch({src.id: src}, PUBLIC_KEYS, AlwaysThere(records), trail, clock, meter, heard.extend)
        state = FakeDynamoDB(state_table("state").create)
        store = UndecodableTable(
            state.client, "state", PUBLIC_KEYS.seal, Retrier(FakeStop(clock), meter), lambda: bytes(12), UNLIMITED
        )
        neighbours = Neighbours(trail, live, watch, store, clock, meter, heard.extend, rearmed=lambda: None)

        def begun() -> ShardProcessor:
            made = ShardProcessor(shard, (src,), PUBLIC_KEYS, "TRIM_HORIZON", neighbours)
            made.initialize(shard, None)
            return made

        processor = begun()
        processor.process_records(records, caught_up=True)
        clock.advance(10_000)
        processor.tick()
        processor.process_records(list(broken(records)), caught_up=True)
        processor.flush()
        errors = list(error_texts(begun, trail, records))
    items = [str(to_item(shard, entry, PUBLIC_KEYS, bytes(12))) for entry in all_entries(live, src, records)]
    bodies = [body.decode() for body in trail.all_bodies()]
    keys = [f"{pk} {sk}" for pk, sk in trail.items]
    items += [repr(item) for item in state.items("state")]
    return "\n".join([*bodies, *keys, *items, json.dumps(heard), log.getvalue(), meter.render().decode(), *errors])


def all_entries(live: MemoryLive, src: Source, records: list[dict[str, Any]]) -> Iterator[LiveEntry]:
    """Yield what the live index holds, and an entry for every row that ever stood in the table."""
    yield from live.entries.values()
    for record in records:
        change = decode_record(record, SHARD, src.key_schema, 60_000)
        _, told = interpret_for(change, (src,))
        if told.after is not None:
            yield LiveEntry("entity", src.id, told.after, change.sequence_number)


def error_texts(
    begun: Callable[[], ShardProcessor], trail: MemoryTrail, records: list[dict[str, Any]]
) -> Iterator[str]:
    """Provoke errors whose causes quote rows, as AWS and Python do; yield what is shown of them."""
    row = json.dumps(records[0], default=str)
    quoting = ClientError({"Error": {"Code": "ValidationException", "Message": row}}, "BatchWriteItem")
    for number, error in enumerate([quoting, KeyError(row), ValueError(row)]):
        again = copy.deepcopy(records[0])
        again["dynamodb"]["SequenceNumber"] = str(10**30 + number)
        again["eventName"] = "UPSERT"
        processor = begun()
        trail.fail.append(error)
        with pytest.raises(type(error)) as quoted:
            processor.process_records([again], caught_up=True)
        yield from trace(quoted.value)
        structlog.get_logger().error("shown", exc_info=quoted.value)
    placeless = copy.deepcopy(records[0])
    placeless["dynamodb"]["SequenceNumber"] = row
    with pytest.raises(FaultyPageError) as caught:
        begun().process_records([placeless], caught_up=True)
    yield str(caught.value)
    samples = [Sample(r["dynamodb"]["Keys"], r["dynamodb"].get("NewImage", {})) for r in records]
    yield str(detect(samples, tuple(builtin())))
