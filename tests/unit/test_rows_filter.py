"""Several sources on one stream: which has a row, what of it is in the recipe, and what is told of rows without one."""

import json
from typing import Any

import pytest
import structlog

from lockside.app.sources import shadowed
from lockside.core.batch import UNCLAIMED_NAMES_MAX, Memory, Reader
from lockside.core.decode import decode_record
from lockside.core.entity import PUBLIC_KEYS, KeySchema
from lockside.core.interpret import interpret_for
from lockside.core.now import Now
from lockside.core.recipe import Source, recipe_digest, recipe_json
from lockside.engines.processor import UNCLAIMED_KINDS_MAX
from lockside.layouts.registry import builtin
from lockside.layouts.schema import KeyRuleData, Rows
from lockside.layouts.spec import row_rule
from lockside.settings import SourceSettings
from tests.fakes.changes import recipe
from tests.fakes.shard import ShardRig
from tests.fakes.sources import SHARD, pydynlock, wire

KEY = {"lock_key": {"S": "job"}, "sort_key": {"S": "-"}}
SCHEMA = KeySchema(("lock_key", "sort_key"))


def filtered(name: str, rows: Rows) -> Source:
    """Make a source of pydynlock rows within a filter."""
    (spec,) = builtin().find("pydynlock")
    own = spec.within(row_rule(rows))
    made = recipe(source_id=name, layouts=((own.name, own.digest),), key_names=SCHEMA.names)
    return Source(name, "locks", "lock", (own,), SCHEMA, made)


def key(partition: str, sort: str = "-") -> dict[str, Any]:
    """Make a key."""
    return {"lock_key": {"S": partition}, "sort_key": {"S": sort}}


def owner(sources: tuple[Source, ...], keys: dict[str, Any], row: dict[str, Any]) -> str | None:
    """Say which source has a row that appears."""
    change = decode_record(wire(1, keys, None, row), SHARD, SCHEMA, 1_000)
    found = interpret_for(change, sources)[0]
    return None if found is None else found.id


def test_sources_part_a_table_by_key_and_attribute() -> None:
    """Partition, sort key and attributes part the rows; what no source claims has none."""
    row = pydynlock("alpha", "v1")
    by_partition = filtered("a", Rows(partition=KeyRuleData(prefix=["A#"])))
    by_sort = filtered("b", Rows(sort=KeyRuleData(equals=["LOCK"])))
    by_value = filtered("c", Rows(equals={"team": ["red"]}, absent=["old"]))
    sources = (by_partition, by_sort, by_value)
    assert owner(sources, key("A#1"), row) == "a"
    assert owner(sources, key("x", "LOCK"), row) == "b"
    assert owner(sources, key("x"), {**row, "team": {"S": "red"}}) == "c"
    assert owner(sources, key("x"), {**row, "team": {"S": "red"}, "old": {"S": ""}}) is None
    assert owner(sources, key("x"), row) is None


def test_the_first_source_that_claims_a_row_has_it() -> None:
    """Where filters overlap the order decides, and nothing is told twice."""
    wide, narrow = filtered("wide", Rows(required={"owner_name": ["S"]})), filtered("narrow", Rows())
    assert owner((wide, narrow), KEY, pydynlock("alpha", "v1")) == "wide"
    assert owner((narrow, wide), KEY, pydynlock("alpha", "v1")) == "narrow"


def test_a_row_that_leaves_the_filter_is_gone_for_its_source() -> None:
    """A filter on an attribute that changes makes rows come and go; the lock is held on, and its source cannot tell."""
    source = filtered("red", Rows(equals={"team": ["red"]}))
    row = pydynlock("alpha", "v1")
    red, blue = {**row, "team": {"S": "red"}}, {**row, "team": {"S": "blue"}}
    change = decode_record(wire(1, KEY, red, blue), SHARD, SCHEMA, 1_000)
    told = interpret_for(change, (source,))[1]
    assert told.event is not None
    assert (told.event.type, told.event.certainty) == ("lock.changed", "unknown")
    assert told.after is None


def test_the_filter_is_part_of_the_recipe_and_no_filter_is_as_before() -> None:
    """Another filter makes another recipe; a source without one keeps the recipe it had before there were filters."""
    plain = recipe()
    assert "rows" not in plain.as_json()
    digests = {
        recipe_digest({"sources": [one.as_json()]})
        for one in (plain, recipe(rows='{"absent":["a"]}'), recipe(rows='{"absent":["b"]}'))
    }
    assert len(digests) == 3


def test_heartbeats_within_a_filter_are_the_same_quickly_and_slowly() -> None:
    """A filter on attributes leaves the quick way open; one on keys closes it; both tell the same of each row."""
    by_value = filtered("a", Rows(equals={"team": ["red"]}))
    by_key = filtered("b", Rows(partition=KeyRuleData(prefix=["j"])))
    assert by_value.layouts[0].pulse is not None
    assert by_key.layouts[0].pulse is None
    for source, team, renewals in ((by_value, "red", 1), (by_value, "blue", 0), (by_key, "red", 1)):
        rows = [{**pydynlock("alpha", version), "team": {"S": team}} for version in ("v1", "v2")]
        page = [wire(1, KEY, None, rows[0]), wire(2, KEY, rows[0], rows[1])]
        batch = Reader(SHARD, (source,), PUBLIC_KEYS).take_in(page, Memory(), None, Now(0, 0))
        assert batch.events.get("lock.renewed", 0) == renewals
        assert batch.unclaimed == (0 if renewals else 2)


