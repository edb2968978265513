"""A log that is cut because the stream lost changes: sealed once for one loss, whoever tries and however often."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest

from lockside.audit import items
from lockside.audit.write import AuditTrail
from lockside.core.gap import Gap
from lockside.core.log import LogHead, Placed
from lockside.core.ports import ObserverRecord, Trail
from lockside.emulators.emulator import Emulator
from lockside.errors import FencedError, StoppedError
from tests.contract.trails import MemoryRig, Rig, TableRig, put, records, shard, sources, table_rig
from tests.fakes.shard import ShardRig
from tests.fakes.sources import SHARD, lock_keys, pydynlock, source
from tests.fakes.trail import MemoryTrail

T = TypeVar("T")


@pytest.fixture(params=["memory", "moto"])
def rig(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> Iterator[Rig]:
    """Return the fake trail and the real one."""
    if request.param == "memory":
        yield MemoryRig(MemoryTrail())
        return
    made = table_rig(emulator_of(request.param))
    yield made
    made.close()


def begun(trail: Trail, place: Any, count: int = 3) -> LogHead:
    """Open a log, record something and write its head."""
    head = put(trail, trail.open(place, sources(), "TRIM_HORIZON"), records(count))
    trail.write_head(head)
    return head


def test_a_cut_log_is_sealed_and_the_next_one_follows_it(rig: Rig) -> None:
    """The next log is empty and covers what the sealed one does."""
    trail, place = rig.trail(), shard()
    head = begun(trail, place)
    assert trail.cut(head.log, 5) == head
    following = trail.open(place, sources(), "TRIM_HORIZON")
    assert (following.epoch, following.size, following.last_position) == (2, 0, head.last_position)
    with pytest.raises(FencedError):
        trail.write_head(put(trail, head, records(1, first=9)))


def test_a_second_attempt_at_the_same_loss_seals_no_empty_log(rig: Rig) -> None:
    """A crash after any step: the next worker finds the seal, or the log that follows it, and returns the same head."""
    place = shard()
    head = begun(rig.trail(), place)
    assert rig.trail().cut(head.log, 5) == head
    for _ in range(3):
        current = rig.trail().open(place, sources(), "TRIM_HORIZON")
        assert rig.trail().cut(current.log, 5) == head
        assert current.epoch == 2


def test_a_loss_that_has_grown_cuts_the_next_log_though_its_head_is_empty(rig: Rig) -> None:
    """The first records after the loss may be written without their head, and are lost from the stream by now."""
    place = shard()
    head = begun(rig.trail(), place)
    assert rig.trail().cut(head.log, 5, 9) == head
    second = rig.trail().open(place, sources(), "TRIM_HORIZON")
    assert rig.trail().cut(second.log, 5, 9) == head
    assert rig.trail().cut(second.log, 5, 12) == second
    assert rig.trail().open(place, sources(), "TRIM_HORIZON").epoch == 3


def test_another_loss_cuts_the_next_log_though_it_is_empty(rig: Rig) -> None:
    """Nothing was recorded in between, but something was consumed: it is another loss."""
    place = shard()
    head = begun(rig.trail(), place)
    rig.trail().cut(head.log, 5)
    second = rig.trail().open(place, sources(), "TRIM_HORIZON")
    assert rig.trail().cut(second.log, 8) == second
    assert rig.trail().open(place, sources(), "TRIM_HORIZON").epoch == 3


def test_a_loss_before_anything_was_recorded_cuts_the_first_log(rig: Rig) -> None:
    """A zombie that knew more would write beside, not over."""
    trail, place = rig.trail(), shard()
    first = trail.open(place, sources(), "TRIM_HORIZON")
    assert trail.cut(first.log, None) == first
    second = trail.open(place, sources(), "TRIM_HORIZON")
    assert trail.cut(second.log, None) == first
    assert second.epoch == 2


def test_a_log_that_was_sealed_for_other_settings_is_not_cut(rig: Rig) -> None:
    """The other worker decided first; this one starts anew."""
    place = shard()
    head = begun(rig.trail(), place)
    rig.trail().open(place, sources("renamed"), "TRIM_HORIZON")
    with pytest.raises(FencedError):
        rig.trail().cut(head.log, 5)


def test_whether_a_later_log_records_what_an_earlier_one_had_read(rig: Rig) -> None:
    """Not before a head covers it; its own log's is no later one; of a log that was cut before it, nothing is said."""
    trail, place = rig.trail(), shard()
    first = begun(trail, place)
    assert (trail.read_since(place, 3, 1), trail.read_since(place, 4, 1)) == (False, None)
    second = trail.open(place, sources("others"), "TRIM_HORIZON")
    assert trail.read_since(place, 4, 1) is None
    trail.write_head(put(trail, second, records(1, first=4)))
    assert (trail.read_since(place, 4, 1), trail.read_since(place, 4, 2)) == (True, False)
    assert trail.cut(second.log, 4, 9).last_position == 4
    third = trail.open(place, sources("others"), "TRIM_HORIZON")
    trail.write_head(put(trail, third, records(1, first=9)))
    assert (first.epoch, third.epoch) == (1, 3)
    assert (trail.read_since(place, 5, 1), trail.read_since(place, 9, 3)) == (False, False)


