"""The tables of the demo's two clients, as those clients lay them out, with their streams on."""

import sys
from typing import TYPE_CHECKING, Final

from lockside.emulators.emulator import REGION

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import KeySchemaElementTypeDef

POLL_SECONDS: Final = 1
POLLS_MAX: Final = 30
START_ATTEMPTS: Final = 10
"""With botocore's back-off about a minute: an emulator in a container next door takes some seconds to come up."""


def create_lock_table(client: "DynamoDBClient", name: str) -> str:
    """Create the table of python_dynamodb_lock, TTL on as the library has it; return the stream's ARN."""
    return _create(client, name, ("lock_key", "sort_key"), ttl="expiry_time")


def create_session_table(client: "DynamoDBClient", name: str, *, ttl: bool = False) -> str:
    """Create the table of Flask-Session; return the stream's ARN.

    Flask-Session 0.8.0 means to turn TTL on and does not (it swallows an AttributeError): off unless asked for.
    """
    return _create(client, name, ("id",), ttl="expiration" if ttl else None)


def _create(client: "DynamoDBClient", name: str, keys: tuple[str, ...], ttl: str | None) -> str:
    schema: list[KeySchemaElementTypeDef] = [{"AttributeName": keys[0], "KeyType": "HASH"}]
    schema += [{"AttributeName": key, "KeyType": "RANGE"} for key in keys[1:]]
    try:
        client.create_table(
            TableName=name,
            KeySchema=schema,
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
    except client.exceptions.ResourceInUseException as error:
        # boto3 asked again where an emulator was slow to answer: the table is ours. One that was there is not.
        if not error.response["ResponseMetadata"].get("RetryAttempts"):
            raise
    waiter = client.get_waiter("table_exists")
    waiter.wait(TableName=name, WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": POLLS_MAX})
    if ttl is not None:
        client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": ttl})
    return client.describe_table(TableName=name)["Table"]["LatestStreamArn"]


def main(arguments: list[str]) -> None:
    """Create both tables, as `python -m lockside.emulators.tables ENDPOINT LOCKS SESSIONS`; those there are left alone.

    Waits within botocore's bounds for an endpoint that is just coming up.
    """
    import boto3  # noqa: PLC0415 - only this program needs a client of its own
    from botocore.config import Config  # noqa: PLC0415

    endpoint, locks, sessions = arguments
    patient = Config(retries={"mode": "standard", "total_max_attempts": START_ATTEMPTS})
    client = boto3.client("dynamodb", endpoint_url=endpoint, region_name=REGION, config=patient)
    for name, create in ((locks, create_lock_table), (sessions, create_session_table)):
        try:
            client.describe_table(TableName=name)
        except client.exceptions.ResourceNotFoundException:
            create(client, name)
            sys.stdout.write(f"{name}: created\n")
        else:
            sys.stdout.write(f"{name}: is there\n")


if __name__ == "__main__":
    main(sys.argv[1:])