def test_locks_and_sessions_of_one_stream_are_each_told_by_their_source() -> None:
    """ShedLock beside Flask sessions beside an application's own rows: two kinds in one log, one row unclaimed."""
    schema = KeySchema(("id",))

    def made(layout: str, rows: Rows, **renamed: str) -> Source:
        spec = builtin().find(layout)[0].with_overrides(renamed).within(row_rule(rows))
        own = recipe(source_id=layout, kind=spec.traits.kind, layouts=((spec.name, spec.digest),), key_names=("id",))
        return Source(layout, "shared", spec.traits.kind, (spec,), schema, own)

    sources = (made("shedlock", Rows(), _id="id"), made("flask-session", Rows(required={"val": ["B"]})))
    lock = {
        "lockUntil": {"S": "2026-11-23T09:00:00.000Z"},
        "lockedAt": {"S": "2026-11-23T08:00:00.000Z"},
        "lockedBy": {"S": "host"},
    }
    session = {"val": {"B": "gahfdXNlcl9pZKRkYXZl"}, "expiration": {"N": "1795431400"}}
    rows = (("job", lock), ("session:a", session), ("order-1", {"total": {"N": "1"}}))
    page = [wire(n, {"id": {"S": key}}, None, row) for n, (key, row) in enumerate(rows, start=1)]
    batch = Reader(SHARD, sources, PUBLIC_KEYS).take_in(page, Memory(), None, Now(0, 0))
    assert batch.events == {"lock.acquired": 1, "session.started": 1}
    assert (batch.unclaimed, batch.unclaimed_names) == (1, {frozenset({"id", "total"})})
    assert [json.loads(record.body)["data"]["source"] for record in batch.records] == ["shedlock", "flask-session"]
    assert len({json.loads(record.body)["data"]["recipe"] for record in batch.records}) == 2


def test_rows_of_no_source_are_counted_and_named_by_their_attributes_only() -> None:
    """A few kinds of them are remembered, whatever comes, and no value of any."""
    source = filtered("a", Rows(partition=KeyRuleData(prefix=["A#"])))
    page = [wire(n + 1, KEY, None, {"secret": {"S": "hunter2"}, f"name{n}": {"S": "x"}}) for n in range(40)]
    batch = Reader(SHARD, (source,), PUBLIC_KEYS).take_in(page, Memory(), None, Now(0, 0))
    assert (batch.unclaimed, len(batch.unclaimed_names)) == (40, UNCLAIMED_NAMES_MAX)
    assert batch.consumed == batch.unclaimed
    assert frozenset({*KEY, "secret", "name0"}) in batch.unclaimed_names
    assert "hunter2" not in repr(batch.unclaimed_names)


def test_each_kind_of_row_without_a_source_is_logged_once() -> None:
    """The log names attributes, escaped and cut, never a value; and not for ever."""
    shard = ShardRig(filtered("a", Rows(partition=KeyRuleData(prefix=["A#"]))))
    with structlog.testing.capture_logs() as logs:
        for n in range(3):
            shard.table.put(key(f"x{n}"), {"to\ntal": {"S": "hunter2"}, "n" * 99: {"S": "1"}})
            shard.consume()
        for n in range(2 * UNCLAIMED_KINDS_MAX):
            shard.table.put(key("y"), {f"user-{n}": {"S": "hunter2"}})
            shard.consume()
    told = [line for line in logs if line["event"] == "rows_unclaimed"]
    assert len(told) == UNCLAIMED_KINDS_MAX
    assert told[0]["attributes"] == ["lock_key", f"{'n' * 64}…", "sort_key", "to\\ntal"]
    assert "hunter2" not in repr(logs)


@pytest.mark.parametrize(
    ("first", "second", "shadows"), [("flask-session", "pydynlock", True), ("pydynlock", "flask-session", False)]
)
def test_a_source_that_can_never_get_a_row_is_refused(first: str, second: str, *, shadows: bool) -> None:
    """A layout that asks nothing of a row leaves none to the sources after it; with a filter it does."""
    sources = [SourceSettings(id=str(n), table="tab", layout=name) for n, name in enumerate((first, second))]
    specs = {n: builtin().find(each.layout) for n, each in enumerate(sources)}
    found = shadowed(sources, specs)
    assert (1 in found) == shadows
    if shadows:
        assert "source[0] before it takes every row" in found[1]
        own = {0: (specs[0][0].within(row_rule(Rows(required={"val": ["B"]}))),), 1: specs[1]}
        assert shadowed(sources, own) == {}


def test_recipes_of_sources_on_one_stream_are_kept_together() -> None:
    """A log's recipe is that of all its sources, in order."""
    sources = (filtered("a", Rows(absent=["x"])), filtered("b", Rows()))
    assert [one["source"] for one in recipe_json(sources)["sources"]] == ["a", "b"]
