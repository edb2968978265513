"""Data that the stream lost before it was read: told with both ends, once, and never where nothing was lost."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from lockside.emulators.emulator import Emulator
from lockside.engines.embedded.plan import CheckpointPolicy, StreamPlan
from lockside.engines.embedded.reader import ShardReader
from lockside.engines.embedded.step import Start
from lockside.errors import StreamLostError
from tests.fakes.clock import FakeStop
from tests.fakes.rig import Rig, ref
from tests.fakes.streams import spelled

DAY = 24 * 3_600.0
HOUR = 3_600.0


@pytest.fixture
def rig(moto: Emulator) -> Rig:
    """Return an engine over a stream of one open shard, two records a page, a checkpoint after each."""
    made = Rig.on(moto, page_bytes_records=2)
    made.settings = replace(made.settings, checkpoint=CheckpointPolicy(records=1))
    made.streams.add_shard(made.arn, "root")
    return made


def trim(rig: Rig, shard: str, count: int) -> None:
    """Forget the first records of a shard."""
    rig.streams.model.trim(rig.streams.shard(rig.arn, shard), count)


def told(rig: Rig, shard: str | None = None) -> list[tuple[str, int | None, int | None]]:
    """Return kind and both positions of each gap told of."""
    return [(gap.loss, gap.after, gap.until) for gap in rig.recorder.gaps(shard)]


def test_edge_14_trimmed_data_is_a_gap_with_both_ends(rig: Rig) -> None:
    """What follows the position was not read within a day: told before the first change that is left, then read on."""
    numbers = rig.streams.put(rig.arn, "root", "a", "b")
    rig.run_once()
    numbers += rig.streams.put(rig.arn, "root", "c", "d")
    rig.clock.advance(DAY + HOUR)
    numbers += rig.streams.put(rig.arn, "root", "e")
    trim(rig, "root", 4)
    rig.run_once()
    assert told(rig) == [("trimmed", numbers[1], numbers[4])]
    assert rig.recorder.consumed() == [*numbers[:2], numbers[4]]
    verbs = [verb for verb, _, detail in rig.recorder.log if verb == "gap" or detail == numbers[4]]
    assert verbs == ["gap", "record", "flush", "flush"]
    (gap,) = rig.recorder.gaps()
    assert gap.after_ms is not None
    assert gap.until_ms is not None
    assert gap.until_ms - gap.after_ms >= DAY * 1000


def test_edge_14_a_quiet_shard_whose_last_position_is_trimmed_lost_nothing(rig: Rig) -> None:
    """All was read up to an hour ago, and the stream keeps a day: reading goes on at the trim horizon."""
    numbers = rig.streams.put(rig.arn, "root", "a", "b")
    rig.run_once()
    for _ in range(3):  # a worker that ran, and was caught up
        rig.clock.advance(10 * HOUR)
        rig.run_once()
    trim(rig, "root", 2)
    rig.clock.advance(23 * HOUR)
    numbers += rig.streams.put(rig.arn, "root", "c")
    rig.run_once()
    assert told(rig) == []
    assert rig.recorder.consumed() == numbers
    assert rig.position("root") == numbers[-1]


def test_the_tip_of_a_quiet_shard_is_written_once_an_hour(rig: Rig) -> None:
    """Not with every empty page: one write per shard and hour, from its first change on."""
    rig.streams.put(rig.arn, "root", "a")
    shard = ref(rig.arn, spelled("root"))
    reader = ShardReader(StreamPlan("locks", rig.arn), shard, Start(), rig.recorder(shard), rig.services())
    tips: set[int | None] = set()
    while rig.clock.now().mono_ms < 3.5 * HOUR * 1000:
        reader.step()
        found = rig.checkpoint("root")
        tips.add(found.tip_ms if found else None)
        rig.clock.advance(20)
    assert len(tips - {None}) == 4


def test_the_position_stays_until_something_after_the_gap_was_consumed(rig: Rig) -> None:
    """Nothing is left of the shard: the loss is told without its other end, and nothing else moves."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.put(rig.arn, "root", "b")
    rig.clock.advance(2 * DAY)
    trim(rig, "root", 2)
    rig.run_once()
    assert told(rig) == [("trimmed", numbers[0], None)]
    assert rig.position("root") == numbers[0]


