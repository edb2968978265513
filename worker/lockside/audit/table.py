"""The audit table as reached from here: a client, the table's name, and how failed calls are tried again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockside.aws.retrying import Retrier

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class AuditTable:
    """What all parts of the trail speak through. Safe to share between threads, as its client is."""

    client: "DynamoDBClient"
    name: str
    retrier: Retrier
