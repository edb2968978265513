"""A fleet whose leader and owner is killed: the others go on within seconds, and write what a lone worker writes.

FLEET_KILLS in the environment says how many the long run has.
"""

import os
import statistics
import sys
from pathlib import Path
from typing import Final

import pytest

from lockside.emulators.emulator import Emulator
from tests.fakes.fleet import Fleet, fleet_on

SOAK_KILLS: Final = int(os.environ.get("FLEET_KILLS") or 10)
NEXT_SECONDS_MAX: Final = 90.0
"""How long a test waits for the next record; how long it took is told, and judged in the long run."""

MEDIAN_SECONDS_MAX: Final = 10.0
EVERY_SECONDS_MAX: Final = 20.0


def kill_once(stage: Fleet, *, child: bool = False) -> float:
    """Kill the leader and owner; return the seconds to the next record of one of its shards, or of their children."""
    victim = stage.leader_and_owner()
    stage.until(stage.open_owned, "a shard has no owner")
    shards = {shard.shard_id for shard in stage.owned(stage.id_of(victim))}
    if child:
        table = stage.settings["fleet"].source[0].table
        shards |= set(stage.order(roll={"table": table})["shards"])
    at = stage.kill(victim)
    return stage.first_after(at, lambda line: line["event"] == "batch" and line["shard"] in shards, NEXT_SECONDS_MAX)


def tell(what: str, seconds: list[float]) -> None:
    """Print what was measured."""
    spread = ", ".join(f"{each:.1f}" for each in seconds)
    sys.stdout.write(f"{what}: {spread} s from kill to next record; median {statistics.median(seconds):.1f}\n")


@pytest.mark.timeout(400)
def test_a_killed_leader_and_owner_is_followed(dynamodb_local: Emulator, tmp_path: Path) -> None:
    """Killed once in mid-work, and once as a child shard is born: every change has its one record, byte for byte."""
    with fleet_on(dynamodb_local, "fleet-kills", tmp_path) as stage:
        stage.start(2)
        stage.write()
        seconds = [kill_once(stage)]
        stage.start()
        seconds.append(kill_once(stage, child=True))
        stage.settle()
        for worker in list(stage.workers):
            stage.stop(worker)
        stage.check()
    tell("two kills", seconds)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("shards", [1, 20])
def test_ten_kills(dynamodb_local: Emulator, tmp_path: Path, shards: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The same ten times, also with twenty shards: within ten seconds at the median, and never more than twenty."""
    with fleet_on(dynamodb_local, f"fleet-soak-{shards}", tmp_path, shards=shards) as stage:
        stage.start(2)
        stage.write()
        seconds: list[float] = []
        for number in range(SOAK_KILLS):
            seconds.append(kill_once(stage, child=number % 3 == 2))
            stage.start()
        stage.settle()
        for worker in list(stage.workers):
            stage.stop(worker)
        stage.check()
    with capsys.disabled():
        tell(f"{SOAK_KILLS} kills, {shards} shards", seconds)
    assert statistics.median(seconds) <= MEDIAN_SECONDS_MAX
    assert max(seconds) <= EVERY_SECONDS_MAX
