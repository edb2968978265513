"""Edge case 38: a worker that was taken over while it held a page. What it still writes, and what it may not.

Two real engines with real processors over one state table, one audit table and the fake streams server.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from lockside.core.change import ShardRef
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.ownership import Standing, Term
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import CheckpointPolicy
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.neighbours import Neighbours
from lockside.engines.processor import ShardProcessor
from lockside.engines.stream import StreamPlan
from lockside.errors import FencedError
from lockside.reactions.lapses import LapseWatch
from lockside.state.ownership import Candidate, Ownership, OwnerTable
from tests.contract.trails import TableRig, items_of, table_rig
from tests.fakes.clock import FakeStop
from tests.fakes.live import MemoryLive
from tests.fakes.processor import Recorder
from tests.fakes.sources import lock_keys, pydynlock, source, wire
from tests.fakes.state_table import make_checkpoints
from tests.fakes.stream_rig import ServerRig
from tests.fakes.table import FakeTable
from tests.fakes.undecodable import MemoryUndecodables

LEASE_SECONDS = 9
CHANGES = 12


class Pausing(ShardProcessor):
    """A shard's processor that is held up before its second page: what happens meanwhile is `meanwhile`'s."""

    pages = 0
    meanwhile = staticmethod(lambda: None)

    def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
        """Consume a page, the second one after a pause."""
        self.pages += 1
        if self.pages == 2:
            self.meanwhile()
        super().process_records(records, caught_up=caught_up)


@dataclass
class Duel:
    """One stream of locks, and workers that take each other's place."""

    rig: ServerRig
    audit: TableRig
    live: MemoryLive = field(default_factory=MemoryLive)
    undecodables: MemoryUndecodables = field(default_factory=MemoryUndecodables)

    def ownership(self, name: str) -> Ownership:
        """Return a worker that owns nothing yet."""
        state = self.rig.state
        candidate = Candidate("app", name, f"host of {name}", LEASE_SECONDS * 1000)
        owners = OwnerTable(state.client, state.table, self.rig.clock)
        return Ownership(owners, candidate, lambda: state.highest_epoch(self.rig.arn))

    def engine(self, term: Term, meanwhile: Any = None) -> EmbeddedEngine:
        """Build a worker's engine under its term, with real processors; one that is held up does `meanwhile`."""
        state, clock, watched = self.rig.state, self.rig.clock, source("pydynlock")
        trail, table = self.audit.trail(), FakeTable(watched.key_schema, clock)
        lapses = LapseWatch({watched.id: watched}, PUBLIC_KEYS, table, trail, clock, NoMeter(), lambda _events: None)
        neighbours = Neighbours(
            trail, self.live, lapses, self.undecodables, clock, NoMeter(), lambda _events: None, lambda: None
        )

        def made(shard: ShardRef) -> ShardProcessor:
            if meanwhile is None:
                return ShardProcessor(shard, (watched,), PUBLIC_KEYS, "TRIM_HORIZON", neighbours)
            pausing = Pausing(shard, (watched,), PUBLIC_KEYS, "TRIM_HORIZON", neighbours)
            pausing.meanwhile = meanwhile
            return pausing

        checkpoints = make_checkpoints(state.client, state.table, clock, FakeStop(clock), term)
        services = replace(self.rig.services(), checkpoints=checkpoints)
        return EmbeddedEngine([StreamPlan("locks", self.rig.arn, precision_ms=1_000)], made, services)

    def kept(self) -> dict[tuple[str, str], Any]:
        """Return all that the audit table holds."""
        return {(item["pk"]["S"], item["sk"]["S"]): item for item in items_of(self.audit)}


@pytest.fixture
def duel(moto: Emulator) -> Iterator[Duel]:
    """Feed a shard that is read in several pages, a checkpoint after each."""
    with ServerRig.over(moto) as rig:
        rig.recorder = Recorder()
        rig.settings = replace(rig.settings, checkpoint=CheckpointPolicy(records=1), page_records=4)
        rig.add("root")
        rows = [pydynlock(f"owner-{number}", f"v{number}") for number in range(CHANGES)]
        pairs = [(None, rows[0]), *pairwise(rows)]
        rig.order(
            "put",
            shard_id="root",
            records=[wire(number, lock_keys("job"), old, new) for number, (old, new) in enumerate(pairs)],
        )
        audit = table_rig(moto)
        yield Duel(rig, audit)
        audit.close()


def test_edge_38_a_zombie_is_fenced_at_its_checkpoint_and_its_writes_do_no_harm(duel: Duel) -> None:
    """It wakes with a page in hand: what it writes is there already, to the byte, and its checkpoint is refused."""
    zombie, successor = duel.ownership("zombie"), duel.ownership("successor")
    assert zombie.look() is Standing.MINE
    left: list[dict[tuple[str, str], Any]] = []

    def taken_over() -> None:
        assert successor.look() is Standing.WAIT
        while successor.look() is Standing.WAIT:
            duel.rig.clock.advance(1)
        duel.engine(successor.term).run_once(FakeStop(duel.rig.clock))
        left.append(duel.kept())

    numbers = next(iter(duel.rig.shards().values())).numbers
    with pytest.raises(FencedError):
        duel.engine(zombie.term, taken_over).run_once(FakeStop(duel.rig.clock))
    (before,) = left
    changes = [item for item in before.values() if "ce" in item and str(item["sk"]["S"])[0] != "~"]
    assert len(changes) == CHANGES
    assert duel.kept() == before, "the zombie's writes changed what was there"
    assert duel.rig.position("root") == numbers[-1]
    assert zombie.look() is Standing.LOST
