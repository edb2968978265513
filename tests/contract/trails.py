"""What the contract suites of the trail work with: records, sources, and trails on each backend."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

import boto3
import rfc8785
from botocore.config import Config

from lockside.audit.pages import Pages, Question
from lockside.audit.read import Seals
from lockside.audit.stored import read_entry
from lockside.audit.table import AuditTable
from lockside.audit.write import AuditTrail
from lockside.aws.retrying import Retrier
from lockside.aws.tables import LOG_INDEX, LOG_KEY, LOG_SORT, audit_table
from lockside.core.change import ShardRef, padded
from lockside.core.entity import KeySchema
from lockside.core.log import LogHead, append
from lockside.core.ports import ObserverRecord, Stop, Trail
from lockside.core.recipe import Source
from lockside.core.records import ChangeRecord
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from tests.fakes.changes import recipe
from tests.fakes.clock import START_MS, FakeClock
from tests.fakes.stopping import Impatient
from tests.fakes.trail import MemoryTrail

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LABEL: Final = "2026-11-23T06:00:00.000"


def shard(name: str = "") -> ShardRef:
    """Name a shard that no other test uses."""
    arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/locks/stream/{LABEL}"
    return ShardRef(arn, f"shardId-{name or uuid4().hex}")


def sources(source_id: str = "locks") -> tuple[Source, ...]:
    """Build sources whose recipe depends on the id."""
    return (Source(source_id, "locks", "lock", (), KeySchema(("id",)), recipe(source_id=source_id)),)


def record(position: int, entity: str = "job", **changes: Any) -> ChangeRecord:
    """Build a change record; equal arguments give equal bytes."""
    facts: dict[str, Any] = {
        "pk": f"E#locks:{entity}",
        "sort": f"{LABEL}#{padded(position)}#0",
        "id": f"{position:026d}",
        "type": "lock.acquired",
        "time_ms": START_MS + position * 1000,
        "position": position,
        "actor": "worker-1",
    }
    facts |= changes
    body = {"id": facts["id"], "type": facts["type"], "subject": entity, "data": {"position": str(position)}}
    return ChangeRecord(**{"body": rfc8785.dumps(body), **facts})


def records(count: int, first: int = 1, entity: str = "job") -> list[ChangeRecord]:
    """Build consecutive change records of one entity."""
    return [record(position, entity) for position in range(first, first + count)]


def observation(log: str, identity: str = "lapse|job|v1", **changes: Any) -> ObserverRecord:
    """Build an observer record."""
    facts: dict[str, Any] = {
        "type": "lock.expired",
        "pk": "E#locks:job",
        "identity": identity,
        "log": log,
        "event": {"type": "dev.lockside.lock.expired.v1", "data": {"via": "read"}},
        "actor": "worker-1",
        "time_ms": START_MS + 1500,
        "after": padded(1),
    }
    return ObserverRecord(**(facts | changes))


def put(trail: Trail, head: LogHead, added: Sequence[ChangeRecord]) -> LogHead:
    """Write records and return the head that covers them, not yet written."""
    head, placed = append(head, added)
    trail.write(placed)
    return head


class Rig(Protocol):
    """A backend: as many trails over one table as there are workers, and a look at what was kept."""

    def trail(self) -> Trail:
        """Return another worker's trail."""
        ...

    def bodies(self, log: str) -> list[bytes]:
        """Return a log's records in order."""
        ...


@dataclass(frozen=True, slots=True)
class MemoryRig:
    """The fake; all workers share it, as they would share a table."""

    memory: MemoryTrail

    def trail(self) -> Trail:
        """Return the one fake."""
        return self.memory

    def bodies(self, log: str) -> list[bytes]:
        """Return a log's records in order."""
        return self.memory.bodies(log)


@dataclass(slots=True)
class TableRig:
    """A real audit table on an emulator."""

    client: "DynamoDBClient"
    table: str
    clock: FakeClock
    made: list[AuditTrail]

    def trail(self, stop: Stop | None = None) -> AuditTrail:
        """Return another worker's trail."""
        trail = AuditTrail(self.audit_table(stop), self.clock)
        self.made.append(trail)
        return trail

    def audit_table(self, stop: Stop | None = None) -> AuditTable:
        """Return the table to speak through."""
        return AuditTable(self.client, self.table, Retrier(stop or Impatient(), NoMeter()))

    @property
    def pages(self) -> Pages:
        """Return the reading calls."""
        return Pages(self.audit_table())

    def bodies(self, log: str) -> list[bytes]:
        """Return a log's records in order; beyond the size of a sealed log there are none."""
        seals = Seals(self.pages)
        listed = self.pages.ask(Question((LOG_KEY, log), LOG_SORT, index=LOG_INDEX))
        entries = [entry for entry in map(read_entry, listed) if seals.covers(entry.place)]
        return [stored.body for stored in self.pages.stored(entry.key for entry in entries)]

    def close(self) -> None:
        """End all trails."""
        for trail in self.made:
            trail.close()


def connect(emulator: Emulator) -> "DynamoDBClient":
    """Return a client as the worker's writer is: without validation, with few attempts of its own."""
    return boto3.client(
        "dynamodb",
        endpoint_url=emulator.endpoint_url,
        region_name=emulator.region,
        aws_access_key_id=emulator.credentials.access_key_id,
        aws_secret_access_key=emulator.credentials.secret_access_key,
        config=Config(parameter_validation=False, retries={"mode": "standard", "total_max_attempts": 1}),
    )


def table_rig(emulator: Emulator) -> TableRig:
    """Create an audit table of its own for a test."""
    client = connect(emulator)
    definition = audit_table(f"audit-{uuid4().hex[:12]}")
    client.create_table(**definition.create)
    client.get_waiter("table_exists").wait(TableName=definition.name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    return TableRig(client, definition.name, FakeClock(), [])


def items_of(rig: TableRig) -> Iterable[dict[str, Any]]:
    """Yield all items of the table."""
    for page in rig.client.get_paginator("scan").paginate(TableName=rig.table):
        yield from page["Items"]
