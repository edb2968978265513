"""What must hold when a worker was killed again and again, and its streams' other worker was spared."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lockside.core.entity import Key
from lockside.state import keys_file
from tests.fakes.kill_evidence import (
    Kept,
    Place,
    Trail,
    check_logs,
    checkpoints,
    ends,
    kept_undecodable,
    last_changes,
    live_entries,
    read_trail,
)
from tests.fakes.kill_points import is_write
from tests.fakes.truth import expected, session_name
from tests.integration.kill_stage import Side, Stage


@dataclass(frozen=True)
class Siege:
    """A story that was played: what the two workers were told, and what they left behind."""

    stage: Stage
    killed: Trail
    spared: Trail

    @property
    def written(self) -> set[str]:
        """The kinds of writes that the workers made which were killed."""
        return {kind for kind in self.stage.kinds if is_write(kind)}

    def told(self) -> str:
        """Sum it up in a line."""
        stage, lapses = self.stage, len(self.killed.lapses)
        points = Counter(how.partition(" #")[0] for how in stage.died)
        where = ", ".join(f"{point} {number}" for point, number in sorted(points.items()))
        return (
            f"{len(stage.died)} kills, {len(stage.traffic.truth)} steps, {len(self.killed.changes)} change records in "
            f"{len(self.killed.heads)} logs, {lapses} of {len(self.spared.lapses)} lapses, "
            f"{len(owed_by_killed(stage))} owed; died: {where}"
        )


def siege_of(stage: Stage) -> Siege:
    """Read what a story left."""
    return Siege(stage, read_trail(stage.client, stage.killed.audit), read_trail(stage.client, stage.spared.audit))


def told_all(stage: Stage) -> bool:
    """Whether both workers have declared all lapses that they owe."""

    def lacks(side: Side, owed: set[str]) -> bool:
        return not owed <= lapsed(read_trail(stage.client, side.audit))

    return not (lacks(stage.killed, owed_by_killed(stage)) or lacks(stage.spared, owed_by_spared(stage)))


def check_whole(siege: Siege) -> None:
    """Each log: each index once, each id once, the head over exactly these records; catalogued."""
    check_logs(siege.killed)
    check_logs(siege.spared)


def check_changes(siege: Siege) -> None:
    """No change without its record, none with two, each at its place in its log, byte for byte."""
    assert siege.spared.changes
    assert facts(siege.killed.changes) == facts(siege.spared.changes)


def facts(records: dict[Place, Kept]) -> dict[Place, tuple[str, int, bytes]]:
    """Take from records what must be equal."""
    return {place: (kept.log, kept.index, kept.body) for place, kept in records.items()}


def check_truth(siege: Siege) -> None:
    """What was spared tells the truth, so that to be equal to it means something."""
    stage = siege.stage
    truth = expected(stage.traffic.truth, entity_key(stage), expiries=True)
    told = siege.spared.told
    assert told.keys() == truth.keys()
    for name, steps in truth.items():
        assert Counter(told[name]) == Counter((step[0], step[1]) for step in steps), name
        changes = [event for event in told[name] if not is_lapse(event[0])]
        assert changes == [(step[0], step[1]) for step in steps if not is_lapse(step[0])], name


def is_lapse(event: str) -> bool:
    """Whether an event is a lapse."""
    return event.endswith(".expired")


def check_positions(siege: Siege) -> None:
    """At no death was a shard's position further on than its records and its head."""
    siege.stage.chronicle.check(siege.spared)


def check_lapses(siege: Siege) -> None:
    """None twice, none that the spared worker lacks; missing are only those that no later worker could know of."""
    assert siege.killed.lapses.keys() <= siege.spared.lapses.keys()
    assert owed_by_killed(siege.stage) <= lapsed(siege.killed)
    assert owed_by_spared(siege.stage) <= lapsed(siege.spared)
    for trail in (siege.killed, siege.spared):
        named = Counter(kept.event["data"]["entity"]["name"] for kept in trail.lapses.values())
        assert set(named.values()) <= {1}, f"lapsed twice: {named.most_common(3)}"


def lapsed(trail: Trail) -> set[str]:
    """Return the entities with a declared lapse."""
    return {kept.event["data"]["entity"]["name"] for kept in trail.lapses.values()}


def owed_by_spared(stage: Stage) -> set[str]:
    """Return the entities whose lapse a worker that is always up must declare."""
    return shown(stage, stage.traffic.names("expired"))


def owed_by_killed(stage: Stage) -> set[str]:
    """Return those whose lapse must be declared in spite of all deaths.

    Not a session that was removed after its deadline: no worker may have been up in between. Nor what was left for good
    before the position that some worker began from: it never saw the hold. A takeover proves a lapse by itself.
    """
    traffic = stage.traffic
    last = last_changes(stage.clients.streams, stage.arns)
    left = traffic.names("expired") - traffic.names("taken_over", "reaped")
    unseen = {name for name in left if name in last and stage.chronicle.consumed(*last[name])}
    return shown(stage, traffic.names("expired") - traffic.names("reaped") - unseen)


def shown(stage: Stage, names: set[str]) -> set[str]:
    """Spell rows as records name them."""
    key = entity_key(stage)
    return {session_name(name, key) if name.startswith("session:") else name for name in names}


def entity_key(stage: Stage) -> Key:
    """Return the key that makes pseudonyms."""
    return keys_file.load(stage.killed.settings.keys.file).entity


def check_state(siege: Siege) -> None:
    """Checkpoints, the live index and the undecodable store are in the end what they are without a single death."""
    stage = siege.stage
    sides = (stage.killed, stage.spared)
    killed, spared = (ends(checkpoints(stage.client, side.state, stage.arns)) for side in sides)
    assert killed == spared
    kept, kept_by_spared = (kept_undecodable(stage.client, side.state) for side in sides)
    assert kept == kept_by_spared
    killed_live, spared_live = (live_entries(stage.client, side.state) for side in sides)
    assert killed_live.keys() == spared_live.keys()
    for place, (position, version) in spared_live.items():
        # Who begins in the midst of a hold writes it anew at its next renewal, as it stands then.
        assert killed_live[place][0] > position or killed_live[place] == (position, version), place


CHECKS: Final[tuple[Callable[[Siege], None], ...]] = (
    check_whole,
    check_changes,
    check_truth,
    check_positions,
    check_lapses,
    check_state,
)
