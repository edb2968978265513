"""Many shards and few threads: every shard is read in time, and no more pages are held than allowed."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from lockside.core.change import ShardRef
from lockside.core.ports import Processor
from lockside.emulators.emulator import Emulator
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.endpoint import PAGE_BYTES_MAX
from lockside.engines.stream import StreamPlan
from lockside.ops.clock import SystemClock
from tests.contract.test_engine_threads import AT_ONCE
from tests.fakes.processor import Recorder, RecordingProcessor
from tests.fakes.rig import Rig
from tests.fakes.streams import FakeStreams

ENOUGH = 20


@pytest.fixture
def rig(moto: Emulator) -> Rig:
    """Return an engine over a stream with one record a page."""
    return Rig.on(moto, page_bytes_records=1)


class Large:
    """A streams client whose every page says that it is as large as pages get; counts the pages on their way."""

    def __init__(self, streams: FakeStreams) -> None:
        """Stand before a client."""
        self._streams = streams

    def __getattr__(self, name: str) -> Any:
        """Hand everything else on."""
        return getattr(self._streams, name)

    def get_records(self, **request: Any) -> Any:
        """Read a page."""
        page = self._streams.get_records(**request)
        page["ResponseMetadata"]["HTTPHeaders"] = {
            **page["ResponseMetadata"]["HTTPHeaders"],
            "content-length": str(PAGE_BYTES_MAX),
        }
        return page


class Gate:
    """Makes processors that hold their batches until the gate opens, and counts how many do so at once."""

    def __init__(self, recorder: Recorder, wanted: int) -> None:
        """Keep shut; `full` is set when so many hold a batch."""
        self.open = threading.Event()
        self.full = threading.Event()
        self.holding = 0
        self.holding_max = 0
        self._recorder = recorder
        self._wanted = wanted
        self._lock = threading.Lock()

    def __call__(self, shard: ShardRef) -> Processor:
        """Make a shard's processor."""
        gate = self

        class Holding(RecordingProcessor):
            def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
                if records:
                    gate.hold()
                super().process_records(records, caught_up=caught_up)

        return Holding(self._recorder, shard.shard_id.rsplit("-", 1)[-1])

    def hold(self) -> None:
        """Hold a batch."""
        with self._lock:
            self.holding += 1
            self.holding_max = max(self.holding_max, self.holding)
            if self.holding >= self._wanted:
                self.full.set()
        self.open.wait(ENOUGH)
        with self._lock:
            self.holding -= 1


def running(rig: Rig, processors: Any, stop: threading.Event, **services: Any) -> threading.Thread:
    """Run the rig's engine on the real clock in a thread."""
    plan = StreamPlan("locks", rig.arn, precision_ms=1_000)
    engine = EmbeddedEngine([plan], processors, replace(rig.services(), clock=SystemClock(), **services))
    thread = threading.Thread(target=engine.run, args=(stop,))
    thread.start()
    return thread


def test_a_trickle_is_read_while_a_huge_backlog_is(rig: Rig) -> None:
    """With a single thread: the trickle's change comes after a handful of the backlog's pages, not after all."""
    rig.settings = replace(AT_ONCE, threads=1)
    rig.streams.add_shard(rig.arn, "huge")
    backlog = rig.streams.put(rig.arn, "huge", *map(str, range(400)))
    rig.streams.add_shard(rig.arn, "slow")
    stop = threading.Event()
    written: list[int] = []
    seen_at: list[int] = []

    def on_record(number: int) -> None:
        count = len(rig.recorder.log)
        if number in backlog[50::50]:
            written.extend([count])
            rig.streams.put(rig.arn, "slow", "x")
        elif number not in backlog:
            seen_at.append(count)
        elif number == backlog[-1]:
            stop.set()

    rig.recorder.on_record = on_record
    running(rig, rig.recorder, stop).join(ENOUGH)
    delays = [seen - put for put, seen in zip(written, seen_at, strict=False)]
    assert len(delays) >= 6
    assert max(delays) < 40


def test_a_shard_whose_writes_are_refused_holds_no_other_up(rig: Rig) -> None:
    """It keeps its thread and its page; the others are read by the threads that are left."""
    rig.settings = replace(AT_ONCE, threads=2)
    rig.streams.add_shard(rig.arn, "stuck")
    rig.streams.put(rig.arn, "stuck", "a")
    rig.streams.add_shard(rig.arn, "good")
    numbers = rig.streams.put(rig.arn, "good", *map(str, range(50)))
    gate, stop = Gate(rig.recorder, 1), threading.Event()
    done = threading.Event()
    rig.recorder.on_record = lambda number: done.set() if number == numbers[-1] else None

    def processors(shard: ShardRef) -> Processor:
        return gate(shard) if shard.shard_id.endswith("stuck") else rig.recorder(shard)

    thread = running(rig, processors, stop)
    assert done.wait(ENOUGH)
    assert gate.holding == 1
    stop.set()
    gate.open.set()
    thread.join(ENOUGH)
    assert rig.recorder.consumed("good") == numbers


@pytest.mark.parametrize(("in_flight", "holding"), [(8, 4), (2, 2), (1, 1)])
def test_pages_are_held_in_no_more_bytes_than_allowed(rig: Rig, in_flight: int, holding: int) -> None:
    """Four threads and pages of the largest size: as many are held at once as fit."""
    rig.settings = replace(AT_ONCE, threads=4, in_flight_bytes=in_flight * PAGE_BYTES_MAX)
    for number in range(8):
        rig.streams.add_shard(rig.arn, f"shard{number}")
        rig.streams.put(rig.arn, f"shard{number}", "a", "b")
    gate, stop = Gate(rig.recorder, holding), threading.Event()
    client: Any = Large(rig.streams)
    thread = running(rig, gate, stop, streams=client)
    assert gate.full.wait(ENOUGH)
    gate.open.set()
    while len(rig.recorder.consumed()) < 16:
        stop.wait(0.005)
    stop.set()
    thread.join(ENOUGH)
    assert gate.holding_max <= min(4, in_flight)
    assert len(rig.recorder.consumed()) == 16
