"""Where reading begins, when checkpoints are written, and that crashes lose nothing."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockside.core.telemetry import Counter, NoMeter
from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import CheckpointPolicy
from tests.fakes.clock import FakeStop
from tests.fakes.processor import Recorder
from tests.fakes.rig import Rig
from tests.fakes.streams import spelled


@pytest.fixture
def rig(moto: Emulator) -> Rig:
    """Return an engine over a stream of one open shard, two records a page."""
    made = Rig.on(moto, page_bytes_records=2)
    made.streams.add_shard(made.arn, "root")
    return made


def test_reading_goes_on_after_the_checkpoint(rig: Rig) -> None:
    """A restart begins after the remembered position, spelled as the service does."""
    numbers = rig.streams.put(rig.arn, "root", *"abc")
    rig.run_once()
    more = rig.streams.put(rig.arn, "root", "d")
    rig.run_once()
    assert rig.recorder.consumed() == numbers + more
    assert rig.streams.asked("get_shard_iterator")[-1] == {
        "StreamArn": rig.arn,
        "ShardId": spelled("root"),
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
        "SequenceNumber": str(numbers[-1]),
    }


def test_nothing_consumed_is_no_position(rig: Rig) -> None:
    """Of an empty shard that is open only its tip is remembered; it starts as before."""
    rig.run_once()
    assert rig.position("root") is None
    assert not rig.is_finished("root")
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    assert rig.recorder.consumed() == numbers


@pytest.mark.parametrize(
    ("policy", "flushes"),
    [
        (CheckpointPolicy(interval_seconds=1e6, records=1), 4),
        (CheckpointPolicy(interval_seconds=1e6, records=3), 2),
        (CheckpointPolicy(interval_seconds=1e6, records=1_000), 1),
        (CheckpointPolicy(interval_seconds=0, records=1_000), 4),
    ],
)
def test_checkpoints_come_after_so_many_records_or_seconds(rig: Rig, policy: CheckpointPolicy, flushes: int) -> None:
    """Three pages of two records: after each, after each second one, or only at the end."""
    rig.settings = replace(rig.settings, checkpoint=policy)
    numbers = rig.streams.put(rig.arn, "root", *"abcdef")
    rig.run_once()
    assert rig.recorder.verbs("root").count("flush") == flushes
    assert rig.position("root") == numbers[-1]


def test_a_quiet_shard_is_checkpointed_in_time(rig: Rig) -> None:
    """Records that were followed by nothing are checkpointed by the clock, on an empty page."""
    rig.settings = replace(rig.settings, checkpoint=CheckpointPolicy(interval_seconds=0.5), tip_pages=10)
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    verbs = rig.recorder.verbs("root")
    assert verbs.index("flush") < verbs.index("shutdown_requested")


def test_only_the_position_that_flush_returns_is_checkpointed(rig: Rig) -> None:
    """What was handed over is not yet what may be passed: the processor says so."""
    numbers = rig.streams.put(rig.arn, "root", *"abc")
    rig.recorder.unsafe = {numbers[2]}
    rig.run_once()
    assert rig.position("root") == numbers[1]


def test_edge_36_latest_leaves_out_what_came_before(rig: Rig) -> None:
    """A stream started at LATEST gives what was written from then on, and its later shards whole."""
    rig.start = "LATEST"
    rig.streams.put(rig.arn, "root", *"abc")
    rig.clock.advance(60)
    rig.run_once()
    assert rig.recorder.consumed() == []
    rig.clock.advance(1)
    numbers = rig.streams.put(rig.arn, "root", "d")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "child", "root")
    numbers += rig.streams.put(rig.arn, "child", "e")
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_36_latest_survives_a_restart_before_the_first_checkpoint(rig: Rig) -> None:
    """What is written while the worker is down is not lost: the start is an instant that is remembered."""
    rig.start = "LATEST"
    rig.run_once()
    rig.clock.advance(3_600)
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.clock.advance(3_600)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_28_latest_keeps_what_rounding_leaves_open(rig: Rig) -> None:
    """A creation time is rounded down: a change of the same minute may be a later one."""
    rig.start = "LATEST"
    rig.precision_ms = 60_000
    minute_ms = rig.clock.now().wall_ms
    rig.streams.put(rig.arn, "root", "old", created_ms=minute_ms - 60_000)
    numbers = rig.streams.put(rig.arn, "root", "open", created_ms=minute_ms)
    rig.clock.advance(30)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_latest_on_a_stream_that_was_read_before_leaves_nothing_out(rig: Rig) -> None:
    """Where there are checkpoints they count; a shard without one begins at its beginning."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "child", "root")
    numbers = rig.streams.put(rig.arn, "child", "b")
    rig.clock.advance(3_600)
    rig.start = "LATEST"
    rig.run_once()
    assert rig.recorder.consumed("child") == numbers