def test_genesis_says_after_what_changes_were_lost_and_since_when_it_counts(moto: Emulator) -> None:
    """Whoever reads the log alone sees why it begins, and from which instant a start at LATEST counts."""
    made: TableRig = table_rig(moto)
    trail, place = made.trail(), shard()
    first = trail.open(place, sources(), "LATEST", 1_795_421_400_000)
    trail.cut(first.log, 7)
    second = trail.open(place, sources(), "LATEST", 1_795_421_400_000)
    genesis = made.client.get_item(TableName=made.table, Key=items.genesis_key(second.log))["Item"]
    assert genesis["lost"]["S"].lstrip("0") == "7"
    assert genesis["since"]["N"] == "1795421400000"
    assert genesis["previous"]["M"]["log"]["S"] == first.log
    assert isinstance(trail, AuditTrail)
    made.close()


# -- the processor ---------------------------------------------------------------------------------------------------


def shard_rig(changes: int = 2) -> ShardRig:
    """Return a processor that has recorded some acquisitions."""
    made = ShardRig(source("pydynlock"))
    for number in range(changes):
        made.table.put(lock_keys(f"lock{number}"), pydynlock("ann", f"v{number}"))
    made.consume()
    return made


def gaps(rig: ShardRig) -> list[dict[str, Any]]:
    """Return the gap records announced."""
    return [dict(event) for event in rig.heard if event["type"] == "dev.lockside.stream.gap.v1"]


def lose(rig: ShardRig, count: int = 1) -> Gap:
    """Let changes be lost; return the gap that the engine would tell of."""
    after = len(rig.table.records)
    for number in range(count):
        rig.table.put(lock_keys(f"lost{number}"), pydynlock("bob", "x"))
    rig.table.put(lock_keys("next"), pydynlock("cid", "y"))
    return Gap("trimmed", after, rig.clock.now().wall_ms, after + count + 1, rig.clock.now().wall_ms)


def after_gap(rig: ShardRig, gap: Gap) -> None:
    """Consume what the stream still has."""
    rig.consume(rig.table.records[(gap.until or 0) - 1 :])


def test_a_gap_is_recorded_between_two_logs() -> None:
    """Sealed log, `stream.gap` with both ends, next log."""
    rig = shard_rig()
    gap = lose(rig)
    rig.processor.gap(gap)
    after_gap(rig, gap)
    (told,) = gaps(rig)
    assert told["data"]["after"]["sequence_number"] == "2"
    assert told["data"]["until"]["sequence_number"] == "4"
    assert told["data"]["sealed"] == {"log": f"{SHARD.origin}/1", "size": "2"}
    assert [len(rig.trail.bodies(f"{SHARD.origin}/{epoch}")) for epoch in (1, 2)] == [2, 1]
    assert rig.trail.logs[f"{SHARD.origin}/1"].sealed


