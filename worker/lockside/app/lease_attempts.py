"""Whether the worker, and KCL inside it, may make its calls of KCL's tables, each made once without effect.

Those tables are the worker's own to make. Of one that is not there yet only that is proved, by a definition that cannot
be carried out; what is read and written in it shows once it is there, and the finding says so.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lockside.app.attempts import Attempt, Place, tried
from lockside.app.calls import stream_of
from lockside.app.finding import Finding
from lockside.app.provision import describe
from lockside.aws.retrying import error_code, verdict
from lockside.core.failures import Verdict
from lockside.engines.kcl.leases import lease_table
from lockside.engines.kcl.provision import KEYS, OWNER_INDEX, definitions

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.settings import Settings

SETTING: Final = "engine.kind"
VALIDATION: Final = "ValidationException"


def findings(settings: "Settings", client: "DynamoDBClient", absent: str, policy: str) -> Iterator[Finding]:
    """Try the three tables of each watched stream; a table or stream that cannot be looked at is told elsewhere."""
    for table in dict.fromkeys(source.table for source in settings.source):
        arn = stream_of(client, table)
        if arn is None:
            continue
        name = lease_table(settings.application, arn)
        for (suffix, key), definition in zip(KEYS.items(), definitions(name), strict=True):
            place = Place(name + suffix, SETTING, client, absent, policy)
            yield from _table(place, key, definition)


def _table(place: Place, key: str, definition: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        there = describe(place.client, place.name) is not None
    except ClientError as error:
        if verdict(error) is not Verdict.DENIED:
            raise
        yield place.denied("dynamodb:DescribeTable", error_code(error))
        return
    if there:
        yield from tried(place, list(_used(place, key, definition)))
    else:
        yield _makeable(place, definition)


def _used(place: Place, key: str, definition: Mapping[str, Any]) -> Iterator[Attempt]:
    client, name = place.client, place.name
    item: Any = {key: {"S": place.absent}}
    condition: Any = {"ConditionExpression": "attribute_exists(#key)", "ExpressionAttributeNames": {"#key": key}}
    update: Any = {
        **condition,
        "UpdateExpression": "REMOVE #nothing",
        "ExpressionAttributeNames": {"#key": key, "#nothing": "nothing"},
    }
    yield Attempt(("GetItem",), lambda: client.get_item(TableName=name, Key=item, ConsistentRead=True))
    yield Attempt(("Scan",), lambda: client.scan(TableName=name, Limit=1, ConsistentRead=True))
    yield Attempt(("PutItem",), lambda: client.put_item(TableName=name, Item=item, **condition))
    yield Attempt(("UpdateItem",), lambda: client.update_item(TableName=name, Key=item, **update))
    yield Attempt(("DeleteItem",), lambda: client.delete_item(TableName=name, Key=item, **condition))
    if "GlobalSecondaryIndexes" in definition:
        query: Any = {"KeyConditionExpression": "#owner = :owner", "ExpressionAttributeNames": {"#owner": "leaseOwner"}}
        query["ExpressionAttributeValues"] = {":owner": {"S": place.absent}}
        yield Attempt(("Query",), lambda: client.query(TableName=name, IndexName=OWNER_INDEX, **query))


def _makeable(place: Place, definition: Mapping[str, Any]) -> Finding:
    """Ask for the table with a key that is not defined: IAM is asked first, then it is refused.

    Nothing documents that order; were it another, the worker would find out when it makes the table.
    """
    impossible: Any = {**definition, "KeySchema": [{"AttributeName": place.absent, "KeyType": "HASH"}]}
    what = "is not there yet: the first worker makes it"
    try:
        place.client.create_table(**impossible)
    except ClientError as error:
        code = error_code(error)
        if verdict(error) is Verdict.DENIED:
            return place.denied("dynamodb:CreateTable", code)
        if code == VALIDATION:
            unproved = "it may; whether it may read and write there cannot be proved before"
            return Finding("note", place.name, place.setting, f"{what}, and {unproved}")
        what = f"{what}; whether it may was not found out ({code})"
    return Finding("warning", place.name, place.setting, what, "run the check again")
