"""Keys and items of the audit table: legal whatever they hold, ordered as text, the same for the same record."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockside.audit import items
from lockside.audit.items import PARTITION_BYTES_MAX, SORT_BYTES_MAX, Retention
from lockside.audit.stored import read_entry, read_stored
from lockside.aws.tables import ACTOR_KEY, ACTOR_SORT, LOG_KEY, LOG_SORT, PK, SK, audit_table, state_table
from lockside.core.log import LogHead, append
from lockside.core.records import ChangeRecord
from tests.fakes.clock import START_MS

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=3000)
TIMES = st.integers(min_value=-(10**18), max_value=10**18)


def placed(record: ChangeRecord, log: str = "log/1") -> dict[str, object]:
    """Return the item of a record at the start of a log."""
    _, [at_start] = append(LogHead(log, 1), [record])
    return items.change_item(at_start, Retention())


@given(pk=TEXT, sort=TEXT, actor=st.none() | TEXT, time_ms=TIMES)
def test_no_text_or_time_makes_an_item_illegal(pk: str, sort: str, actor: str | None, time_ms: int) -> None:
    """Every key of an item is non-empty and within DynamoDB's limits."""
    item = placed(ChangeRecord(f"E#{pk}", sort, "I", "lock.acquired", time_ms, 1, actor, b"{}"))
    limits = {PK: PARTITION_BYTES_MAX, SK: SORT_BYTES_MAX, LOG_KEY: PARTITION_BYTES_MAX, LOG_SORT: SORT_BYTES_MAX}
    limits |= {ACTOR_KEY: PARTITION_BYTES_MAX, ACTOR_SORT: SORT_BYTES_MAX} if actor else {}
    assert (ACTOR_KEY in item) == bool(actor)
    for name, limit in limits.items():
        value = item[name]
        assert isinstance(value, dict)
        assert 0 < len(value["S"].encode()) <= limit


@given(st.lists(st.tuples(st.integers(0, items.TIME_MS_MAX), st.integers(0, 10**12 - 1)), min_size=2, max_size=5))
def test_text_order_of_places_is_their_order(places: list[tuple[int, int]]) -> None:
    """Sorting the keys of the index by log sorts records by time, then by index."""
    assert sorted(items.log_sort(*place) for place in places) == [items.log_sort(*place) for place in sorted(places)]


def test_long_keys_that_differ_at_the_end_stay_different() -> None:
    """What does not fit is replaced by a digest of all of it."""
    one, other = (items.key("x" * 5000 + end, "s")[PK]["S"] for end in "ab")
    assert one != other


def test_a_record_reads_back_as_it_was_put() -> None:
    """What a reader gets are the very bytes, the place and the time that were put."""
    record = ChangeRecord("E#a", "label#0001#0", "I", "lock.acquired", START_MS, 1, "ü", orjson.dumps({"a": "ü\x00"}))
    stored = read_stored(placed(record))
    assert stored.body == record.body
    assert (stored.entry.place.log, stored.entry.place.index) == ("log/1", 0)
    assert (stored.entry.key, stored.entry.time_ms) == (("E#a", "label#0001#0#1"), START_MS)
    assert stored.position == ("label", "0001")


def test_an_unknown_time_is_that_of_the_log() -> None:
    """A record whose change told no time counts as of its place in the log."""
    _, [_, later] = append(
        LogHead("log/1", 1),
        [
            ChangeRecord("E#a", "l#1#0", "I", "lock.acquired", START_MS, 1, None, b"{}"),
            ChangeRecord("E#a", "l#2#0", "I", "stream.undecodable", 0, 2, None, b"{}"),
        ],
    )
    assert read_entry(items.change_item(later, Retention())).effective_ms == START_MS


def test_retention_counts_from_the_records_own_time() -> None:
    """A replay gives the same expiry, in the epoch seconds that TTL wants; without retention there is none."""
    assert Retention(30).expiry(START_MS + 999) == {"exp": {"N": str(START_MS // 1000 + 30 * 86_400)}}
    assert Retention().expiry(START_MS) == {}


@given(
    size=st.integers(0, 2**20),
    last=st.none() | st.integers(0, 10**40 - 1),
    peaks=st.lists(st.binary(min_size=32, max_size=32), max_size=20),
    running=TIMES,
)
def test_a_head_reads_back_as_it_was_put(size: int, last: int | None, peaks: list[bytes], running: int) -> None:
    """Nothing of a head is lost in the table."""
    head = LogHead("log/3", 3, size, tuple(peaks), last, running)
    assert items.read_head("log/3", items.head_item(head)) == head


@pytest.mark.parametrize("definition", [audit_table("a-table"), state_table("a-table")], ids=lambda each: each.purpose)
def test_every_key_of_a_table_is_defined(definition: object) -> None:
    """CreateTable refuses attributes that are defined and not used, and keys that are not defined."""
    create = definition.create  # type: ignore[attr-defined]
    indexes = create.get("GlobalSecondaryIndexes", [])
    used = {element["AttributeName"] for schema in (create, *indexes) for element in schema["KeySchema"]}
    assert used == {each["AttributeName"] for each in create["AttributeDefinitions"]}
    assert create["DeletionProtectionEnabled"]
    assert create["BillingMode"] == "PAY_PER_REQUEST"
