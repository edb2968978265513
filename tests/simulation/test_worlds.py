"""The worker's promises hold in worlds where everything goes wrong (docs/guarantees.md)."""

from dataclasses import fields

import pytest

from tests.simulation.chance import Faults
from tests.simulation.world import World

SEEDS_A_TEST = 20


@pytest.mark.parametrize("first", range(0, 300, SEEDS_A_TEST))
def test_no_promise_is_broken(first: int) -> None:
    """In each of many seeded worlds no promise is broken, and all comes to rest when faults stop."""
    for seed in range(first, first + SEEDS_A_TEST):
        outcome = World(seed).run()
        assert outcome.violation is None, outcome.story


def test_a_seed_replays_to_the_same_write() -> None:
    """The same seed gives the same world, write by write."""
    first, again = World(7).run(), World(7).run()
    assert (first.digest, first.steps, first.faults) == (again.digest, again.steps, again.faults)


def test_worlds_are_full_of_life() -> None:
    """The worlds see what they are for: records, lapses, losses, and every kind of fault."""
    outcomes = [World(seed).run() for seed in range(20)]
    assert all(sum(getattr(each, name) for each in outcomes) > 0 for name in ("records", "lapses", "gaps"))
    struck = {fault for each in outcomes for fault in each.faults}
    assert struck == {each.name for each in fields(Faults)}
