"""A worker that is killed everywhere, again and again, writes what one that is spared writes.

KILL_SEED in the environment brings back a story's traffic and order of deaths; KILLS says how many the long ones have.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, Literal, get_args

import pytest

from lockside.emulators.emulator import Emulator
from tests.fakes.kill_points import ANY, Moment, Point
from tests.fakes.kill_traffic import Writing
from tests.fakes.stream_model import made_record
from tests.fakes.stream_server import StreamServer
from tests.integration.kill_checks import CHECKS, siege_of, told_all
from tests.integration.kill_stage import Nursery, Stage, staged

Backend = Literal["dynamodb-local", "stream-server"]

SEED: Final = int(os.environ.get("KILL_SEED") or SystemRandom().randrange(1 << 32))
STEPS_PER_SECOND: Final = 12.0
SETTLE_SECONDS_MAX: Final = 30.0
RANDOM_SECONDS_MAX: Final = 2.0
RANDOM_CALLS_MAX: Final = 80
SOAK_KILLS: Final = int(os.environ.get("KILLS") or 100)
"""On each backend."""

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


@dataclass(frozen=True, slots=True)
class Plot:
    """What happens to the worker that is killed: a death at each point in turn, and then some at random."""

    backend: Backend
    points: tuple[Point, ...]
    at_random: int = 0
    other_recipe: bool = False


PLOTS: Final[Mapping[str, Plot]] = {
    "the first steps": Plot(
        "dynamodb-local",
        # In the order in which a new application writes them first: each death leaves the next to be made.
        (
            *around("take-over", "genesis of application", "first head of application", "observe of application"),
            *around("stream known", "genesis of observer", "first head of observer"),
        ),
    ),
    "each batch": Plot(
        "dynamodb-local",
        around("records", "live batch", "observe of observer", "head", "checkpoint", "renewal", "status", "proof"),
        at_random=4,
    ),
    "shards that roll": Plot(
        "stream-server",
        (
            *around("catalogue", "first checkpoint", "claim", "finished", "live put", "live delete", "release"),
            # Attempted where there is no row yet, which is then made; one that is there is written once an hour.
            Point("tip", "before"),
            # An undecodable change is kept by three writes.
            *around("undecodable"),
            Point("undecodable", "after", 2),
            Point("undecodable", "after", 3),
        ),
        at_random=3,
    ),
    "another recipe": Plot(
        "dynamodb-local",
        around("seal", "genesis of shard", "first head of shard"),
        other_recipe=True,
    ),
}
KINDS: Final = frozenset(point.kind for plot in PLOTS.values() for point in plot.points)


@dataclass
class Scene:
    """A plot under way: the stage, the traffic, and the streams server if there is one."""

    stage: Stage
    server: StreamServer | None
    writing: Writing | None = None

    def order(self, **order: Any) -> None:
        """Command the streams server."""
        if self.server is not None:
            self.server.control(order)

    def write(self) -> None:
        """Let there be traffic, and shards that roll."""
        self.order(life={"roll_seconds": 6.0, "split": 0.3, "leaves_max": 2, "late_seconds": 0.5, "seed": SEED})
        self.writing = Writing(self.stage.traffic, STEPS_PER_SECOND)

    def quiet(self) -> None:
        """End the traffic; no shard rolls from here on, so that both sides come to the same end."""
        if self.writing is not None:
            self.writing.close()
        self.order(life={})

    def settle(self) -> None:
        """Let the workers end what is left, in good order: all lapses told that either owes, all changes written."""
        self.quiet()
        self.stage.rest(lambda: told_all(self.stage), SETTLE_SECONDS_MAX)
        self.stage.drain()

    def kill(self, point: Point) -> None:
        """Let the worker die at a point, which is brought about where it would be rare."""
        if point.kind == "undecodable":
            self.spoil()
        self.stage.kill(point, HALTS.get(point.kind))

    def kill_at_random(self) -> None:
        """Kill at some call, or at some moment."""
        chance = self.stage.chance
        if chance.random() < 0.5:
            self.stage.kill(Point(ANY, chance.choice(MOMENTS), chance.randint(1, RANDOM_CALLS_MAX)))
        else:
            self.stage.kill_after(chance.uniform(0.05, RANDOM_SECONDS_MAX))

    def spoil(self) -> None:
        """Let the stream carry a change that nobody understands."""
        record = made_record(f"session:odd-{len(self.stage.died)}", len(self.stage.died))
        self.order(put={"table": self.stage.traffic.session_table, "records": [{**record, "eventName": "UPSERT"}]})


@dataclass(frozen=True, slots=True)
class Ground:
    """What a story is played on."""

    nursery: Nursery
    emulator: Emulator
    folder: Path


@pytest.fixture(scope="module")
def nursery(dynamodb_local: Emulator) -> Iterator[Nursery]:
    """Start the process that all workers come from."""
    made = Nursery(dynamodb_local.environment)
    yield made
    made.close()


@pytest.fixture
def ground(nursery: Nursery, dynamodb_local: Emulator, tmp_path: Path) -> Ground:
    """Return what a story needs."""
    return Ground(nursery, dynamodb_local, tmp_path)


def play(ground: Ground, backend: Backend, name: str, act: Callable[[Scene], None]) -> str:
    """Play a story to its end and see that all holds; return what happened, in a line."""
    sys.stdout.write(f"{name} on {backend}: KILL_SEED={SEED}\n")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        server: StreamServer | None = None
        if backend == "stream-server":
            server = stack.enter_context(StreamServer(backing_url=ground.emulator.endpoint_url))
        emulator = ground.emulator if server is None else server.emulator
        for variable, value in emulator.environment.items():
            patch.setenv(variable, value)
        stage = stack.enter_context(staged(ground.nursery, emulator, name.replace(" ", "-"), ground.folder, SEED))
        scene = Scene(stage, server)
        stack.callback(scene.quiet)
        scene.write()
        act(scene)
        scene.settle()
        siege = siege_of(stage)
        assert siege.written <= KINDS, "a write at which no worker dies"
        for check in CHECKS:
            check(siege)
        return siege.told()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLOTS)
def test_killed_or_spared_it_is_the_same(name: str, ground: Ground) -> None:
    """A death at every boundary: each change has its one record at its place, byte for byte; no lapse is made up."""
    plot = PLOTS[name]

    def act(scene: Scene) -> None:
        if plot.other_recipe:
            scene.kill(Point("checkpoint", "after", 3))
            scene.settle()
            scene.stage.change_recipe()
            scene.stage.begin(scene.stage.spared)
            scene.write()
        for point in plot.points:
            scene.kill(point)
        for _ in range(plot.at_random):
            scene.kill_at_random()

    play(ground, plot.backend, name, act)


# -- the long run ------------------------------------------------------------------------------------------------------


def wear_down(scene: Scene) -> None:
    """Kill at any boundary, call or moment, as chance has it."""
    kinds, stage = sorted(KINDS - HALTS.keys()), scene.stage
    for number in range(1, SOAK_KILLS + 1):
        if number % UNDECODABLE_EVERY == 0:
            scene.spoil()
        if stage.chance.random() < 0.5:
            scene.kill_at_random()
        else:
            point = Point(stage.chance.choice(kinds), stage.chance.choice(MOMENTS), stage.chance.randint(1, 4))
            stage.kill_after(PATIENCE_SECONDS, point)
        if number % TELL_EVERY == 0:
            sys.stderr.write(f"  {number}/{SOAK_KILLS} kills, {len(stage.traffic.truth)} steps\n")


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("backend", get_args(Backend))
def test_two_hundred_kills(backend: Backend, ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """The same, however often it dies."""
    told = play(ground, backend, f"soak {backend}", wear_down)
    with capsys.disabled():
        sys.stdout.write(f"\n{backend}, KILL_SEED={SEED}: {told}\n")