class Frail(MemoryTrail):
    """A trail whose n-th call does not come back: the worker dies before it took effect, or after."""

    calls = 0
    dies_at = 0
    after = False

    def cut(self, log: str, after: int | None, until: int | None = None) -> LogHead:
        """Die, or do it."""
        return self._maybe_die(lambda: super(Frail, self).cut(log, after, until))

    def observe(self, record: ObserverRecord) -> bool:
        """Die, or do it."""
        return self._maybe_die(lambda: super(Frail, self).observe(record))

    def open(self, *arguments: Any) -> LogHead:
        """Die, or do it."""
        return self._maybe_die(lambda: super(Frail, self).open(*arguments))

    def write(self, records: Sequence[Placed]) -> None:
        """Die, or do it."""
        self._maybe_die(lambda: super(Frail, self).write(records))

    def write_head(self, head: LogHead) -> None:
        """Die, or do it."""
        self._maybe_die(lambda: super(Frail, self).write_head(head))

    def _maybe_die(self, function: Callable[[], T]) -> T:
        self.calls += 1
        dies = self.calls == self.dies_at
        if dies and not self.after:
            raise StoppedError
        answer = function()
        if dies:
            raise StoppedError
        return answer


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(1, 6), ids=["seal", "record", "genesis", "write", "head"])
def test_a_crash_at_any_step_of_a_gap_ends_in_one_gap_and_no_empty_log(step: int, after: bool) -> None:  # noqa: FBT001
    """The worker dies before a step took effect or before it knew; the next one completes it: the same trail."""
    rig = shard_rig()
    rig.trail = frail = Frail(rig.trail.logs, rig.trail.items)
    rig.restart()
    gap = lose(rig)
    frail.calls, frail.dies_at, frail.after = 0, step, after
    deaths = 0
    for _ in range(3):
        try:
            rig.processor.gap(gap)
            after_gap(rig, gap)
        except StoppedError:
            deaths += 1
            rig.restart()
    assert deaths == 1
    logs = {log.rsplit("/", 1)[-1]: (kept.head.size, kept.sealed) for log, kept in rig.trail.logs.items()}
    assert logs == {"1": (2, True), "2": (1, False), "observer": (1, False)}
    (told,) = rig.trail.bodies(f"{SHARD.origin}/observer")
    assert json.loads(told)["data"]["sealed"]["log"] == f"{SHARD.origin}/1"


def test_what_the_head_covers_was_not_lost() -> None:
    """The checkpoint lagged behind: everything up to the horizon is recorded, so there is no gap."""
    rig = shard_rig(4)
    rig.checkpoint = 1
    rig.restart()
    rig.processor.gap(Gap("trimmed", 1, None, 3, None))
    assert gaps(rig) == []
    assert not rig.trail.logs[f"{SHARD.origin}/1"].sealed


def test_a_gap_begins_after_what_was_recorded() -> None:
    """The checkpoint lagged behind the head, and the horizon is beyond both."""
    rig = shard_rig(4)
    rig.checkpoint = 1
    rig.restart()
    rig.processor.gap(Gap("trimmed", 1, None, 9, None))
    assert gaps(rig)[0]["data"]["after"]["sequence_number"] == "4"


def test_a_further_loss_after_a_gap_is_another_gap() -> None:
    """What follows the first gap was recorded, and then more was lost."""
    rig = shard_rig()
    first = lose(rig)
    rig.processor.gap(first)
    after_gap(rig, first)
    second = lose(rig, 3)
    rig.processor.gap(second)
    after_gap(rig, second)
    assert [event["data"]["sealed"]["log"][-2:] for event in gaps(rig)] == ["/1", "/2"]


def test_a_hold_that_began_before_a_gap_keeps_its_deadline() -> None:
    """The verification read decides: the row is as it was, so the lapse is declared."""
    rig = shard_rig(1)
    gap = lose(rig)
    rig.table.delete(lock_keys("lost0"))
    rig.table.delete(lock_keys("next"))
    rig.processor.gap(gap)
    rig.processor.process_records([], caught_up=True)
    assert rig.processor.deadlines_armed() == 1
    rig.pass_time(60)
    assert "lock.expired" in [type_ for type_, _ in rig.events()]


def test_a_hold_that_changed_hands_in_a_gap_is_written_to_the_live_index_anew() -> None:
    """A heartbeat after the gap shows an owner that nobody has seen take the lock."""
    rig = shard_rig(1)
    rig.table.put(lock_keys("lock0"), pydynlock("bob", "w1"))
    rig.processor.gap(Gap("trimmed", 1, None, 3, None))
    rig.table.put(lock_keys("lock0"), pydynlock("bob", "w2"))
    rig.consume(rig.table.records[2:])
    assert "bob" in {entry.hold.actor for entry in rig.live.entries.values()}
