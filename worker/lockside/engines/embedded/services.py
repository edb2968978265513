"""What all parts of the engine work with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockside.core.now import Now
from lockside.core.ports import Clock, Loops, NoLoops
from lockside.core.telemetry import Meter
from lockside.engines.embedded.pace import Jitter
from lockside.engines.embedded.plan import Settings
from lockside.engines.tables import NoTables, Tables
from lockside.state.checkpoints import Checkpoints

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient


def nobody(_asked: Now, _endpoint_ms: int) -> None:
    """Tell nobody of the endpoint's clock."""


@dataclass(frozen=True, slots=True)
class Services:
    """What every table, stream and reader of an engine shares.

    `heard` is told of each page: our clocks when it was asked for, and the endpoint's when it answered.
    """

    streams: "DynamoDBStreamsClient"
    checkpoints: Checkpoints
    clock: Clock
    meter: Meter
    jitter: Jitter
    settings: Settings
    loops: Loops = field(default_factory=NoLoops)
    tables: Tables = field(default_factory=NoTables)
    heard: Callable[[Now, int], None] = nobody
