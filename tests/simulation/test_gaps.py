"""The checker of losses: what was never promised stays so."""

from typing import Final

import pytest

from lockside.core.change import ShardRef
from lockside.core.entity import EntityKey
from tests.fakes.clock import START_MS
from tests.fakes.stream_model import Options, StreamModel
from tests.simulation.gaps import Gaps
from tests.simulation.oracle import Oracle
from tests.simulation.table import Accepted, History

LOST: Final = 3
HELD: Final = 2


@pytest.fixture
def history() -> History:
    """Return a stream of one shard with five changes, of which three were trimmed before anybody read."""
    stream = StreamModel(Options()).add_stream("locks", START_MS, shards=1)
    [shard] = stream.shards.values()
    ref = ShardRef(stream.arn, shard.shard_id)
    numbers = list(range(1, LOST + HELD + 1))
    shard.numbers, shard.records, shard.trimmed = numbers, [{} for _ in numbers], LOST
    changes = [Accepted(ref, number, START_MS + number, EntityKey((("S", "job"),)), {}) for number in numbers]
    return History(stream, changes, {ref: changes})


def test_what_was_lost_before_a_shard_was_begun_was_never_promised(history: History) -> None:
    """Whether it is begun with a tip of what it came from or without, and however often it is told of."""
    [shard] = history.shards
    gaps = Gaps()
    oracle = Oracle([{shard.stream_arn: history}], begun_ms={shard.stream_arn: START_MS + 1_000})
    gaps.meet(shard, oracle)
    gaps.promised.add(shard)
    gaps.meet(shard, oracle)
    assert gaps.end(shard) == LOST
    excused = [gaps.excuse(change, oracle) for change in history.changes]
    assert excused == [True] * LOST + [False] * HELD


def test_what_is_lost_after_a_shard_was_promised_is_a_loss(history: History) -> None:
    """Only a declared gap excuses it."""
    [shard] = history.shards
    truly = history.shard(shard)
    truly.trimmed = 0
    gaps = Gaps()
    oracle = Oracle([{shard.stream_arn: history}], begun_ms={shard.stream_arn: START_MS})
    gaps.meet(shard, oracle)
    gaps.promised.add(shard)
    truly.trimmed = LOST
    gaps.meet(shard, oracle)
    assert [gaps.excuse(change, oracle) for change in history.changes] == [False] * (LOST + HELD)


def test_until_it_is_promised_more_may_be_lost_of_a_shard_that_is_begun(history: History) -> None:
    """Its row is there and nothing was read: what is trimmed by then is left out with the rest."""
    [shard] = history.shards
    truly = history.shard(shard)
    truly.trimmed = 1
    gaps = Gaps()
    oracle = Oracle([{shard.stream_arn: history}], begun_ms={shard.stream_arn: START_MS + 1_000})
    gaps.meet(shard, oracle)
    truly.trimmed = LOST
    gaps.meet(shard, oracle)
    assert gaps.end(shard) == LOST