def test_after_a_gap_a_shard_is_caught_up_with_when_it_was_read_for_a_while(rig: Rig) -> None:
    """Not at its first empty page: a shard that was closed long ago looks like that too, and its children are old."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.clock.advance(2 * DAY)
    shard = ref(rig.arn, spelled("root"))
    start = rig.state.load(rig.arn).shards[spelled("root")]
    begun = Start(start.position, None, start.tip_ms, tip_kept=True)
    reader = ShardReader(
        StreamPlan("locks", rig.arn, precision_ms=1_000), shard, begun, rig.recorder(shard), rig.services()
    )
    seconds = 0.0
    while reader.tip_ms == start.tip_ms:
        wait = max(reader.step().wait_seconds, 0.1)
        rig.clock.advance(wait)
        seconds += wait
    assert 60 <= seconds <= 65


def test_a_crash_after_the_gap_tells_of_the_same_gap_again(rig: Rig) -> None:
    """The processor takes it as one; here it is enough that both attempts say the same."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.clock.advance(2 * DAY)
    later = rig.streams.put(rig.arn, "root", "b", "c")
    trim(rig, "root", 1)

    def fail(number: int) -> None:
        if number == later[0]:
            raise ZeroDivisionError

    rig.recorder.on_record = fail
    with pytest.raises(ZeroDivisionError):
        rig.run_once()
    rig.recorder.on_record = lambda _number: None
    rig.run_once()
    assert told(rig) == [("trimmed", numbers[0], later[0])] * 2
    assert rig.recorder.consumed() == numbers + later


def test_a_gap_may_halt_the_shard(rig: Rig) -> None:
    """The gap is recorded, the checkpoint stays, the child waits, and other shards go on."""
    rig.on_gap = "halt"
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.streams.add_shard(rig.arn, "side")
    rig.run_once()
    rig.clock.advance(2 * DAY)
    rig.streams.put(rig.arn, "root", "b")
    trim(rig, "root", 1)
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "child", "root")
    rig.state.touch(ref(rig.arn, spelled("side")), rig.clock.now().wall_ms)
    side = rig.streams.put(rig.arn, "side", "x")
    engine = rig.engine()
    with pytest.raises(StreamLostError, match=rf"root of table locks: .* position {numbers[0]}; .*on_gap"):
        engine.run_once(FakeStop(rig.clock))
    assert len(told(rig)) == 1
    assert (rig.position("root"), rig.is_finished("root")) == (numbers[0], False)
    assert rig.recorder.consumed("side") == side
    assert "child" not in dict(rig.recorder.initialized())
    assert set(engine.halted()) == {ref(rig.arn, spelled("root"))}


def test_a_halted_gap_is_passed_when_the_policy_changes(rig: Rig) -> None:
    """An operator who has looked goes on after it."""
    rig.on_gap = "halt"
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.clock.advance(2 * DAY)
    later = rig.streams.put(rig.arn, "root", "b")
    trim(rig, "root", 1)
    with pytest.raises(StreamLostError):
        rig.run_once()
    rig.on_gap = "continue"
    rig.run_once()
    assert rig.recorder.consumed()[1:] == later


def test_edge_15_a_shard_that_aged_out_unread_is_a_gap_to_its_end(rig: Rig) -> None:
    """The stream is there and lists it no more: told, marked as finished, and its child is read."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.put(rig.arn, "root", "b")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "child", "root")
    rig.clock.advance(2 * DAY)
    rig.streams.drop(rig.arn, "root")
    later = rig.streams.put(rig.arn, "child", "c")
    rig.run_once()
    assert told(rig, "root") == [("aged_out", numbers[0], None)]
    assert rig.is_finished("root") or rig.checkpoint("root") is None
    assert rig.recorder.consumed("child") == later
    names = [name for name, _ in rig.recorder.initialized()]
    assert names == ["root", "root", "child"], "the child of a lost shard waits until that is told"


def test_the_loss_of_a_shard_reaches_into_its_child(rig: Rig) -> None:
    """Nobody knows how much of the child was lost too: its first change is the other end."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "child", "root")
    rig.clock.advance(2 * DAY)
    rig.streams.drop(rig.arn, "root")
    later = rig.streams.put(rig.arn, "child", "c")
    rig.run_once()
    assert told(rig, "child") == [("trimmed", None, later[0])]


