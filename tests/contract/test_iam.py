"""The policies of `deploy/iam`: each allows what its command calls, all of it and nothing else.

Each command is run with IAM in front of the emulator and nothing allowed but its policy. What it was denied is missing
in the policy; what it never used is too much there.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from lockside.app import fleet
from lockside.emulators.emulator import Emulator, Kind
from tests.fakes.estate import Estate, Heard
from tests.fakes.permissions import grants, renamed
from tests.fakes.sources import lock_keys, pydynlock, wire

MANY: Final = 30
"""Changes that do not all come in pages of their own: of those in one page the live index is written in one call."""

LATER_SECONDS: Final = 3600
POLICIES: Final = Path(__file__).parents[2] / "deploy" / "iam"


def work(estate: Estate) -> None:
    """Live through all that a worker does: holds begun and ended, many at once and singly, lapses, a new stream."""
    with estate.working() as heard:
        live(estate, heard)


def work_in_a_fleet(estate: Estate) -> None:
    """Live through the same under KCL, which makes its tables and leases what it reads."""
    fleet.fetch_jars()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCKSIDE_ENGINE__KIND", "kcl")
        with estate.working() as heard:
            estate.hand_out_leases()
            live(estate, heard)


def live(estate: Estate, heard: Heard) -> None:
    """Be the clients, and look on at what the worker writes."""
    for number in range(MANY):
        estate.take(f"many-{number}")
    heard.until("lock.acquired", MANY)
    for number in range(MANY):
        estate.release(f"many-{number}")
    heard.until("lock.released", MANY)
    estate.take("one")
    heard.until("lock.acquired")
    estate.release("one")
    heard.until("lock.released")
    estate.take("left", "0.5")
    estate.log_in("left", f"{time.time() + 1:.3f}")
    heard.until("lock.expired")
    heard.until("session.expired")
    estate.replace_streams()
    if estate.settings.engine.kind == "kcl":
        estate.hand_out_leases()
    estate.take("later")
    estate.log_in("later", f"{time.time() + LATER_SECONDS:.3f}")
    heard.until("lock.acquired", 2)
    heard.until("session.started", 2)


def make(estate: Estate) -> None:
    """Make everything; then protect what was made without protection, and make what a fleet has besides."""
    assert estate.run("init").exit_code == 0
    estate.change_settings(protection=True)
    assert estate.run("init").exit_code == 0
    estate.make_watched()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCKSIDE_ENGINE__KIND", "kcl")
        assert estate.run("init").exit_code == 0


def look(estate: Estate) -> None:
    """Check an installation that could run, with either engine; of a fleet before its first worker and after."""
    look_with("embedded", estate)
    fleet.fetch_jars()
    look_with("kcl", estate)
    estate.make_lease_tables()
    look_with("kcl", estate)


def look_with(engine: str, estate: Estate) -> None:
    """Check with one of the engines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCKSIDE_ENGINE__KIND", engine)
        result = estate.run("check")
        assert result.exit_code == 0, result.output


def follow(estate: Estate) -> None:
    """Show the trail."""
    assert "lock.acquired" in estate.run("tail", "--since", "-1h").stdout


def ask(estate: Estate) -> None:
    """Ask by each of the ways a question may take."""
    for question in (["--lock", "a"], ["--actor", "ann"], ["--event", "lock.acquired"]):
        assert "lock.acquired" in estate.run("query", *question, "--since", "-1h").stdout, question


def state(estate: Estate) -> None:
    """Ask how the worker does."""
    assert "no worker runs" in estate.run("status").output


def look_at_leases(estate: Estate) -> None:
    """Ask who has which shard."""
    assert "leased to nobody" in estate.run("kcl", "leases").output


def read_again(estate: Estate) -> None:
    """Redrive what an older version could not read."""
    assert "lock.acquired" in estate.run("redrive", "--all").output


def nothing(estate: Estate) -> None:
    """Stand before an empty place."""
    del estate


def tables(estate: Estate) -> None:
    """Have all tables."""
    estate.make()


def trail(estate: Estate) -> None:
    """Have a trail."""
    estate.make()
    estate.take("a")
    estate.drain()


def leases(estate: Estate) -> None:
    """Have shards to lease, and nobody who does."""
    estate.make()
    estate.make_lease_tables()
    estate.hand_out_leases()


def undecodable(estate: Estate) -> None:
    """Have changes kept that can be read by now."""
    estate.make()
    estate.keep_undecodable(wire(7, lock_keys("job"), None, pydynlock("ann", "v1")))


Step = Callable[[Estate], None]
COMMANDS: Final[dict[str, tuple[Kind, Step, Step]]] = {
    "run-embedded": ("dynamodb-local", tables, work),
    "run-kcl": ("dynamodb-local", tables, work_in_a_fleet),
    # DynamoDB Local offers no point-in-time recovery, so there would be nothing to turn on.
    "init": ("moto", nothing, make),
    "check": ("dynamodb-local", trail, look),
    "tail": ("dynamodb-local", trail, follow),
    "query": ("dynamodb-local", trail, ask),
    "status": ("dynamodb-local", trail, state),
    "kcl-leases": ("dynamodb-local", leases, look_at_leases),
    "redrive": ("dynamodb-local", undecodable, read_again),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_policy_allows_what_its_command_calls_and_nothing_else(
    command: str, emulator_of: Callable[[Kind], Emulator], tmp_path: Path
) -> None:
    """A call that is missing is named, and so is an action that is never used."""
    kind, prepare, act = COMMANDS[command]
    estate = Estate(emulator_of(kind), tmp_path)
    prepare(estate)
    allowed = renamed(grants(POLICIES / f"{command}.json"), estate.names)
    with estate.guarded(allowed) as guard:
        try:
            act(estate)
        finally:
            assert not guard.denied, f"the policy lacks {sorted(guard.denied)}"
    assert guard.used == allowed, f"never used: {sorted(allowed - guard.used)}"
