"""The simulation finds bugs: each of those planted in `mutants`, and soon."""

import re
from collections.abc import Sequence

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.outcome import Outcome
from tests.simulation.world import World

SEEDS_MAX = 1_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    """A planted bug breaks a promise, the checker says which, and the seed shows it again at the same step."""
    # At its known seed; if the worlds have changed since, from the first one on.
    found = _found(mutant, [mutant.seed, *range(SEEDS_MAX)])
    assert found.violation is not None
    assert re.search(mutant.says, found.violation), found.story
    again = World(found.seed, mutant.parts).run()
    assert (again.violation, again.steps) == (found.violation, found.steps)


@pytest.mark.soak
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_planted_bug_is_found_within_a_thousand_seeds(mutant: Mutant) -> None:
    """From seed 0 on, a planted bug is found within a thousand seeds, where the same world is whole without it."""
    found = _found(mutant, range(SEEDS_MAX))
    assert World(found.seed).run().violation is None


def _found(mutant: Mutant, seeds: Sequence[int]) -> Outcome:
    """Return the first outcome in which the planted bug is seen."""
    for seed in seeds:
        outcome = World(seed, mutant.parts).run()
        if outcome.violation is not None:
            return outcome
    pytest.fail(f"not found in {len(seeds)} worlds")
