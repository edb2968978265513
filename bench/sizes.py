"""How much is measured: enough for a steady number, or just enough to see that every number comes out."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts of one run."""

    flood_locks: int
    flood_heartbeats: int
    flood_pages_a_turn: int
    written: int
    unit_changes: int
    slow_changes: int
    delays: int
    memory_locks: int
    memory_heartbeats: int
    restart_locks: tuple[int, ...]
    fleet_heartbeats: int
    explained: int
    lock_cycles: int
    phrases: int
    session_reads: int


FULL: Final = Sizes(
    flood_locks=500,
    flood_heartbeats=200_000,
    flood_pages_a_turn=10,
    written=10_000,
    unit_changes=2_000,
    slow_changes=60,
    delays=200,
    memory_locks=100_000,
    memory_heartbeats=1_000_000,
    restart_locks=(0, 10_000, 100_000),
    fleet_heartbeats=400_000,
    explained=1_000_000,
    lock_cycles=100,
    phrases=100_000,
    session_reads=300,
)
QUICK: Final = Sizes(
    flood_locks=100,
    flood_heartbeats=4_000,
    flood_pages_a_turn=2,
    written=500,
    unit_changes=100,
    slow_changes=10,
    delays=10,
    memory_locks=2_000,
    memory_heartbeats=4_000,
    restart_locks=(0, 100, 200),
    fleet_heartbeats=4_000,
    explained=4_000,
    lock_cycles=5,
    phrases=500,
    session_reads=5,
)
