"""The awslabs Java client and LockClient contend for one table correctly, in both directions."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockside.emulators.emulator import Emulator
from tests.foreign import java
from tests.foreign.arena import LOCKS, ROBBED, Arena, Claim, overlapping
from tests.foreign.history import Change, early, fences, takeovers

pytestmark = [pytest.mark.foreign_clients, pytest.mark.xdist_group("foreign")]

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def class_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile the Java side."""
    return java.compiled(tmp_path_factory.mktemp("java"))


@pytest.fixture
def arena(class_path: str, dynamodb_local: Emulator, tmp_path: Path) -> Iterator[Arena]:
    """Return an arena on DynamoDB Local."""
    del tmp_path
    number = next(_NUMBERS)
    made = Arena(dynamodb_local, class_path, number, seed=7 + number)
    yield made
    made.close()


def missing(arena: Arena) -> list[str]:
    """Name what has not happened often enough to judge by."""
    changes = arena.history.changes
    late = [step for step in arena.steps("refused-late") if step.lock in LOCKS]
    counts = {
        "takeovers": (len([each for each in takeovers(changes) if each.lock in LOCKS]), 2),
        "late writes refused": (len(late), 1),
        "writes refused by the fence alone": (len(arena.steps("fenced")), 1),
        "acquisitions by Java": (len(arena.steps("acquired", side="java")), 10),
        "acquisitions by Lockside": (len(arena.steps("acquired", side="lockside")), 10),
        "kinds of robbery": (len({step.kind for step in arena.steps(side="vandal")}), 2),
        **{f"fences of {lock}": (len(fences(changes, lock)), 2) for lock in (*LOCKS, ROBBED)},
    }
    return [name for name, (count, least) in counts.items() if count < least]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [pytest.param(15, id="15s"), pytest.param(60, id="60s", marks=pytest.mark.soak)])
def test_java_and_lockside_fight_over_the_same_locks(arena: Arena, seconds: int) -> None:
    """Killed, frozen and robbed, no two hold a lock within its lease; who wakes up too late is refused."""
    arena.fight(seconds, lambda: not missing(arena))
    changes = arena.history.changes
    errors = [error for fighter in arena.fighters for error in fighter.errors]
    assert not [error for error in errors if "Exception" in error], errors[:5]

    # The table's own history: nobody took a held row before its lease was over.
    orderly = [change for change in changes if change.lock in LOCKS]
    assert early(orderly) == []
    # What the clients themselves say, on the one clock of this machine.
    assert arena.overlaps() == []

    # Fences: strictly growing, whoever deleted or stole the row in between.
    for lock in (*LOCKS, ROBBED):
        seen = fences(changes, lock)
        assert seen == sorted(set(seen))

    # The fenced counter: what it took, it took in order, and it took what a fighter says it wrote.
    for lock in LOCKS:
        taken = arena.taken(lock)
        assert taken == sorted(set(taken))
        assert {step.fence for step in arena.steps("wrote") if step.lock == lock} <= set(taken)

    # All of it happened: progress on both sides, takeovers, robberies, late writes that were tried and refused.
    assert missing(arena) == []


def test_the_checks_find_what_they_look_for() -> None:
    """A takeover within a lease, and two claims at once, do not pass."""

    def row(owner: str) -> dict[str, dict[str, str]]:
        return {"ownerName": {"S": owner}, "leaseDuration": {"S": "1500"}}

    taken = Change("left", None, row("a"), 0.0, 0.01)
    assert early([taken, Change("left", row("a"), row("b"), 1.0, 1.01)])
    assert not early([taken, Change("left", row("a"), row("b"), 1.6, 1.61)])
    released = Change("left", {**row("a"), "isReleased": {"S": "1"}}, row("b"), 1.0, 1.01)
    assert not early([taken, released])
    one, other = Claim("a", "left", 0.0, 1.0), Claim("b", "left", 0.9, 2.0)
    assert list(overlapping([other, one])) == [(one, other)]
    assert not list(overlapping([one, Claim("b", "left", 1.0, 2.0)]))
