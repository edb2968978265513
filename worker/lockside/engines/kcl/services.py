"""What all parts of the engine work with."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockside.aws.retrying import Retrier
from lockside.core.change import ShardRef
from lockside.core.now import Now
from lockside.core.ports import ProcessorFactory, Stop
from lockside.engines.consumer import Keeping
from lockside.engines.kcl.knobs import Knobs
from lockside.engines.tables import NoTables, Tables
from lockside.errors import LocksideError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

ENDED_MAX = 1_000
"""Ended shards that are remembered, until their rows are removed."""


@dataclass(frozen=True, slots=True)
class Member:
    """This worker among those of its application."""

    application: str
    worker_id: str
    knobs: Knobs
    page_records: int = 1_000
    listing_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Services:
    """What every stream and shard of an engine shares.

    `streams` and `dynamodb` ask what KCL does not tell. `failed` is told of an error that must end the worker, from
    whatever thread; `halts` are the shards that were halted, and why, `ended` the last ones read to their end.
    """

    member: Member
    streams: "DynamoDBStreamsClient"
    dynamodb: "DynamoDBClient"
    retrier: Retrier
    stop: Stop
    keeping: Keeping
    processors: ProcessorFactory
    failed: Callable[[BaseException], None]
    tables: Tables = field(default_factory=NoTables)
    heard: Callable[[Now, int], None] = lambda _asked, _endpoint_ms: None
    halts: dict[ShardRef, LocksideError] = field(default_factory=dict)
    ended: deque[ShardRef] = field(default_factory=lambda: deque(maxlen=ENDED_MAX))

    def pause(self, seconds: float) -> None:
        """Wait, also while the worker stops: for KCL's own threads to end."""
        threading.Event().wait(seconds)
