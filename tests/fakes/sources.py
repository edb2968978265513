"""Sources over the shipped layouts, and wire records for them."""

from collections.abc import Mapping
from typing import Any, Final

from lockside.core.change import ShardRef
from lockside.core.entity import KeySchema
from lockside.core.recipe import Source
from lockside.layouts.registry import builtin
from tests.fakes.changes import recipe

SHARD: Final = ShardRef(
    "arn:aws:dynamodb:us-east-1:123456789012:table/locks/stream/2026-11-23T08:00:00.000",
    "shardId-00000001795420800000-abc",
)
CREATED_SECONDS: Final = 1_795_421_400


def source(layout: str, *, source_id: str = "src", **changes: Any) -> Source:
    """Build a source of a layout or family by name, with a recipe of one-second precision."""
    specs = builtin().find(layout)
    schema = KeySchema(specs[0].key_names)
    kind = specs[0].traits.kind
    made = recipe(
        source_id=source_id,
        kind=kind,
        layouts=tuple((spec.name, spec.digest) for spec in specs),
        key_names=schema.names,
        **changes,
    )
    return Source(source_id, "locks", kind, specs, schema, made)


def wire(
    position: int,
    keys: Mapping[str, Any],
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any] | None,
    **members: Any,
) -> dict[str, Any]:
    """Build a stream record in the GetRecords shape; `ttl=True` makes it a TTL removal, `at` sets its second."""
    body: dict[str, Any] = {
        "ApproximateCreationDateTime": members.get("at", CREATED_SECONDS),
        "Keys": keys,
        "SequenceNumber": f"{position:021d}",
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if old is not None:
        body["OldImage"] = {**keys, **old}
    if new is not None:
        body["NewImage"] = {**keys, **new}
    name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    record = {"eventID": "e", "eventName": name, "eventVersion": "1.1", "awsRegion": "us-east-1", "dynamodb": body}
    if members.get("ttl"):
        record["userIdentity"] = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    return record


def pydynlock(owner: str, version: str, lease: str = "4") -> dict[str, Any]:
    """Build the attributes of a python_dynamodb_lock row."""
    return {
        "owner_name": {"S": owner},
        "lease_duration": {"N": lease},
        "record_version_number": {"S": version},
        "expiry_time": {"N": "1795425026"},
    }


def lock_keys(name: str) -> dict[str, Any]:
    """Build the key of a python_dynamodb_lock row."""
    return {"lock_key": {"S": name}, "sort_key": {"S": "-"}}
