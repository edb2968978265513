"""How long a shard's reader waits: between pages, and after a call that failed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Jitter = Callable[[], float]
"""Returns a number in [0, 1)."""

DOUBLINGS_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Idle:
    """Waits between pages: the shortest while there is data, twice as long after each empty page.

    Every GetRecords call is paid for, and a shard bears few a second; a quiet one need not be asked often.
    """

    min_seconds: float = 0.2
    max_seconds: float = 2.0

    def wait_seconds(self, empty_pages: int) -> float:
        """Return the wait after this many empty pages in a row; none for a page with data."""
        return min(self.max_seconds, _doubled(self.min_seconds, empty_pages))


@dataclass(frozen=True, slots=True)
class BackOff:
    """Waits after failed calls: exponential with jitter, so that shards throttled together come back apart."""

    first_seconds: float = 0.2
    max_seconds: float = 20.0

    def wait_seconds(self, failures: int, jitter: Jitter) -> float:
        """Return the wait after this many failures in a row."""
        ceiling = min(self.max_seconds, _doubled(self.first_seconds, failures - 1))
        return ceiling * (0.5 + jitter() / 2)


@dataclass(slots=True)
class Outage:
    """A run of failed calls: counts them, and tells of them seldom enough to be read and often enough to be seen."""

    failures: int = 0
    since_ms: int = 0

    def failed(self, now_ms: int) -> bool:
        """Count a failure; True if it is time to tell: the first, second, fourth, eighth … one, then each 32nd."""
        if not self.failures:
            self.since_ms = now_ms
        self.failures += 1
        return self.failures & (self.failures - 1) == 0 or self.failures % TELL_EACH == 0

    def seconds(self, now_ms: int) -> float:
        """Return how long it has lasted."""
        return (now_ms - self.since_ms) / 1000

    def over(self) -> None:
        """Forget it: a call succeeded."""
        self.failures = 0


TELL_EACH: Final = 32


def _doubled(seconds: float, times: int) -> float:
    return seconds * 2.0 ** min(max(times, 0), DOUBLINGS_MAX)
