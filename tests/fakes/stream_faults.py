"""How calls go wrong: one at a time as scripted, or at random from a seed. Pure: chance comes in as an argument."""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final

from tests.fakes.stream_reads import NO_WHIMS, Whims


class Kind(Enum):
    """What befalls a call."""

    ERROR = "error"  # an error answer; the call is not carried out
    DROPPED = "dropped"  # carried out, and the connection is closed without an answer
    TRUNCATED = "truncated"  # the answer breaks off midway, shorter than its announced length
    GARBLED = "garbled"  # the answer is whole by its length, and is no JSON
    SLOW = "slow"  # the answer dribbles


@dataclass(frozen=True, slots=True)
class Fault:
    """One misfortune. `code` and `status` are an error's, `seconds` is how long a slow answer takes."""

    kind: Kind
    code: str = "InternalServerError"
    status: int = 500
    seconds: float = 0.0


ERRORS: Final = {
    "throttled": Fault(Kind.ERROR, "ThrottlingException", 400),
    "limit_exceeded": Fault(Kind.ERROR, "LimitExceededException", 400),
    "throughput_exceeded": Fault(Kind.ERROR, "ProvisionedThroughputExceededException", 400),
    "server_error": Fault(Kind.ERROR, "InternalServerError", 500),
    "unavailable": Fault(Kind.ERROR, "ServiceUnavailable", 503),
    "denied": Fault(Kind.ERROR, "AccessDeniedException", 400),
}
DELIVERIES: Final = ("dropped", "truncated", "slow")


@dataclass(frozen=True, slots=True)
class Faults:
    """With what probability each thing goes wrong in one call. The same seed gives the same run again."""

    seed: int = 0
    throttled: float = 0.0
    limit_exceeded: float = 0.0
    throughput_exceeded: float = 0.0
    server_error: float = 0.0
    unavailable: float = 0.0
    denied: float = 0.0
    dropped: float = 0.0
    truncated: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 0.2
    expired_iterator: float = 0.0
    empty_page: float = 0.0
    hole: float = 0.0
    reopened: float = 0.0

    @classmethod
    def all_at(cls, probability: float, seed: int = 0) -> "Faults":
        """Let every call fail in some way with about this probability, but for refusals that a person must mend."""
        names = [*(name for name in ERRORS if name != "denied"), *DELIVERIES]
        each = dict.fromkeys(names, probability / len(names))
        quirks = dict.fromkeys(("expired_iterator", "empty_page", "hole", "reopened"), probability)
        return cls(seed=seed, **each, **quirks)


@dataclass(slots=True)
class Chaos:
    """Draws from the seed what befalls each call."""

    faults: Faults
    chance: Random = field(init=False)

    def __post_init__(self) -> None:
        """Begin the draw."""
        self.chance = Random(self.faults.seed)  # noqa: S311 - no secret hangs on it

    def draw(self) -> tuple[Fault | None, Whims]:
        """Return what befalls the next call."""
        faults = self.faults
        whims = Whims(
            empty_page=self._happens(faults.empty_page),
            expired=self._happens(faults.expired_iterator),
            hole=self.chance.random() if self._happens(faults.hole) else None,
            reopen=self.chance.random() if self._happens(faults.reopened) else None,
        )
        for name in (*ERRORS, *DELIVERIES):
            if self._happens(getattr(faults, name)):
                return ERRORS.get(name) or Fault(Kind(name), seconds=faults.slow_seconds), whims
        return None, whims

    def _happens(self, probability: float) -> bool:
        # Drawn even at 0, so that one probability more does not shift what befalls all later calls.
        return self.chance.random() < probability


@dataclass(slots=True)
class Misfortunes:
    """What befalls the next calls of each operation: what was scripted first, then chaos."""

    chaos: Chaos | None = None
    scripted: dict[str, deque[Fault | None]] = field(default_factory=lambda: defaultdict(deque))

    def add(self, operation: str, *faults: Fault | None) -> None:
        """Script what befalls the next calls of an operation; None lets one pass, chaos or not."""
        self.scripted[operation].extend(faults)

    def next(self, operation: str, *, random: bool) -> tuple[Fault | None, Whims]:
        """Return what befalls a call; `random` where chaos may have its hand in."""
        waiting = self.scripted.get(operation)
        if waiting:
            return waiting.popleft(), NO_WHIMS
        return self.chaos.draw() if random and self.chaos is not None else (None, NO_WHIMS)
