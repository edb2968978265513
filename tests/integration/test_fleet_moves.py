"""Shards that roll under load, and workers that are restarted one after the other: order kept, nothing lost."""

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from lockside.emulators.emulator import Emulator
from tests.fakes.fleet import Fleet, fleet_on, silences
from tests.fakes.worker_process import WorkerProcess, worker_process

ROLLS: Final = 4
BETWEEN_SECONDS: Final = 3.0
BORN_SECONDS_MAX: Final = 60.0
STEPS_PER_SECOND: Final = 12.0


def tell(what: str, seconds: Sequence[float]) -> None:
    """Print what was measured."""
    spread = ", ".join(f"{each:.1f}" for each in seconds)
    sys.stdout.write(f"{what}: {spread} s; median {statistics.median(seconds):.1f}\n")


def roll(stage: Fleet, followers: Sequence[WorkerProcess]) -> dict[str, str]:
    """Let the lock table's shard roll; wait until its child is read by all, and return the child with its parent."""
    table = stage.settings["fleet"].source[0].table
    shards = stage.server.service.model.streams[stage.arns[0]].shards
    (parent,) = (shard_id for shard_id, shard in shards.items() if not shard.closed)
    (child,) = stage.order(roll={"table": table})["shards"]

    def is_read(lines: Sequence[dict[str, object]]) -> bool:
        return any(line["event"] == "batch" and line["shard"] == child for line in lines)

    def read_by_all() -> bool:
        for follower in followers:
            follower.last()
        return is_read(stage.lines()) and all(is_read(follower.lines) for follower in followers)

    stage.until(read_by_all, f"child {child} was not read", BORN_SECONDS_MAX)
    return {child: parent}


@pytest.mark.timeout(300)
def test_shards_that_roll_under_load_are_silent_for_seconds(dynamodb_local: Emulator, tmp_path: Path) -> None:
    """Both engines side by side over the same rolls: how long each was silent is told, and both wrote the same."""
    with fleet_on(dynamodb_local, "fleet-rolls", tmp_path) as stage:
        stage.start()
        alone = stage.stack.enter_context(worker_process(stage.configs["spared"], stage.emulator))
        alone.until("owner")
        stage.write(STEPS_PER_SECOND)
        stage.until(stage.open_owned, "a shard has no owner")
        born: dict[str, str] = {}
        for _ in range(ROLLS):
            born |= roll(stage, [alone])
            time.sleep(BETWEEN_SECONDS)
        stage.quiet()
        stage.until(lambda: stage.told_by("fleet", "spared"), "a lapse was not declared")
        stage.stop_other(alone)
        stage.settle()
        stage.stop(stage.workers[0])
        stage.check()
        tell("silence at a roll, embedded", silences(alone.lines, born))
        tell("silence at a roll, kcl", silences(stage.lines(), born))


@pytest.mark.timeout(300)
def test_workers_are_restarted_one_after_the_other(dynamodb_local: Emulator, tmp_path: Path) -> None:
    """Three workers, each stopped and started anew under load: nothing lost, and the hand-over times told."""
    with fleet_on(dynamodb_local, "fleet-restart", tmp_path, shards=2) as stage:
        stage.start(3)
        stage.write()
        stage.until(stage.open_owned, "a shard has no owner")
        ends: list[float] = []
        gaps: list[float] = []
        for worker in list(stage.workers):
            shards = {shard.shard_id for shard in stage.owned(stage.id_of(worker))}
            ends.append(stage.stop(worker))
            stopped = time.time()
            stage.start()
            if shards:
                is_theirs = lambda line, shards=shards: line["event"] == "batch" and line["shard"] in shards  # noqa: E731
                gaps.append(stage.first_after(stopped, is_theirs, BORN_SECONDS_MAX))
        stage.settle()
        for worker in list(stage.workers):
            stage.stop(worker)
        stage.check()
        tell("a graceful stop", ends)
        tell("hand-over after a stop", gaps)