def test_a_finished_parent_and_a_day_without_a_worker_leave_a_gap_in_the_child(rig: Rig) -> None:
    """No error tells that a child's first changes are gone: the parent's tip does."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.close(rig.arn, "root")
    rig.run_once()
    assert rig.is_finished("root")
    rig.streams.add_shard(rig.arn, "child", "root")
    rig.streams.put(rig.arn, "child", "lost")
    rig.clock.advance(DAY + HOUR)
    later = rig.streams.put(rig.arn, "child", "c")
    trim(rig, "child", 1)
    rig.run_once()
    assert told(rig) == [("trimmed", None, later[0])]


def test_a_whole_lineage_that_is_gone_leaves_a_gap_too(rig: Rig) -> None:
    """Finished, rolled, rolled again and aged out: what is left has no parent that anybody knows."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.close(rig.arn, "root")
    rig.run_once()
    rig.streams.add_shard(rig.arn, "middle", "root")
    rig.streams.put(rig.arn, "middle", "lost")
    rig.streams.close(rig.arn, "middle")
    rig.streams.add_shard(rig.arn, "leaf", "middle")
    rig.clock.advance(2 * DAY)
    later = rig.streams.put(rig.arn, "leaf", "c")
    for shard in ("root", "middle"):
        rig.streams.drop(rig.arn, shard)
    rig.run_once()
    assert told(rig) == [("trimmed", None, later[0])]


def test_a_first_start_on_an_old_stream_has_no_gap(rig: Rig) -> None:
    """Nothing was promised of what was trimmed before anybody came, in however many generations."""
    rig.streams.put(rig.arn, "root", *"abc")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "child", "root")
    rig.streams.put(rig.arn, "child", *"def")
    rig.clock.advance(DAY - 600)
    trim(rig, "root", 2)
    stop = FakeStop(rig.clock)
    rig.recorder.on_record = lambda _number: rig.clock.advance(60)
    rig.engine().run_once(stop)
    assert told(rig) == []
    assert len(rig.recorder.consumed()) == 4


def test_an_iterator_that_expired_after_an_empty_page_is_judged_anew(rig: Rig) -> None:
    """Nothing was consumed yet when the machine slept for two days: what is gone by then is told of."""
    rig.streams.put(rig.arn, "root", *"abc")
    rig.streams.shard(rig.arn, "root").empty_pages = 1
    shard = ref(rig.arn, spelled("root"))
    plan = StreamPlan("locks", rig.arn, precision_ms=1_000)
    reader = ShardReader(
        plan, shard, Start(promised_ms=rig.streams.service.now_ms()), rig.recorder(shard), rig.services()
    )
    reader.step()
    rig.clock.advance(2 * DAY)
    trim(rig, "root", 2)
    for _ in range(3):
        reader.step()
    assert told(rig) == [("trimmed", None, rig.recorder.consumed()[0])]


def test_a_worker_that_died_before_its_first_checkpoint_leaves_a_promise(rig: Rig) -> None:
    """It recorded changes and saved no position; a day later the others are gone, and that is told."""
    rig.streams.put(rig.arn, "root", *"abc")

    def die(_number: int) -> None:
        raise ZeroDivisionError

    rig.recorder.on_record = die
    with pytest.raises(ZeroDivisionError):
        rig.run_once()
    rig.recorder.on_record = lambda _number: None
    rig.clock.advance(DAY)
    trim(rig, "root", 2)
    rig.run_once()
    assert told(rig) == [("trimmed", None, rig.recorder.consumed()[0])]