def test_a_backlog_is_not_caught_up(rig: Rig) -> None:
    """Old changes are read without waits and told as behind; then the tip is reached once."""
    rig.streams.put(rig.arn, "root", *"abcdef", created_ms=rig.clock.now().wall_ms - 3_600_000)
    stop = rig.run_once()
    assert [verb for verb, _, _ in rig.recorder.log if verb in {"record", "caught_up"}] == ["record"] * 6 + [
        "caught_up"
    ]
    assert [wait for wait in stop.waits if wait > 0][:2] == [0.2, 0.2]


class CrashError(BaseException):
    """The process dies: nothing catches this."""


class Crash(NoMeter):
    """Dies at the n-th verb, record or checkpoint of a run."""

    def __init__(self, after: int) -> None:
        """Live for so many."""
        self._left = after

    def __call__(self, *_: Any) -> None:
        """Count down."""
        self._left -= 1
        if self._left < 0:
            raise CrashError

    def count(self, name: Counter, by: int = 1, **labels: str) -> None:
        """Count down at a checkpoint too: it is written, and the mark of the end is not."""
        super().count(name, by, **labels)
        if name == "checkpoints":
            self()


TREES = {
    "one": {"root": ""},
    "roll": {"root": "", "child": "root", "leaf": "child"},
    "split": {"root": "", "left": "root", "right": "root"},
}


@given(
    tree=st.sampled_from(sorted(TREES)),
    sizes=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    crashes=st.lists(st.integers(0, 12), max_size=5),
    policy=st.sampled_from([1, 3, 1_000]),
    faults=st.lists(
        st.sampled_from(["ThrottlingException", "ExpiredIteratorException", "InternalServerError"]), max_size=3
    ),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_crash_loses_a_change_or_disorders_a_lineage(  # noqa: PLR0913, PLR0917 each is one thing drawn
    moto: Emulator, tree: str, sizes: list[int], crashes: list[int], policy: int, faults: list[str]
) -> None:
    """Whatever happens, every change is consumed, each shard from one point on in order, after all of its parent."""
    rig = Rig.on(moto, page_bytes_records=2, shards_per_page=1)
    rig.settings = replace(rig.settings, checkpoint=CheckpointPolicy(interval_seconds=1e6, records=policy))
    written: dict[str, list[int]] = {}
    for (shard, parent), size in zip(TREES[tree].items(), sizes, strict=False):
        rig.streams.add_shard(rig.arn, shard, parent or None)
        written[shard] = rig.streams.put(rig.arn, shard, *map(str, range(size)))
        rig.streams.close(rig.arn, *([parent] if parent else []))
    for fault in faults:
        rig.streams.fail("get_records", fault)
    runs: list[Recorder] = []
    for after in [*crashes, 1_000_000]:
        rig.recorder = Recorder()
        rig.meter = rig.recorder.on_record = rig.recorder.on_verb = Crash(after)
        runs.append(rig.recorder)
        try:
            rig.run_once()
        except CrashError:
            continue
    for shard, parent in TREES[tree].items():
        consumed = [number for run in runs for number in run.consumed(shard)]
        assert set(consumed) == set(written[shard])
        for run in runs:
            seen = run.consumed(shard)
            assert seen == written[shard][written[shard].index(seen[0]) :][: len(seen)] if seen else True
        if parent:
            _assert_after_parent(runs, shard, set(written[parent]))


def _assert_after_parent(runs: list[Recorder], shard: str, parents: set[int]) -> None:
    before: set[int] = set()
    for run in runs:
        for verb, name, detail in run.log:
            if verb == "record":
                assert name != shard or parents <= before
                before.add(detail)


def test_a_run_once_ends_on_a_table_that_is_written_to_without_a_pause(rig: Rig) -> None:
    """What was there when it began is read; what goes on being written is for the next run."""
    numbers = rig.streams.put(rig.arn, "root", *"abcde")

    def write_more(_number: int) -> None:
        rig.clock.advance(0.4)
        rig.streams.put(rig.arn, "root", "x")

    rig.recorder.on_record = write_more
    rig.run_once()
    assert rig.recorder.consumed()[:5] == numbers
    assert rig.position("root") == rig.recorder.consumed()[-1]


def test_a_run_once_tells_when_it_is_drained_before_it_closes_its_shards(rig: Rig) -> None:
    """So what is due by then can still be tested."""
    rig.streams.put(rig.arn, "root", "a")
    rig.engine().run_once(FakeStop(rig.clock), lambda: rig.recorder.log.append(("drained", "", None)))
    verbs = rig.recorder.verbs()
    assert verbs.index("caught_up") < verbs.index("drained") < verbs.index("shutdown_requested")
