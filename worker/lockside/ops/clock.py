"""The machine's clocks: the only place that reads them."""

import threading
import time
from dataclasses import dataclass
from typing import Final

from lockside.core.now import Now
from lockside.core.ports import Clock

NANOSECONDS_PER_MS = 1_000_000

DATE_STEP_MS: Final = 1_000
"""A Date header is floored to the second."""

OFF_MS_MAX: Final = 300_000
"""AWS refuses requests signed with a clock that is off by more: a Date further away is nobody's clock."""

DRIFT: Final = 2_000
"""The clock that never steps may gain one part in so many on the endpoint's: 500 ppm, the most that Linux corrects a
crystal by (adjtimex(2)). What it gains while it is slewed faster, the next quick answer shows."""


class SystemClock:
    """The real clock; implements `core.ports.Clock`."""

    def now(self) -> Now:
        """Read the wall clock and the one that never steps."""
        return Now(
            wall_ms=time.time_ns() // NANOSECONDS_PER_MS,
            mono_ms=time.monotonic_ns() // NANOSECONDS_PER_MS,
        )


@dataclass(frozen=True, slots=True)
class Bound:
    """A proof that the endpoint's clock has come this far: at `mono_ms` of ours it showed `wall_ms` at least."""

    wall_ms: int
    mono_ms: int

    def at(self, mono_ms: int) -> int:
        """Return what the endpoint's clock shows at least by then."""
        passed_ms = mono_ms - self.mono_ms
        return self.wall_ms + passed_ms - passed_ms // DRIFT


class EndpointClock:
    """A clock for deadlines: ours, as long as the endpoint's answers bear it out, else as late as they prove.

    Each answer proves how far the endpoint's clock has come at least, by which changes are stamped and rows are read;
    our clock that never steps carries the proof on. A reading is never ahead of the endpoint's clock by more than
    `margin_ms`, which every deadline waits out: so none comes before its time, however wrong our wall clock is and
    whenever it jumps. An answer that took long makes a reading late at worst, and takes back no proof of a quicker one.
    Before the first answer there is only our clock.
    """

    def __init__(self, clock: Clock, margin_ms: int) -> None:
        """Begin as the clock is."""
        self._clock = clock
        self._margin_ms = margin_ms
        self._bound: Bound | None = None
        self._hearing = threading.Lock()

    def now(self) -> Now:
        """Read both clocks."""
        now, bound = self._clock.now(), self._bound
        if bound is None:
            return now
        proved_ms = bound.at(now.mono_ms)
        return now if proved_ms <= now.wall_ms <= proved_ms + self._margin_ms else Now(proved_ms, now.mono_ms)

    def heard(self, asked: Now, endpoint_ms: int) -> None:
        """Take in the Date of an answer to a request that was sent at `asked` of our clocks, from any thread.

        The endpoint's clock stood there when it answered, which was before now; of two proofs the better one stays. It
        had not passed that second before we asked: a proof that says otherwise was none, or the clocks have moved.
        """
        answered = self._clock.now()
        if abs(answered.wall_ms - endpoint_ms) > OFF_MS_MAX:
            return
        heard = Bound(endpoint_ms, answered.mono_ms)
        with self._hearing:
            known = self._bound
            refuted = known is not None and known.at(asked.mono_ms) >= endpoint_ms + DATE_STEP_MS
            if known is None or refuted or known.at(answered.mono_ms) <= endpoint_ms:
                self._bound = heard
