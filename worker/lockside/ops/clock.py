"""The machine's clocks: the only place that reads them."""

import time

from lockside.core.now import Now

NANOSECONDS_PER_MS = 1_000_000


class SystemClock:
    """The real clock; implements `core.ports.Clock`."""

    def now(self) -> Now:
        """Read the wall clock and the one that never steps."""
        return Now(
            wall_ms=time.time_ns() // NANOSECONDS_PER_MS,
            mono_ms=time.monotonic_ns() // NANOSECONDS_PER_MS,
        )
