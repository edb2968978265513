"""The live index on real conditions of both emulators."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, cast

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
from lockside.ops.heartbeat import SILENCE_MAX_MS, Heartbeats
from lockside.state.live_index import LiveTable, from_item, to_item, version_digest
from lockside.state.live_statements import Statements
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.state_table import dynamodb, make_state_table
from tests.fakes.streams import arn_of, client_error

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


@pytest.fixture(params=["singly", "batched"])
def live(request: pytest.FixtureRequest, backend: Emulator, pool: Executor) -> LiveTable:
    """Return the live index of a new state table, written singly and in batches, which moto does not know."""
    client = dynamodb(backend)
    table = make_state_table(client)
    statements = Statements(client, table) if request.param == "batched" else None
    return LiveTable(
        client, table, KEYS, Retrier(FakeStop(FakeClock()), NoMeter()), pool, lambda: bytes(12), statements
    )


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
    statements = live.statements and Statements(live.client, "no-such-table")
    broken = replace(live, table="no-such-table", statements=statements)
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
        ({"lease_ms": None, "stale_ms": 60_000}, {"N": "61000"}),
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
        stale_ms=st.none() | st.integers(),
    ),
    st.binary(min_size=12, max_size=12),
)
def test_every_hold_survives_sealing(hold: Hold, nonce: bytes) -> None:
    """An item opens to exactly the entry it was made of."""
    written = LiveEntry("e", "src", hold, 7)
    assert from_item(to_item(SHARD, written, KEYS, nonce), KEYS) == written


def test_a_retry_in_the_pool_is_a_sign_of_life(live: LiveTable) -> None:
    """Whoever waits for several writes waits for AWS, and a restart would not help it."""
    clock = FakeClock()
    beats = Heartbeats(clock)
    refusals = [client_error("ThrottlingException", "PutItem")]

    class Late:
        def put_item(self, **request: Any) -> Any:
            if refusals:
                clock.advance(SILENCE_MAX_MS / 1000 + 1)
                raise refusals.pop()
            return live.client.put_item(**request)

    retrier = Retrier(FakeStop(clock), NoMeter(), beats.wait_here)
    beats.beat_here()
    replace(live, client=cast("Any", Late()), retrier=retrier).apply(SHARD, [entry("a", 1), entry("b", 2)])
    assert beats.silent() == []
    assert positions(live) == {"a": 1, "b": 2}


@dataclass
class Counting:
    """A client that counts its calls, and changes the answer of batches where it is told to."""

    client: Any
    calls: Counter[str] = field(default_factory=Counter)
    answer: Callable[[Any], Any] = lambda response: response

    def __getattr__(self, name: str) -> Any:
        """Hand on a call."""

        def call(**request: Any) -> Any:
            self.calls[name] += 1
            response = getattr(self.client, name)(**request)
            return self.answer(response) if name == "batch_execute_statement" else response

        return call


@pytest.fixture
def batched(dynamodb_local: Emulator, pool: Executor) -> tuple[LiveTable, Counting]:
    """Return a batched index where batches work, and what counts its calls."""
    client = dynamodb(dynamodb_local)
    counting = Counting(client)
    table = make_state_table(client)
    through = cast("Any", counting)
    retrier = Retrier(FakeStop(FakeClock()), NoMeter())
    return LiveTable(through, table, KEYS, retrier, pool, lambda: bytes(12), Statements(through, table)), counting


def test_a_full_batch_is_one_call(batched: tuple[LiveTable, Counting]) -> None:
    """25 begins, 25 ends: two calls; what is over goes in a call of its own."""
    live, counting = batched
    live.apply(SHARD, [entry(f"e{number}", 1) for number in range(25)])
    live.apply(SHARD, [LiveRemoval(f"e{number}", 2) for number in range(25)])
    assert counting.calls == {"batch_execute_statement": 2}
    live.apply(SHARD, [entry(f"e{number}", 3) for number in range(27)])
    assert counting.calls == {"batch_execute_statement": 4}
    assert set(positions(live)) == {f"e{number}" for number in range(27)}


def test_begins_and_ends_share_a_call(batched: tuple[LiveTable, Counting]) -> None:
    """They are writes alike."""
    live, counting = batched
    live.apply(SHARD, [entry("a", 1), entry("b", 1)])
    live.apply(SHARD, [LiveRemoval("a", 2), entry("c", 2), LiveRemoval("never", 2)])
    assert positions(live) == {"b": 1, "c": 2}
    assert counting.calls["batch_execute_statement"] == 2
    assert counting.calls["put_item"] == counting.calls["delete_item"] == 0


def test_what_is_there_already_is_put_singly(batched: tuple[LiveTable, Counting]) -> None:
    """An insert refused for its key is put under its condition: newer stands, older changes nothing."""
    live, counting = batched
    live.apply(SHARD, [entry("new", 5, actor="old"), entry("old", 5, actor="stays")])
    live.apply(SHARD, [entry("new", 6, actor="new"), entry("old", 4, actor="zombie"), entry("other", 6)])
    found = {each.entity_id: (each.position, each.hold.actor) for each in live.entries(SHARD)}
    assert found == {"new": (6, "new"), "old": (5, "stays"), "other": (6, "secret-actor")}
    assert counting.calls["put_item"] == 2


def test_a_throttled_statement_is_written_singly(batched: tuple[LiveTable, Counting]) -> None:
    """A statement may fail while others of its call succeed."""
    live, counting = batched

    def throttled(response: Any) -> Any:
        return {"Responses": [{"Error": {"Code": "ThrottlingError"}}, *response["Responses"][1:]]}

    counting.answer = throttled
    live.apply(SHARD, [entry("a", 1), entry("b", 1)])
    live.apply(SHARD, [LiveRemoval("a", 2), LiveRemoval("b", 1)])
    assert positions(live) == {}
    assert (counting.calls["put_item"], counting.calls["delete_item"]) == (1, 1)


def test_an_answer_that_was_lost_is_made_good(batched: tuple[LiveTable, Counting]) -> None:
    """The batch was written and nobody knows: every entry is written again, singly, to the same end."""
    live, counting = batched

    def lost(_response: Any) -> Any:
        raise client_error("InternalServerError", "BatchExecuteStatement")

    live.apply(SHARD, [entry("x", 1), entry("y", 1)])
    counting.answer = lost
    live.apply(SHARD, [entry("a", 1), entry("b", 1), LiveRemoval("x", 2)])
    assert positions(live) == {"a": 1, "b": 1, "y": 1}
    counting.answer = lambda response: response
    live.apply(SHARD, [entry("c", 3), entry("d", 3)])
    assert counting.calls["batch_execute_statement"] == 3, "one that worked before is tried again"


def test_trouble_at_the_first_call_ends_no_batching(batched: tuple[LiveTable, Counting]) -> None:
    """A worker that starts while its table is throttled would pay 25 times the calls for as long as it runs."""
    live, counting = batched

    def throttled(_response: Any) -> Any:
        raise client_error("ThrottlingException", "BatchExecuteStatement")

    counting.answer = throttled
    live.apply(SHARD, [entry("a", 1), entry("b", 1)])
    counting.answer = lambda response: response
    live.apply(SHARD, [entry("c", 3), entry("d", 3)])
    assert counting.calls["batch_execute_statement"] == 2
    assert set(positions(live)) == {"a", "b", "c", "d"}


def test_an_endpoint_that_knows_no_batches_is_asked_once(moto: Emulator, pool: Executor) -> None:
    """Moto 5.2 answers them with an error: entries are written singly from then on, and all the same."""
    client = dynamodb(moto)
    counting = Counting(client)
    table = make_state_table(client)
    through = cast("Any", counting)
    retrier = Retrier(FakeStop(FakeClock()), NoMeter())
    live = LiveTable(through, table, KEYS, retrier, pool, lambda: bytes(12), Statements(through, table))
    live.apply(SHARD, [entry("a", 1), entry("b", 1)])
    live.apply(SHARD, [entry("c", 1), LiveRemoval("a", 1)])
    assert counting.calls == {"batch_execute_statement": 1, "put_item": 3, "delete_item": 1}
    assert positions(live) == {"b": 1, "c": 1}
