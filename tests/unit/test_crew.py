"""The engine's threads: what becomes of a reader whose step was broken off."""

from collections.abc import Callable
from threading import Event
from typing import Any

from lockside.core.change import ShardRef
from lockside.engines.embedded.crew import Crew
from lockside.engines.embedded.rota import Rota, Turn
from lockside.engines.embedded.step import Step
from lockside.errors import StoppedError
from tests.fakes.clock import FakeClock


class Broken:
    """A reader whose first step is broken off by the worker's stop, while a batch of it is not acknowledged."""

    shard = ShardRef("arn:aws:dynamodb:us-east-1:123456789012:table/locks/stream/x", "shardId-1")

    def __init__(self) -> None:
        """Start before the first step."""
        self.steps = 0
        self.closed = Event()

    def step(self, _sized: Callable[[int], None]) -> Step:
        """Raise what a retry raises when the worker stops."""
        self.steps += 1
        raise StoppedError("batch_write_item")

    def close(self) -> None:
        """Come to an end."""
        self.closed.set()


class Quiet:
    """Loops that nobody asks after."""

    def beat_here(self) -> None:
        """Turn."""

    def forget_here(self) -> None:
        """End."""


def test_a_reader_whose_step_the_stop_broke_off_is_closed_and_never_stepped_again() -> None:
    """Another step would read its page again, pass it over as taken, and move the checkpoint beyond it.

    Nobody has told the threads of the stop yet: they would give it turns.
    """
    clock, broken, loops = FakeClock(), Broken(), Quiet()
    rota = Rota(clock, bytes_max=10**8)
    reader: Any = broken
    watch: Any = object()
    rota.add(Turn(watch, reader, due_ms=0))
    crew = Crew(rota, 1, clock, loops)
    crew.start(Event())
    assert broken.closed.wait(10)
    outcome = crew.outcome(10)
    assert outcome is not None
    assert (outcome.ended, outcome.error) == (False, None)
    crew.stop()
    crew.join(10)
    assert broken.steps == 1
    assert len(rota) == 0
