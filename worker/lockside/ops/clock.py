"""The machine's clocks: the only place that reads them."""

import time
from typing import Final

from lockside.core.now import Now
from lockside.core.ports import Clock

NANOSECONDS_PER_MS = 1_000_000

DATE_STEP_MS: Final = 1_000
"""A Date header is floored to the second."""

AHEAD_MS_MAX: Final = 300_000
"""AWS refuses requests signed with a clock that is off by more."""


class SystemClock:
    """The real clock; implements `core.ports.Clock`."""

    def now(self) -> Now:
        """Read the wall clock and the one that never steps."""
        return Now(
            wall_ms=time.time_ns() // NANOSECONDS_PER_MS,
            mono_ms=time.monotonic_ns() // NANOSECONDS_PER_MS,
        )


class EndpointClock:
    """A clock for deadlines: ours, less what it was last found to be ahead of the endpoint's.

    A clock that is ahead would declare lapses before their time; one that is behind declares them late, and is left.
    One writer and any number of readers: an integer is replaced whole.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin as the clock is."""
        self._clock = clock
        self._ahead_ms = 0

    def now(self) -> Now:
        """Read both clocks."""
        now = self._clock.now()
        return Now(now.wall_ms - self._ahead_ms, now.mono_ms)

    def heard(self, sent_ms: int, endpoint_ms: int) -> None:
        """Take in the Date of an answer to a request that was sent when our wall clock stood at `sent_ms`.

        What the way there and the rounding explain is not counted.
        """
        self._ahead_ms = min(max(0, sent_ms - endpoint_ms - DATE_STEP_MS), AHEAD_MS_MAX)
