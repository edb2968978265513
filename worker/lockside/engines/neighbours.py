"""What stands around a shard's processor, and is shared by all of a worker's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lockside.core.batch import Met, Revival
from lockside.core.change import ShardRef
from lockside.core.ports import Announce, Clock, Lapses, LiveIndex, Trail, Undecodables
from lockside.core.telemetry import Meter


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What every shard's processor works with."""

    trail: Trail
    live: LiveIndex
    lapses: Lapses
    undecodables: Undecodables
    clock: Clock
    meter: Meter
    announce: Announce
    rearmed: Callable[[], None]
    elders: Callable[[ShardRef, Sequence[Met]], list[Revival]] = lambda _shard, _met: []
    """Has the ended shards let go of what a shard met; by default there are none."""
