"""Virtual time in one thread: who acts next, and what goes on while somebody waits.

Strategy: an actor acts in steps. Whoever waits inside a step, in a call or in a pause, lets the world go on *within*
its wait: the other actors' steps run above it on the stack. So real, blocking code interleaves at every call, without a
thread, and the same seed gives the same order.
"""

from typing import Final, Protocol

DEPTH_MAX: Final = 5
"""Waits within waits; past it a wait only lets the time pass."""


class Actor(Protocol):
    """Who acts: a client, a stream's shaper, or one thread of a worker."""

    @property
    def name(self) -> str:
        """Name it in the transcript."""
        ...

    @property
    def due_ms(self) -> int | None:
        """When it acts next; None while it has nothing to do or is frozen."""
        ...

    def step(self) -> None:
        """Act, and set the next time."""
        ...


class Scheduler:
    """Runs actors in the order of their times; one at a time, and none within itself."""

    def __init__(self, start_ms: int) -> None:
        """Start at an instant of the true wall time."""
        self.now_ms = start_ms
        self.steps = 0
        self.caller: str | None = None
        self._actors: dict[Actor, None] = {}
        self._busy: set[int] = set()
        self._depth = 0

    def add(self, actor: Actor) -> None:
        """Let an actor act from now on."""
        self._actors[actor] = None

    def remove(self, actor: Actor) -> None:
        """Let it act no more; a step it is in goes on."""
        self._actors.pop(actor, None)

    def run_until(self, at_ms: int) -> None:
        """Let everybody act who is due until then."""
        while (found := self._next(at_ms)) is not None:
            due_ms, actor = found
            self.now_ms = max(self.now_ms, due_ms)
            self.steps += 1
            self._busy.add(id(actor))
            try:
                actor.step()
            finally:
                self._busy.discard(id(actor))
        self.now_ms = max(self.now_ms, at_ms)

    def wait(self, milliseconds: int) -> None:
        """Wait within a step: the others go on."""
        if self._depth >= DEPTH_MAX:
            self.now_ms += milliseconds
            return
        self._depth += 1
        try:
            self.run_until(self.now_ms + milliseconds)
        finally:
            self._depth -= 1

    def _next(self, at_ms: int) -> tuple[int, Actor] | None:
        """Find who is due first; among equals, who was added first."""
        best: tuple[int, Actor] | None = None
        for actor in self._actors:
            if id(actor) in self._busy:
                continue
            due_ms = actor.due_ms
            if due_ms is not None and due_ms <= at_ms and (best is None or due_ms < best[0]):
                best = (due_ms, actor)
        return best
