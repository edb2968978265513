"""Law 1 under mutated captures: no crash, no hang, and every record is one thing or another, none lost in silence.

A million records in `make soak`, some thousands in `make test`. A failure says how to play its round again:
`LOCKSIDE_FUZZ_REPLAY=<seed>/<round> make test ARGS="tests/properties/test_fuzz.py"`.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random, SystemRandom
from typing import Any, Final

import orjson
import pytest

from lockside.audit.items import PARTITION_BYTES_MAX, SORT_BYTES_MAX, Retention, change_item, observer_item
from lockside.core import defect, observer, redriven
from lockside.core.batch import Batch, Memory, Reader
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.log import LogHead, append
from lockside.core.now import Now
from lockside.core.observer import Sighting
from lockside.core.ports import LiveEntry
from lockside.core.records import Naming
from lockside.errors import FaultyPageError, WireFaultError
from lockside.state import raw_record
from lockside.state.live_index import to_item
from tests.fakes.sources import SHARD, source
from tests.properties.mutation import LAYOUTS, Mutator

REPLAY: Final = os.environ.get("LOCKSIDE_FUZZ_REPLAY", "")
SOAK_INPUTS: Final = int(os.environ.get("LOCKSIDE_FUZZ_INPUTS", "1_000_000"))
TEST_INPUTS: Final = 4_000
PROGRESS_INPUTS: Final = 50_000

RECORD_BYTES_MAX: Final = 64 * 1024
ITEM_BYTES_MAX: Final = 400 * 1024
ROUND_CPU_SECONDS_MAX: Final = 5.0
"""A round has at most 30 records; on a slow machine it takes some milliseconds."""

CLOSE_LOOK_ONE_IN: Final = 8
SOURCES: Final = {
    (layout, hidden): replace(source(layout, pseudonymise=("name", "owner", "principal") if hidden else ()))
    for layout in LAYOUTS
    for hidden in (False, True)
}
KINDS: Final = ("recorded", "unrecorded", "uneventful", "unclaimed", "undecodable", "faulty page")


class Round:
    """One batch of mutated records, all of it from the seed and the round's number."""

    def __init__(self, seed: str, number: int) -> None:
        """Make the batch."""
        random = Random(f"{seed}/{number}")  # noqa: S311 - to be played again, not to be secret
        layout = random.choice(LAYOUTS)
        mutator, first = Mutator(random), random.randrange(1, 10**21)
        self.raws: list[Any] = mutator.records(layout, first, random.choice((1, 2, 5, 20, 30)))
        self.source = SOURCES[layout, random.random() < 0.3]
        self.reader = Reader(SHARD, (self.source,), PUBLIC_KEYS)
        self.now = Now(random.choice((0, 1_795_421_400_000, 10**14)), random.choice((0, 10**9)))
        self.close_look = random.randrange(CLOSE_LOOK_ONE_IN) == 0

    def play(self) -> Counter[str]:
        """Take the batch in and look at what it came to; return how many records became what."""
        memory = Memory(began_ms=self.now.wall_ms)
        try:
            batch = self.reader.take_in(self.raws, memory, None, self.now)
        except FaultyPageError:
            assert not in_place(self.raws), "a page was refused whose records all have a place"
            return Counter({"faulty page": len(self.raws)})
        assert in_place(self.raws), "a page was taken in with a record out of place"
        tally = counted(batch)
        assert tally.total() == batch.consumed == len(self.raws)
        assert [fault.spot for fault in batch.faults if fault.code == defect.CODE] == []
        self._look(batch)
        if self.close_look:
            self._look_closely(batch, memory, tally)
        return tally

    def _look(self, batch: Batch) -> None:
        """Each record is legal, at its own place, in the order of the stream."""
        places = [record.position for record in batch.records]
        assert places == sorted(set(places))
        assert {fault.position for fault in batch.faults} <= set(places)
        for record in batch.records:
            assert len(record.body) <= RECORD_BYTES_MAX
            assert orjson.loads(record.body)["data"]["sequence_number"] == str(record.position)

    def _look_closely(self, batch: Batch, memory: Memory, tally: Counter[str]) -> None:
        """What follows from the batch is legal too; other batch edges and another time of day give the same records."""
        _, placed = append(LogHead("log", 0), batch.records)
        for item in [change_item(one, Retention()) for one in placed] + list(self._observed(batch)):
            assert len(item["pk"]["S"].encode()) <= PARTITION_BYTES_MAX
            assert len(item["sk"]["S"].encode()) <= SORT_BYTES_MAX
        naming = Naming.of(self.source, PUBLIC_KEYS)
        for change in batch.live.values():
            if change.hold is not None:
                entry = LiveEntry(naming.entity_id(change.key), self.source.id, change.hold, change.position)
                assert len(repr(to_item(SHARD, entry, PUBLIC_KEYS, bytes(12)))) <= ITEM_BYTES_MAX
        memory.deadlines.due(Now(10**14, 10**15), caught_up=True, limit=100)
        alone = [self.reader.take_in([raw], Memory(), None, Now(0, 0)) for raw in self.raws]
        assert [record for one in alone for record in one.records] == batch.records
        assert sum(map(counted, alone), Counter()) == +tally
        self._keep(batch)

    def _observed(self, batch: Batch) -> Iterator[Any]:
        seen = Sighting(SHARD, self.source, PUBLIC_KEYS, batch.last_position)
        head = LogHead("log", 0)
        for proven in batch.lapses:
            yield observer_item(observer.lapse_record(seen, proven.lapse, proven.via, 0), head, Retention())
        for revival in batch.revivals:
            yield observer_item(observer.revival_record(seen, revival.lapse, 0), head, Retention())

    def _keep(self, batch: Batch) -> None:
        """What was kept reads as it did: the same code again, and no version could read less of it."""
        for fault in batch.faults:
            kept = replace(fault, raw=raw_record.unpack(raw_record.pack(fault.raw)))
            with pytest.raises(WireFaultError) as caught:
                redriven.read_again(kept, SHARD, (self.source,), PUBLIC_KEYS)
            assert caught.value.code == fault.code


