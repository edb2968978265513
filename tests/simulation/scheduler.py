"""Virtual time in one thread: who acts next, and what goes on while somebody waits.

Strategy: an actor acts in steps. Whoever waits inside a step, in a call or in a pause, lets the world go on *within*
its wait: the other actors' steps run above it on the stack. So real, blocking code interleaves at every call, without a
thread, and the same seed gives the same order.
"""

import heapq
from typing import Final

DEPTH_MAX: Final = 5
"""Waits within waits; past it a wait only lets the time pass."""


class Actor:
    """Who acts: a client, a stream's shaper, or one thread of a worker.

    `due_ms` is when it acts next, None while it has nothing to do; a step sets it anew. `busy`: it is within a step.
    """

    name: str
    due_ms: int | None = None
    busy: bool = False
    left: bool = False

    def held_until_ms(self) -> int:
        """Return until when it stands still, whatever is due; 0 if it does not."""
        return 0

    def step(self) -> None:
        """Act, and set the next time."""
        raise NotImplementedError


class Scheduler:
    """Runs actors in the order of their times; one at a time, and none within itself."""

    def __init__(self, start_ms: int) -> None:
        """Start at an instant of the true wall time."""
        self.now_ms = start_ms
        self.steps = 0
        self.caller: str | None = None
        self._queue: list[tuple[int, int, Actor]] = []
        self._pushed = 0
        self._depth = 0

    def add(self, actor: Actor) -> None:
        """Let an actor act from now on."""
        if actor.due_ms is not None and not actor.left:
            self._push(actor.due_ms, actor)

    def remove(self, actor: Actor) -> None:
        """Let it act no more; a step it is in goes on."""
        actor.due_ms, actor.left = None, True

    def at(self, actor: Actor, at_ms: int) -> None:
        """Let an actor act at another time than it meant to."""
        actor.due_ms = at_ms
        self._push(at_ms, actor)

    def run_until(self, at_ms: int) -> None:
        """Let everybody act who is due until then."""
        while self._queue and self._queue[0][0] <= at_ms:
            due_ms, _, actor = heapq.heappop(self._queue)
            if actor.due_ms != due_ms or actor.busy or actor.left:
                continue
            held_ms = actor.held_until_ms()
            if held_ms > max(self.now_ms, due_ms):
                self.at(actor, held_ms)
            else:
                self.now_ms = max(self.now_ms, due_ms)
                self._act(actor)
        self.now_ms = max(self.now_ms, at_ms)

    def wait(self, milliseconds: int) -> None:
        """Wait within a step: the others go on."""
        until_ms = self.now_ms + milliseconds
        if self._depth >= DEPTH_MAX or not self._queue or self._queue[0][0] > until_ms:
            self.now_ms = until_ms
            return
        self._depth += 1
        try:
            self.run_until(until_ms)
        finally:
            self._depth -= 1

    def _act(self, actor: Actor) -> None:
        self.steps += 1
        actor.due_ms, actor.busy = None, True
        try:
            actor.step()
        finally:
            actor.busy = False
        self.add(actor)

    def _push(self, at_ms: int, actor: Actor) -> None:
        if not actor.busy:
            self._pushed += 1
            heapq.heappush(self._queue, (at_ms, self._pushed, actor))