def test_a_shard_that_nobody_read_and_that_is_gone_leaves_nothing(rig: Rig) -> None:
    """Its parent was never read either: a first start begins with what there is."""
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "child", "root")
    rig.streams.drop(rig.arn, "root")
    rig.run_once()
    assert told(rig) == []
    assert [name for name, _ in rig.recorder.initialized()] == ["child"]


def test_a_worker_that_began_and_read_nothing_for_a_day_has_lost_what_came_in_between(rig: Rig) -> None:
    """It died before its first page: that it had begun is remembered before anything is read."""
    rig.streams.fail("get_records", "ValidationException")
    with pytest.raises(ClientError):
        rig.run_once()
    begun = rig.checkpoint("root")
    assert begun is not None
    assert (begun.position, begun.tip_ms, begun.finished) == (None, None, False)
    rig.streams.put(rig.arn, "root", "lost")
    rig.clock.advance(2 * DAY)
    later = rig.streams.put(rig.arn, "root", "a")
    trim(rig, "root", 1)
    rig.run_once()
    assert told(rig) == [("trimmed", None, later[0])]


def test_latest_promises_from_its_start_on(rig: Rig) -> None:
    """A worker that died before its first checkpoint and is back a day later has lost what came in between."""
    rig.start = "LATEST"
    rig.state.begin(rig.arn, rig.clock.now().wall_ms)
    rig.clock.advance(2 * DAY)
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    assert told(rig) == [("trimmed", None, numbers[0])]


def test_edge_1_a_checkpoint_older_than_a_day_is_said_at_start(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is read, whoever looks at the log knows that something may be lost."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    capsys.readouterr()
    rig.clock.advance(DAY + HOUR)
    rig.run_once()
    out = capsys.readouterr().out
    assert "checkpoint_older_than_the_stream" in out
    assert told(rig) == [], "all of it is still there, so nothing was lost"


def test_a_reader_behind_a_trimmed_position_that_sleeps_for_a_day_has_lost_what_came_meanwhile(rig: Rig) -> None:
    """Nothing was lost when its position was trimmed; the horizon it reads from since moves on without an error."""
    numbers = rig.streams.put(rig.arn, "root", "a", "b")
    rig.run_once()
    for _ in range(3):
        rig.clock.advance(10 * HOUR)
        rig.run_once()
    trim(rig, "root", 2)
    row = rig.checkpoint("root")
    assert row is not None
    start = Start(row.position, None, row.tip_ms, tip_kept=True)
    shard = ref(rig.arn, spelled("root"))
    reader = ShardReader(StreamPlan("locks", rig.arn), shard, start, rig.recorder(shard), rig.services())
    for _ in range(6):
        reader.step()
    assert told(rig) == []
    rig.streams.put(rig.arn, "root", "c", "d")
    rig.clock.advance(2 * DAY)
    rig.streams.expire_iterators()
    trim(rig, "root", 4)
    later = rig.streams.put(rig.arn, "root", "e")
    for _ in range(4):
        reader.step()
    assert told(rig) == [("trimmed", numbers[1], later[0])]


def test_a_gap_behind_a_parent_that_was_never_begun_counts_from_the_promise(rig: Rig) -> None:
    """What was finished meanwhile vouches for its own lineage only, and this shard may come from another."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    promised_ms = rig.clock.now().wall_ms
    rig.clock.advance(20 * HOUR)
    rig.streams.put(rig.arn, "root", "b")
    rig.streams.close(rig.arn, "root")
    rig.run_once()
    assert rig.is_finished("root")
    rig.streams.add_shard(rig.arn, "unseen")
    rig.streams.put(rig.arn, "unseen", "lost")
    rig.streams.add_shard(rig.arn, "child", "unseen")
    rig.streams.put(rig.arn, "child", "c")
    rig.streams.close(rig.arn, "unseen")
    rig.clock.advance(2 * DAY)
    rig.streams.drop(rig.arn, "unseen")
    trim(rig, "child", 1)
    rig.streams.put(rig.arn, "child", "d")
    rig.run_once()
    (gap,) = rig.recorder.gaps("child")
    assert gap.after_ms is not None
    assert gap.after_ms <= promised_ms
