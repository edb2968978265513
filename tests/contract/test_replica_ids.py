"""A target belongs to one replica: under another id, or with another state table, it would stand still unnoticed."""

import threading
from typing import Any

import pytest

from lockside.aws.retrying import Retrier
from lockside.core.entity import KeySchema
from lockside.core.telemetry import NoMeter
from lockside.errors import ReplicaError
from lockside.ops.clock import SystemClock
from lockside.state.replicas import Replicas
from lockside.stores.dynamodb_target import DynamoDBTarget
from lockside.stores.replica import Replica
from lockside.stores.table_copy import TableCopy
from tests.fakes.dynamodb import FakeDynamoDB

SCHEMA = KeySchema(("p",))
SOURCE, COPY, STATE = "orders", "orders-copy", "state"
HOUR_MS = 3_600_000


def table(name: str, *keys: str) -> Any:
    """Define a table."""
    schema = [{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)]
    return {"TableName": name, "KeySchema": schema}


class Endpoint:
    """Where a client sends to, as boto3 tells it."""

    endpoint_url = "http://dynamodb"
    region_name = "us-east-1"


class Site:
    """A table, a place for its replica, and a state table."""

    def __init__(self) -> None:
        """Hold one row."""
        fake: Any = FakeDynamoDB(table(SOURCE, "p"), table(COPY, "p"), table(STATE, "pk", "sk"))
        fake.meta = Endpoint
        self.client: Any = fake
        self.stop = threading.Event()
        self.retrier = Retrier(self.stop, NoMeter())
        self.put("first")

    def put(self, value: str) -> None:
        """Write the row."""
        self.client.put_item(TableName=SOURCE, Item={"p": {"S": "k"}, "v": {"S": value}})

    def replica(self, name: str) -> Replica:
        """Return a replica under an id, not yet opened."""
        clock = SystemClock()
        target = DynamoDBTarget(self.client, COPY, SCHEMA, self.retrier, clock, tombstone_hours=48, writers=1)
        states = Replicas(self.client, STATE, self.retrier)
        return Replica(name, SCHEMA, target, states, clock=clock, meter=NoMeter(), stale_after_ms=HOUR_MS)

    def copy(self, replica: Replica) -> None:
        """Copy the table."""
        TableCopy(self.client, SOURCE, self.retrier, SystemClock(), NoMeter(), self.stop).run(replica)


def test_another_id_for_the_same_target_is_refused() -> None:
    """Before anything is remembered, so that it is refused the next time too; the earlier id goes on."""
    site = Site()
    first = site.replica("first")
    first.open()
    site.copy(first)
    site.put("second")
    for _attempt in range(2):
        with pytest.raises(ReplicaError, match=r"generation 1.*empty the target, or use the earlier id"):
            site.replica("renamed").open()
    again = site.replica("first")
    again.open()
    site.copy(again)
    assert site.client.items(COPY)[0]["v"] == {"S": "second"}


def test_a_copy_that_meets_later_rows_does_not_report_to_be_complete() -> None:
    """They came after the replica was opened: its copy would replace none of them."""
    site = Site()
    late = site.replica("late")
    late.open()
    first = site.replica("first")
    first.open()
    site.copy(first)
    site.copy(first)
    with pytest.raises(ReplicaError, match="generation 2"):
        site.copy(late)
    assert not late.state.is_complete


def test_a_later_copy_of_the_same_replica_is_no_other_replica() -> None:
    """Another process may have begun one while ours is sweeping."""
    site = Site()
    ours, theirs = site.replica("first"), site.replica("first")
    ours.open()
    theirs.open()
    site.copy(ours)
    site.copy(theirs)
    site.copy(theirs)
    rows = theirs.target.page(None).rows
    ours.refuse_later(rows)
    assert len(rows) > 0
