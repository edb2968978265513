"""A worker that is killed everywhere, again and again, writes what one that was spared writes.

KILL_SEED in the environment brings back a story's traffic and order of deaths; KILLS says how many the long one has.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Any, Final, Literal, get_args

import pytest

from lockside.core.entity import Key
from lockside.emulators.emulator import Emulator, Kind
from lockside.state import keys_file
from tests.fakes.kill_evidence import (
    Kept,
    Place,
    Trail,
    check_logs,
    checkpoints,
    ends,
    last_changes,
    live_entries,
    read_trail,
)
from tests.fakes.kill_points import ANY, Moment, Point, is_write
from tests.fakes.kill_traffic import Writing
from tests.fakes.stream_model import made_record
from tests.fakes.stream_server import StreamServer
from tests.fakes.truth import expected, session_name
from tests.integration.kill_stage import Stage, staged

pytestmark = pytest.mark.timeout(600)

Backend = Literal["dynamodb-local", "stream-server"]

SEED: Final = int(os.environ.get("KILL_SEED") or SystemRandom().randrange(1 << 32))
STEPS_PER_SECOND: Final = 12.0
SETTLE_SECONDS_MAX: Final = 20.0
RANDOM_KILLS: Final = 5
RANDOM_SECONDS_MAX: Final = 2.5
RANDOM_CALLS_MAX: Final = 80
SOAK_KILLS: Final = int(os.environ.get("KILLS") or 200)
TELL_EVERY: Final = 10
UNDECODABLE_EVERY: Final = 10
PATIENCE_SECONDS: Final = 6.0
"""A rare boundary may not come: then the worker dies wherever it is."""

MOMENTS: Final[tuple[Moment, Moment]] = ("before", "after")
HALTS: Final[Mapping[str, Point]] = {"release": Point("records", "after", 1)}
"""When a worker is asked to stop that shall die at what it does then."""


def around(*kinds: str) -> tuple[Point, ...]:
    """Return the two points of each kind."""
    return tuple(Point(kind, moment) for kind in kinds for moment in MOMENTS)


BY_BOTH: Final = around("records", "live batch", "observe of observer", "head", "checkpoint")
PLANS: Final[Mapping[Backend, tuple[Point, ...]]] = {
    "dynamodb-local": (
        # In the order in which a new application writes them first: each death leaves the next to be made.
        *around("take-over", "genesis of application", "first head of application", "observe of application"),
        *around("stream known", "genesis of observer", "first head of observer", "renewal", "proof"),
        *BY_BOTH,
    ),
    "stream-server": (
        *around("genesis of shard", "first head of shard", "first checkpoint", "catalogue", "live put", "live delete"),
        *around("claim", "status", "finished", "tip", "release", "undecodable"),
        # An undecodable change is kept by three writes.
        Point("undecodable", "after", 2),
        Point("undecodable", "after", 3),
        *BY_BOTH,
    ),
}
"""What a worker dies before and after, at the size of `make test`."""

KINDS: Final = frozenset(point.kind for plan in PLANS.values() for point in plan)


@dataclass
class Siege:
    """A story that was played: what the two workers were told, and what they left behind."""

    stage: Stage
    killed: Trail
    spared: Trail


@dataclass
class Scene:
    """A story under way: the stage, the traffic, and the streams server if there is one."""

    backend: Backend
    stage: Stage
    writing: Writing
    server: StreamServer | None

    def order(self, **order: Any) -> None:
        """Command the streams server."""
        if self.server is not None:
            self.server.control(order)

    def kill(self, point: Point) -> None:
        """Let the worker die at a point, which is brought about where it would be rare."""
        match point.kind:
            case "undecodable":
                self.spoil()
                self.stage.kill(point)
            case "tip":
                # It is told of a shard that nothing comes from: no traffic, and children that are just born.
                with self.writing.paused():
                    self.order(roll={"table": self.stage.traffic.lock_table})
                    self.stage.kill(point)
            case _:
                self.stage.kill(point, HALTS.get(point.kind))

    def spoil(self) -> None:
        """Let the stream carry a change that nobody understands."""
        record = made_record(f"session:odd-{len(self.stage.died)}", len(self.stage.died))
        self.order(put={"table": self.stage.traffic.session_table, "records": [{**record, "eventName": "UPSERT"}]})


Plot = Callable[[Scene], None]
"""What happens to the worker that is killed."""


def ground(backend: Backend, emulator: Emulator, stack: ExitStack) -> tuple[Emulator, StreamServer | None]:
    """Prepare a backend: an emulator itself, or the streams server before it."""
    if backend == "dynamodb-local":
        return emulator, None
    server = stack.enter_context(StreamServer(backing_url=emulator.endpoint_url))
    pace = {"roll_seconds": 6.0, "split": 0.3, "leaves_max": 2, "late_seconds": 0.5}
    server.control({"life": {**pace, "seed": SEED}})
    return server.emulator, server


def besiege(scene: Scene) -> None:
    """Kill at every boundary, then at random."""
    for point in PLANS[scene.backend]:
        scene.kill(point)
    for _ in range(RANDOM_KILLS):
        at_random(scene.stage)


def at_random(stage: Stage) -> None:
    """Kill at some call, or at some moment."""
    chance = stage.chance
    if chance.random() < 0.5:
        stage.kill(Point(ANY, chance.choice(MOMENTS), chance.randint(1, RANDOM_CALLS_MAX)))
    else:
        stage.kill_after(chance.uniform(0.05, RANDOM_SECONDS_MAX))


def finish(stage: Stage) -> None:
    """Let the workers end what is left: all lapses told that either will tell, all changes written."""
    owed = {stage.killed.audit: owed_by_killed(stage), stage.spared.audit: owed_by_spared(stage)}

    def settled() -> bool:
        return all(names <= lapsed(read_trail(stage.client, table)) for table, names in owed.items())

    stage.rest(settled, SETTLE_SECONDS_MAX)
    stage.drain()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("dynamodb-local", marks=pytest.mark.xdist_group("kills on dynamodb-local")),
        pytest.param("stream-server", marks=pytest.mark.xdist_group("kills on stream-server")),
    ],
)
def siege(
    request: pytest.FixtureRequest,
    emulator_of: Callable[[Kind], Emulator],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Siege]:
    """Play a story at the size of `make test`."""
    yield from play(request.param, emulator_of, tmp_path_factory, besiege)


def play(
    backend: Backend,
    emulator_of: Callable[[Kind], Emulator],
    tmp_path_factory: pytest.TempPathFactory,
    plot: Plot,
) -> Iterator[Siege]:
    """Play a story to its end and read what it left."""
    sys.stdout.write(f"{backend}: KILL_SEED={SEED}\n")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        emulator, server = ground(backend, emulator_of("dynamodb-local"), stack)
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        # Traffic and deaths draw apart: how much is written meanwhile is not the same in any two runs.
        deaths, writes = Random(SEED), Random(SEED)  # noqa: S311 - no secret hangs on it
        folder = tmp_path_factory.mktemp("kills")
        stage = stack.enter_context(staged(emulator, f"kills-{backend}", folder, deaths, writes))
        scene = Scene(backend, stage, Writing(stage.traffic, STEPS_PER_SECOND), server)
        stack.callback(scene.writing.close)
        plot(scene)
        scene.writing.close()
        # From here on no shard rolls, so that both sides come to the same end.
        scene.order(life={})
        finish(stage)
        killed, spared = (read_trail(stage.client, side.audit) for side in (stage.killed, stage.spared))
        yield Siege(stage, killed, spared)


# -- what must hold ----------------------------------------------------------------------------------------------------


def check_boundaries(siege: Siege) -> None:
    """Every kind of write that a worker makes is planned for: on one backend or on both, it dies before and after."""
    assert {kind for kind in siege.stage.kinds if is_write(kind)} <= KINDS


def check_changes(siege: Siege) -> None:
    """No change without its record, none with two, each at its place in its log, byte for byte."""
    assert facts(siege.killed.changes) == facts(siege.spared.changes)
    assert siege.killed.changes


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
        assert [event for event in told[name] if not is_lapse(event[0])] == [
            (step[0], step[1]) for step in steps if not is_lapse(step[0])
        ], name
        lapsed = [event for event in told[name] if is_lapse(event[0])]
        assert lapsed == [(step[0], step[1]) for step in steps if is_lapse(step[0])], name


def is_lapse(event: str) -> bool:
    """Whether an event is a lapse."""
    return event.endswith(".expired")


def check_lapses(siege: Siege) -> None:
    """None that the spared worker lacks; missing are only those of holds that no later worker saw, or that ended."""
    assert siege.killed.lapses.keys() <= siege.spared.lapses.keys()
    assert owed_by_killed(siege.stage) <= lapsed(siege.killed)
    assert owed_by_spared(siege.stage) <= lapsed(siege.spared)


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
    unseen = {name for name in left if stage.chronicle.consumed(*last[name])}
    return shown(stage, traffic.names("expired") - traffic.names("reaped") - unseen)


def shown(stage: Stage, names: set[str]) -> set[str]:
    """Spell rows as records name them."""
    key = entity_key(stage)
    return {session_name(name, key) if name.startswith("session:") else name for name in names}


def entity_key(stage: Stage) -> Key:
    """Return the key that makes pseudonyms."""
    return keys_file.load(stage.killed.settings.keys.file).entity


def check_state(siege: Siege) -> None:
    """Checkpoints and the live index are in the end what they are without a single death."""
    stage = siege.stage
    sides = (stage.killed, stage.spared)
    killed, spared = (ends(checkpoints(stage.client, side.state, stage.arns)) for side in sides)
    assert killed == spared
    killed_live, spared_live = (live_entries(stage.client, side.state) for side in sides)
    assert killed_live == spared_live


def test_it_died_at_every_boundary(siege: Siege) -> None:
    """No kind of write was seen that is not in the plan, all of which was carried out."""
    check_boundaries(siege)


def test_each_log_is_whole(siege: Siege) -> None:
    """Each index once, each id once, the head over exactly these records; catalogued."""
    check_logs(siege.killed)
    check_logs(siege.spared)


def test_change_records_are_those_of_a_worker_that_was_spared(siege: Siege) -> None:
    """No change without its record, none with two, each at its place in its log, byte for byte."""
    check_changes(siege)


def test_the_worker_that_was_spared_tells_the_truth(siege: Siege) -> None:
    """Each lock and each session has the events of what was done to it, each lapse once."""
    check_truth(siege)


def test_no_checkpoint_stood_beyond_what_was_acknowledged(siege: Siege) -> None:
    """At no death was a shard's position further on than its records and its head."""
    siege.stage.chronicle.check(siege.spared)


