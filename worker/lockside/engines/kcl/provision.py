"""KCL's three tables for a stream, made before KCL looks for them.

KCL would make them itself, one after the other, and look only every ten seconds whether each is there: half a minute
of a first start. These are the same tables (seen of KCL 3.3.0), so that it finds nothing to change.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lockside.aws.retrying import AgainError, Retrier, error_code
from lockside.engines.kcl.leases import COORDINATOR_SUFFIX, METRICS_SUFFIX

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

OWNER_INDEX: Final = "LeaseOwnerToLeaseKeyIndex"
KEYS: Final[Mapping[str, str]] = {"": "leaseKey", METRICS_SUFFIX: "wid", COORDINATOR_SUFFIX: "key"}
"""The partition key of each table, by what its name ends with."""


def definitions(name: str) -> list[dict[str, Any]]:
    """Return what CreateTable is asked for, for the tables of one lease table's name."""
    tables = [
        {
            "TableName": name + suffix,
            "AttributeDefinitions": [_text(key)],
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        }
        for suffix, key in KEYS.items()
    ]
    leases: dict[str, Any] = tables[0]
    leases["AttributeDefinitions"].append(_text("leaseOwner"))
    leases["GlobalSecondaryIndexes"] = [
        {
            "IndexName": OWNER_INDEX,
            "KeySchema": [
                {"AttributeName": "leaseOwner", "KeyType": "HASH"},
                {"AttributeName": "leaseKey", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ]
    return tables


def make_tables(client: "DynamoDBClient", name: str, retrier: Retrier) -> None:
    """Make what is not there and wait until it can be used; what may not be made is left to whoever may.

    Raises StoppedError on shutdown.
    """
    wanted = definitions(name)
    for definition in wanted:
        retrier.call("lease_tables", lambda definition=definition: _make(client, definition))  # type: ignore[misc]
    for definition in wanted:
        retrier.call("lease_tables", _active(client, definition["TableName"]))


def first_lease(shard_id: str, parent_id: str | None = None) -> dict[str, Any]:
    """Return the item that KCL 3.3.0 makes of a shard that was never leased, for tests and bench.

    By `parent_id` KCL knows for whom the shard has to wait.
    """
    zero = {"N": "0"}
    return {
        **({} if parent_id is None else {"parentShardId": {"SS": [parent_id]}}),
        "leaseKey": {"S": shard_id},
        "checkpoint": {"S": "TRIM_HORIZON"},
        "checkpointSubSequenceNumber": zero,
        "leaseCounter": zero,
        "ownerSwitchesSinceCheckpoint": zero,
        "startingHashKey": {"S": "0"},
        "endingHashKey": {"S": "1"},
    }


def _make(client: "DynamoDBClient", definition: Mapping[str, Any]) -> None:
    try:
        client.describe_table(TableName=definition["TableName"])
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        try:
            client.create_table(**definition)
        except ClientError as refused:
            # Another worker of the fleet was first.
            if error_code(refused) != "ResourceInUseException":
                raise


def _active(client: "DynamoDBClient", table: str) -> Callable[[], None]:
    def look() -> None:
        described = client.describe_table(TableName=table)["Table"]
        indexes = described.get("GlobalSecondaryIndexes", [])
        if {described["TableStatus"], *(index["IndexStatus"] for index in indexes)} != {"ACTIVE"}:
            raise AgainError

    return look


def _text(name: str) -> dict[str, str]:
    return {"AttributeName": name, "AttributeType": "S"}
