"""What all parts of the engine work with."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockside.core.ports import Clock, Loops, NoLoops
from lockside.core.telemetry import Meter
from lockside.engines.embedded.pace import Jitter
from lockside.engines.embedded.plan import Settings
from lockside.engines.embedded.tables import NoTables, Tables
from lockside.state.checkpoints import Checkpoints

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient


@dataclass(frozen=True, slots=True)
class Services:
    """What every table, stream and reader of an engine shares."""

    streams: "DynamoDBStreamsClient"
    checkpoints: Checkpoints
    clock: Clock
    meter: Meter
    jitter: Jitter
    settings: Settings
    loops: Loops = field(default_factory=NoLoops)
    tables: Tables = field(default_factory=NoTables)