def counted(batch: Batch) -> Counter[str]:
    """Say what the records of a batch became."""
    recorded = len(batch.records) - len(batch.faults)
    return Counter(
        {
            "recorded": recorded,
            "unrecorded": sum(batch.events.values()) - recorded,
            "uneventful": sum(batch.uneventful.values()),
            "unclaimed": batch.unclaimed,
            "undecodable": len(batch.faults),
        }
    )


def in_place(raws: list[Any]) -> bool:
    """Whether every record has a usable sequence number (40 digits at most, by the API), each above the one before."""
    last = -1
    for raw in raws:
        body = raw.get("dynamodb") if isinstance(raw, dict) else None
        number = body.get("SequenceNumber") if isinstance(body, dict) else None
        if not isinstance(number, str) or not 0 < len(number) <= 40 or not set(number) <= set("0123456789"):
            return False
        if int(number) <= last:
            return False
        last = int(number)
    return True


def rounds(inputs: int) -> Iterator[tuple[str, int]]:
    """Name rounds by seed and number without end; with a replay asked for, that one only."""
    if REPLAY:
        seed, _, number = REPLAY.partition("/")
        yield seed, int(number)
        return
    seed = str(SystemRandom().randrange(10**12))
    yield from ((seed, number) for number in range(inputs))


def fuzz(inputs: int) -> Iterator[Counter[str]]:
    """Play rounds until so many records were taken in; yield the tally after each."""
    tally: Counter[str] = Counter()
    for seed, number in rounds(inputs):
        began = time.process_time()
        try:
            tally += Round(seed, number).play()
            assert time.process_time() - began < ROUND_CPU_SECONDS_MAX, "it takes too long"
        except BaseException as error:
            error.add_note(f"play it again with LOCKSIDE_FUZZ_REPLAY={seed}/{number}")
            raise
        yield tally
        if tally.total() >= inputs:
            return


def test_every_record_becomes_one_thing_or_another() -> None:
    """Recorded, counted, claimed by no source, undecodable, or its page is faulty; the fuzz reaches all of these."""
    # Chance may leave the rarest out of a small size; then it goes on for as much again, and again.
    for tally in fuzz(4 * TEST_INPUTS):
        if tally.total() >= TEST_INPUTS and set(tally) == set(KINDS):
            break
    assert REPLAY or set(tally) == set(KINDS)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_a_million_records_become_one_thing_or_another(capsys: pytest.CaptureFixture[str]) -> None:
    """The same at length, with its progress; `LOCKSIDE_FUZZ_INPUTS` sets another size."""
    told, began = 0, time.monotonic()
    for tally in fuzz(SOAK_INPUTS):
        if tally.total() - told >= PROGRESS_INPUTS:
            told = tally.total()
            with capsys.disabled():
                print(f"{told:>9} records, {time.monotonic() - began:.0f} s: {dict(tally)}", flush=True)  # noqa: T201
    assert REPLAY or set(tally) == set(KINDS)


def test_the_same_seed_makes_the_same_round() -> None:
    """Else no failure could be played again."""
    for number in range(50):
        once, again = Round("seed", number), Round("seed", number)
        assert repr(once.raws) == repr(again.raws)
        assert once.play() == again.play()
