"""Edge cases of what a stream no longer has: 1, 14, 15 and 26 of the list of what a streams consumer meets.

The real engine through boto3, against the fake streams server.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import CheckpointPolicy
from lockside.engines.tables import FollowedTables
from lockside.errors import SetupError, StreamLostError
from lockside.state.streams import Streams
from tests.fakes.state_table import dynamodb
from tests.fakes.stream_rig import ServerRig

DAY = 24 * 3_600.0


@pytest.fixture
def rig(moto: Emulator) -> Iterator[ServerRig]:
    """Return an engine over a stream of one open shard, two records a page, a checkpoint after each."""
    with ServerRig.over(moto) as made:
        made.settings = replace(made.settings, checkpoint=CheckpointPolicy(records=1), page_records=2)
        made.add("root")
        yield made


@pytest.fixture
def following(rig: ServerRig) -> Iterator[ServerRig]:
    """Return the same, with an engine that follows its table."""
    tables = dynamodb(rig.server.emulator)
    rig.known = FollowedTables(tables, Streams(rig.state.client, rig.state.table, rig.state.retrier))
    yield rig
    tables.close()


def told(rig: ServerRig) -> list[tuple[str, int | None, int | None]]:
    """Return the gaps told of: how, after which position, before which."""
    return [(gap.loss, gap.after, gap.until) for gap in rig.recorder.gaps()]


def test_edge_01_a_checkpoint_older_than_the_stream_is_said_at_start_and_is_a_gap(rig: ServerRig) -> None:
    """With both ends: the last position that was consumed, and the first change that is still there."""
    before = rig.put("root", *"ab")
    rig.run_once()
    rig.put("root", *"cd")
    rig.clock.advance(DAY + 3_600)
    after = rig.put("root", "e")
    rig.order("trim", shard_id="root", count=4)
    with capture_logs() as lines:
        rig.run_once()
    assert "checkpoint_older_than_the_stream" in [line["event"] for line in lines]
    assert told(rig) == [("trimmed", before[-1], after[0])]
    assert rig.recorder.consumed() == before + after


@pytest.mark.parametrize("policy", ["continue", "halt"])
def test_edge_14_trimmed_data_is_a_gap_that_the_policy_decides_on(rig: ServerRig, policy: str) -> None:
    """It is told first; then the shard goes on at what is there, or halts with its checkpoint where it was."""
    rig.on_gap = "halt" if policy == "halt" else "continue"
    before = rig.put("root", *"ab")
    rig.run_once()
    rig.put("root", *"cd")
    rig.clock.advance(DAY + 3_600)
    after = rig.put("root", "e")
    rig.order("trim", shard_id="root", count=4)
    if policy == "halt":
        with pytest.raises(StreamLostError, match='on_gap = "continue"'):
            rig.run_once()
    else:
        rig.run_once()
    assert told(rig) == [("trimmed", before[-1], after[0])]
    assert rig.recorder.consumed() == before + (after if policy == "continue" else [])
    assert rig.position("root") == (after if policy == "continue" else before)[-1]


def test_edge_15_a_shard_that_aged_out_unread_is_no_clean_end(rig: ServerRig) -> None:
    """The stream is there and does not list it: what followed the position is told as lost."""
    before = rig.put("root", *"ab")
    rig.run_once()
    rig.put("root", *"cd")
    rig.clock.advance(2 * DAY)
    rig.order("age_out", shard_id="root")
    rig.run_once()
    assert told(rig) == [("aged_out", before[-1], None)]


def test_edge_15_a_shard_that_is_not_found_once_is_asked_for_again(rig: ServerRig) -> None:
    """One word is no proof: neither an end nor a gap."""
    numbers = rig.put("root", *"abcd")
    rig.fail("GetRecords", code="ResourceNotFoundException", times=1, passes=1)
    rig.fail("GetShardIterator", code="ResourceNotFoundException", times=1, passes=1)
    rig.run_once()
    assert (rig.recorder.consumed(), told(rig)) == (numbers, [])
    assert not rig.is_finished("root")


def test_edge_15_a_stream_that_is_gone_with_its_table_is_told_as_that(following: ServerRig) -> None:
    """The table is described before anything is concluded; what was caught up with just now lost nothing."""
    rig = following
    rig.put("root", "a")
    rig.run_once()
    rig.order("delete")
    with pytest.raises(SetupError, match=r'table "locks" was deleted'):
        rig.run_once()
    assert told(rig) == []


def test_edge_26_another_stream_of_the_table_is_read_when_the_old_one_is_drained(following: ServerRig) -> None:
    """Off and on again: a new ARN, new shards, read from their beginning whatever the start was."""
    rig = following
    rig.start = "LATEST"
    rig.run_once()
    rig.clock.advance(60)
    first = rig.put("root", *"abc")
    rig.order("disable")
    rig.clock.advance(1)
    rig.order("enable", shards=0)
    rig.order("add_shard", shard_id="root")
    second = [int(number) for number in rig.order("put", shard_id="root", keys=["d"])["numbers"]]
    rig.run_once()
    assert rig.recorder.consumed() == first + second
