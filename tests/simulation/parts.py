"""What a simulated worker is joined of: the real parts, each of which a test may swap for one with a planted bug."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lockside.audit.write import AuditTrail
from lockside.engines.processor import ShardProcessor
from lockside.ops.clock import EndpointClock
from lockside.reactions.lapses import LapseWatch
from lockside.state.checkpoints import Checkpoints


def same(client: Any) -> Any:
    """Return a client or a reader as it is."""
    return client


@dataclass(frozen=True, slots=True)
class Parts:
    """The kinds of parts. `streams` wraps the client of the streams, `rows` the reader of watched rows.

    `clock` is the one that deadlines run by.
    """

    processor: type[ShardProcessor] = ShardProcessor
    trail: type[AuditTrail] = AuditTrail
    lapses: type[LapseWatch] = LapseWatch
    checkpoints: type[Checkpoints] = Checkpoints
    clock: type[EndpointClock] = EndpointClock
    streams: Callable[[Any], Any] = same
    rows: Callable[[Any], Any] = same


REAL = Parts()
