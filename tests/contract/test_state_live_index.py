"""The live index on real conditions of both emulators."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockside.aws.retrying import Retrier
from lockside.core.change import ShardRef
from lockside.core.entity import EntityKey, Key, Keys
from lockside.core.event import Hold
from lockside.core.ports import LiveEntry, LiveRemoval
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.errors import ConfigError
from lockside.state.live_index import LiveTable, from_item, to_item, version_digest
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.state_table import dynamodb, make_state_table
from tests.fakes.streams import arn_of

SHARD = ShardRef(arn_of("locks"), "shardId-a")
KEYS = Keys(Key("e", b"entity"), Key("i", b"image"), Key("seal-1", bytes(range(32))))
HOLD = Hold(
    kind="lock",
    key=EntityKey((("S", "secret-key"), ("B", "AAE="))),
    actor="secret-actor",
    version="secret-version",
    lease_ms=30_000,
    deadline_ms=None,
    grace_ms=0,
    created_ms=1_000,
    armed=True,
)


@pytest.fixture
def pool() -> Iterator[Executor]:
    """Return a small pool."""
    with ThreadPoolExecutor(4) as running:
        yield running


@pytest.fixture
def live(backend: Emulator, pool: Executor) -> LiveTable:
    """Return the live index of a new state table."""
    client = dynamodb(backend)
    stop = FakeStop(FakeClock())
    return LiveTable(client, make_state_table(client), KEYS, Retrier(stop, NoMeter()), pool, lambda: bytes(12))


def entry(name: str, position: int, **changes: Any) -> LiveEntry:
    """Build an entry."""
    return LiveEntry(name, "src", replace(HOLD, **changes), position)


def positions(live: LiveTable) -> dict[str, int]:
    """Read the index: entity to position."""
    return {found.entity_id: found.position for found in live.entries(SHARD)}


def test_entries_are_read_back_as_they_were_written(live: LiveTable) -> None:
    """Many at once, opened, under their own shard only."""
    written = [entry(f"e{number}", number) for number in range(30)]
    live.apply(SHARD, written)
    live.apply(ShardRef(SHARD.stream_arn, "shardId-b"), [entry("other", 1)])
    assert sorted(live.entries(SHARD), key=lambda found: found.position) == written


def test_an_older_write_changes_nothing(live: LiveTable) -> None:
    """A replay or a zombie leaves what is newer, and is told nothing."""
    live.apply(SHARD, [entry("e", 10**22, actor="new")])
    live.apply(SHARD, [entry("e", 9 * 10**20, actor="old")])
    live.apply(SHARD, [LiveRemoval("e", 9 * 10**20)])
    assert [(found.position, found.hold.actor) for found in live.entries(SHARD)] == [(10**22, "new")]


def test_a_newer_write_stands(live: LiveTable) -> None:
    """A later hold of the same entity takes its entry over."""
    live.apply(SHARD, [entry("e", 1, actor="old")])
    live.apply(SHARD, [entry("e", 2, actor="new")])
    assert [(found.position, found.hold.actor) for found in live.entries(SHARD)] == [(2, "new")]


def test_a_removal_ends_what_is_not_newer(live: LiveTable) -> None:
    """Removed by the change itself or a later one; removing what is gone is done already."""
    live.apply(SHARD, [entry("same", 5), entry("older", 4), entry("newer", 6)])
    live.apply(
        SHARD, [LiveRemoval("same", 5), LiveRemoval("older", 5), LiveRemoval("newer", 5), LiveRemoval("none", 5)]
    )
    assert positions(live) == {"newer": 6}


def test_nothing_to_apply_is_no_call(live: LiveTable) -> None:
    """An empty batch costs nothing."""
    live.apply(SHARD, [])
    assert positions(live) == {}


def test_a_refused_write_is_raised(live: LiveTable) -> None:
    """An error that is neither passing nor a condition comes out, from the pool too."""
    broken = replace(live, table="no-such-table")
    with pytest.raises(Exception, match="ResourceNotFoundException"):
        broken.apply(SHARD, [entry("a", 1), entry("b", 2)])


def test_nothing_secret_stands_in_clear() -> None:
    """Neither the row's key nor its actor nor its version can be read off an item."""
    item = to_item(SHARD, entry("e", 1), KEYS, bytes(12))
    assert b"secret" not in repr(item).encode()
    assert item["version"]["S"] == version_digest(KEYS.entity, "e", "secret-version")
    assert version_digest(KEYS.entity, "other", "secret-version") != item["version"]["S"]


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, {"N": "31000"}),
        ({"lease_ms": None, "deadline_ms": 90_000, "grace_ms": 500}, {"N": "90500"}),
        ({"armed": False}, None),
        ({"lease_ms": None}, None),
    ],
)
def test_due_time(changes: dict[str, Any], due: dict[str, str] | None) -> None:
    """Lease or deadline decide; what is not armed has no due time."""
    assert to_item(SHARD, entry("e", 1, **changes), KEYS, bytes(12)).get("due_ms") == due


def test_another_seal_key_is_named() -> None:
    """With the wrong keys file the message names both keys and the way out."""
    item = to_item(SHARD, entry("e", 1), KEYS, bytes(12))
    with pytest.raises(ConfigError, match="seal key seal-1, the keys file's is seal-2"):
        from_item(item, replace(KEYS, seal=Key("seal-2", bytes(32))))


def test_a_sealed_value_belongs_to_its_item() -> None:
    """Moved to another entity, it does not open."""
    item = to_item(SHARD, entry("e", 1), KEYS, bytes(12))
    with pytest.raises(ConfigError):
        from_item(item | {"sk": {"S": "f"}}, KEYS)


@given(
    st.builds(
        Hold,
        kind=st.sampled_from(["lock", "session"]),
        key=st.lists(st.tuples(st.sampled_from("SNB"), st.text()), min_size=1, max_size=2).map(
            lambda parts: EntityKey(tuple(parts))
        ),
        actor=st.none() | st.text(),
        version=st.none() | st.text(),
        lease_ms=st.none() | st.integers(),
        deadline_ms=st.none() | st.integers(),
        grace_ms=st.integers(),
        created_ms=st.integers(),
        armed=st.booleans(),
    ),
    st.binary(min_size=12, max_size=12),
)
def test_every_hold_survives_sealing(hold: Hold, nonce: bytes) -> None:
    """An item opens to exactly the entry it was made of."""
    written = LiveEntry("e", "src", hold, 7)
    assert from_item(to_item(SHARD, written, KEYS, nonce), KEYS) == written
