"""KCL's tables as they stand, read with boto3: leases, the leader, and the workers' last signs of life.

KCL writes them; here they are read, and rows of workers that are gone removed: KCL would still give shards to them.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lockside.aws.retrying import verdict
from lockside.core.change import ShardRef
from lockside.core.failures import Verdict

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

METRICS_SUFFIX: Final = "-WorkerMetricStats"
COORDINATOR_SUFFIX: Final = "-CoordinatorState"
NAME_MAX: Final = 255 - len(METRICS_SUFFIX)
DIGEST_CHARACTERS: Final = 8
SHARD_END: Final = "SHARD_END"
LEADER_KEY: Final = "Leader"


def lease_table(application: str, stream_arn: str) -> str:
    """Name the lease table of a stream, which is KCL's application name too: one each, as each has a scheduler.

    `<application>-kcl-<table>-<digest of the ARN>`: a stream that takes another's place has leases of its own.
    """
    digest = hashlib.sha256(stream_arn.encode()).hexdigest()[:DIGEST_CHARACTERS]
    start = f"{application}-kcl-{ShardRef(stream_arn, '').table}"
    return f"{start[: NAME_MAX - DIGEST_CHARACTERS - 1]}-{digest}"


@dataclass(frozen=True, slots=True)
class Lease:
    """One shard's lease. `position` is None where it stands at no sequence number; `counter` rises while it lives.

    `switches` counts how often it changed hands since its last checkpoint.
    """

    shard_id: str
    owner: str | None
    checkpoint: str
    counter: int
    switches: int
    parents: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether the shard was read to its end."""
        return self.checkpoint == SHARD_END

    @property
    def position(self) -> int | None:
        """The saved sequence number."""
        return sequence(self.checkpoint)


def sequence(checkpoint: str) -> int | None:
    """Read a checkpoint of KCL's; None for TRIM_HORIZON, LATEST and SHARD_END."""
    return int(checkpoint) if re.fullmatch(r"[0-9]+", checkpoint) else None


@dataclass(frozen=True, slots=True)
class LeaseTable:
    """The tables of one stream's leases. Calls raise what boto3 raises."""

    client: "DynamoDBClient"
    name: str

    def leases(self) -> tuple[Lease, ...]:
        """Read all leases, by shard; none where KCL has not made its table yet."""
        return tuple(sorted((_lease(item) for item in self._items(self.name)), key=lambda lease: lease.shard_id))

    def read(self, shard_id: str) -> Lease | None:
        """Read one lease; None if there is none."""
        answer = self.client.get_item(TableName=self.name, Key={"leaseKey": {"S": shard_id}}, ConsistentRead=True)
        item = answer.get("Item")
        return None if item is None else _lease(item)

    def leader(self) -> str | None:
        """Name the worker that hands leases out, as far as KCL's lock says."""
        for item in self._items(self.name + COORDINATOR_SUFFIX):
            if item.get("key", {}).get("S") == LEADER_KEY:
                return item.get("ownerName", {}).get("S") or None
        return None

    def forget_worker(self, worker_id: str) -> None:
        """Remove a worker's last sign of life: KCL gives shards to whoever has a fresh one, alive or not."""
        try:
            self.client.delete_item(TableName=self.name + METRICS_SUFFIX, Key={"wid": {"S": worker_id}})
        except ClientError as error:
            if verdict(error) is not Verdict.NOT_FOUND:
                raise

    def _items(self, table: str) -> Iterator[Mapping[str, Any]]:
        request: dict[str, Any] = {"TableName": table, "ConsistentRead": True}
        while True:
            try:
                page = self.client.scan(**request)
            except ClientError as error:
                if verdict(error) is Verdict.NOT_FOUND:
                    return
                raise
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _lease(item: Mapping[str, Any]) -> Lease:
    return Lease(
        shard_id=item["leaseKey"]["S"],
        owner=item.get("leaseOwner", {}).get("S"),
        checkpoint=item.get("checkpoint", {}).get("S", ""),
        counter=int(item.get("leaseCounter", {}).get("N", 0)),
        switches=int(item.get("ownerSwitchesSinceCheckpoint", {}).get("N", 0)),
        parents=tuple(sorted(item.get("parentShardId", {}).get("SS", ()))),
    )
