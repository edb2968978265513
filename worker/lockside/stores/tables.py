"""The stores' tables, as data, and their creation. Streams are on from the start, so that a worker misses nothing."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import error_code
from lockside.aws.tables import PK, SK, TableDefinition
from lockside.errors import LimitError, NotFoundOutError, SetupError
from lockside.stores.calls import Calls, refusal
from lockside.stores.lock_row import FENCE_KEY
from lockside.stores.machine import System

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LOCK_KEY: Final = "key"
EXPIRES: Final = "expires"
EXPIRING: Final = frozenset({"ENABLED", "ENABLING"})
POLL_SECONDS: Final = 1
POLLS_MAX: Final = 120
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}")
"""What DynamoDB takes for a table's name (Developer Guide, naming rules)."""


def fence_table_name(lock_table: str) -> str:
    """Return the name of the table of fences that goes with a lock table unless another is named."""
    return f"{lock_table}-fences"


def lock_tables(name: str, fences: str | None = None) -> tuple[TableDefinition, ...]:
    """Define a lock table as the Java client's own helper makes it, and the table of fences."""
    return (
        _define("locks", name, (LOCK_KEY,), stream=True),
        _define("fences", fences or fence_table_name(name), (FENCE_KEY,)),
    )


def phrase_table(name: str) -> TableDefinition:
    """Define a table of key phrases."""
    return _define("phrases", name, (PK, SK), stream=True, ttl=EXPIRES)


def session_table(name: str) -> TableDefinition:
    """Define a table of login sessions."""
    return _define("sessions", name, (PK,), stream=True, ttl=EXPIRES)


def create(client: "DynamoDBClient", definition: TableDefinition) -> None:
    """Create a table and wait, within a bound, until it is active; leave one that is there with the same key.

    Raises LimitError for a name that no table can have, SetupError for a table with another key, NotFoundOutError when
    it does not become active.
    """
    if NAME.fullmatch(definition.name) is None:
        raise LimitError(
            f'table "{definition.name}": DynamoDB takes names of 3 to 255 characters, of a-z, A-Z, 0-9, "_", "-" and '
            '"."; choose another'
        )
    try:
        Calls(definition.name, System()).read(lambda: _created(client, definition))
        waiter = client.get_waiter("table_exists")
        waiter.wait(TableName=definition.name, WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": POLLS_MAX})
        check(client, definition)
        if definition.ttl_attribute is not None:
            _expire(client, definition.name, definition.ttl_attribute)
    except (ClientError, BotoCoreError) as error:
        raise refusal(error, definition.name) from error


def _created(client: "DynamoDBClient", definition: TableDefinition) -> None:
    try:
        client.create_table(**definition.create)
    except ClientError as error:
        # Also what a second attempt hears whose first one's answer was lost.
        if error_code(error) != "ResourceInUseException":
            raise


def check(client: "DynamoDBClient", definition: TableDefinition) -> None:
    """Raise SetupError unless the table has the key that it needs."""
    table = client.describe_table(TableName=definition.name)["Table"]
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    there = [(each["KeyType"], each["AttributeName"], types[each["AttributeName"]]) for each in table["KeySchema"]]
    wanted = [(each["KeyType"], each["AttributeName"], "S") for each in definition.create["KeySchema"]]
    if there != wanted:
        raise SetupError(
            f'table "{definition.name}": its key is {_spell(there)}, and {definition.purpose} need {_spell(wanted)}; '
            "name another table"
        )
    if table["TableStatus"] == "DELETING":
        raise NotFoundOutError(f'table "{definition.name}": is being deleted; wait until it is gone')


def _expire(client: "DynamoDBClient", name: str, attribute: str) -> None:
    now = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    if now.get("TimeToLiveStatus") in EXPIRING:
        return
    specification: Any = {"Enabled": True, "AttributeName": attribute}
    try:
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=specification)
    except ClientError:
        # Another process created the table too, and was quicker: AWS then says ValidationException.
        now = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if now.get("TimeToLiveStatus") not in EXPIRING:
            raise


def _spell(keys: Sequence[tuple[str, str, str]]) -> str:
    return ", ".join(f"{name} ({kind}, {role})" for role, name, kind in keys)


def _define(
    purpose: str, name: str, keys: tuple[str, ...], *, stream: bool = False, ttl: str | None = None
) -> TableDefinition:
    roles = ("HASH", "RANGE")
    create: dict[str, Any] = {
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
        "KeySchema": [{"AttributeName": key, "KeyType": role} for key, role in zip(keys, roles, strict=False)],
        "BillingMode": "PAY_PER_REQUEST",
        "DeletionProtectionEnabled": False,
    }
    if stream:
        create["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    return TableDefinition(purpose, create, ttl, point_in_time_recovery=False)