def test_no_lapse_twice_and_none_made_up(siege: Siege) -> None:
    """Missing are only lapses of holds that no later worker saw, or that ended while none was up."""
    check_lapses(siege)


def test_what_is_remembered_is_the_same(siege: Siege) -> None:
    """Checkpoints and the live index are in the end what they are without a single death."""
    check_state(siege)


# -- the long run ------------------------------------------------------------------------------------------------------


def wear_down(scene: Scene) -> None:
    """Kill at any boundary, call or moment, as chance has it."""
    kinds, stage = sorted(KINDS - HALTS.keys()), scene.stage
    for number in range(1, SOAK_KILLS + 1):
        if number % UNDECODABLE_EVERY == 0:
            scene.spoil()
        if stage.chance.random() < 0.5:
            at_random(stage)
        else:
            point = Point(stage.chance.choice(kinds), stage.chance.choice(MOMENTS), stage.chance.randint(1, 4))
            stage.kill_after(PATIENCE_SECONDS, point)
        if number % TELL_EVERY == 0:
            sys.stderr.write(f"  {number}/{SOAK_KILLS} kills, {len(stage.traffic.truth)} writes\n")


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("backend", get_args(Backend))
def test_two_hundred_kills(
    backend: Backend, emulator_of: Callable[[Kind], Emulator], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same, however often it dies."""
    for siege in play(backend, emulator_of, tmp_path_factory, wear_down):
        check_boundaries(siege)
        for trail in (siege.killed, siege.spared):
            check_logs(trail)
        check_changes(siege)
        check_truth(siege)
        siege.stage.chronicle.check(siege.spared)
        check_lapses(siege)
        check_state(siege)
