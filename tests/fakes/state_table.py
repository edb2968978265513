"""A state table on an emulator, one for each test."""

import itertools
from typing import TYPE_CHECKING, Any

import boto3

from lockside.aws.retrying import Retrier
from lockside.aws.tables import state_table
from lockside.core.ownership import UNOWNED, Term
from lockside.core.ports import Clock, Stop
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.state.checkpoints import Checkpoints

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

_NUMBERS = itertools.count()


def access(emulator: Emulator) -> dict[str, Any]:
    """Return what boto3 needs to reach an emulator, whatever the environment says."""
    return {
        "endpoint_url": emulator.endpoint_url,
        "region_name": emulator.region,
        "aws_access_key_id": emulator.credentials.access_key_id,
        "aws_secret_access_key": emulator.credentials.secret_access_key,
    }


def dynamodb(emulator: Emulator) -> "DynamoDBClient":
    """Return a client of an emulator."""
    return boto3.client("dynamodb", **access(emulator))


def streams(emulator: Emulator) -> "DynamoDBStreamsClient":
    """Return a client of an emulator's streams."""
    return boto3.client("dynamodbstreams", **access(emulator))


def make_state_table(client: "DynamoDBClient") -> str:
    """Create a state table of a name of its own."""
    name = f"state-{next(_NUMBERS)}"
    client.create_table(**state_table(name).create)
    return name


def make_checkpoints(
    client: "DynamoDBClient", table: str, clock: Clock, stop: Stop, term: Term = UNOWNED
) -> Checkpoints:
    """Return the checkpoints of a state table."""
    return Checkpoints(client, table, Retrier(stop, NoMeter()), clock, term)
