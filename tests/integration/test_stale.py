"""The worker as a whole beside a table of Terraform's locks, on each backend: one that stays is told as stale."""

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from lockside.app.worker import Worker
from lockside.aws.tables import audit_table, state_table
from lockside.emulators.emulator import Emulator
from lockside.settings import Settings
from lockside.state import keys_file
from tests.fakes.state_table import dynamodb

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

INFO = {"ID": "0f0a", "Operation": "OperationTypeApply", "Info": "hush", "Who": "ann@laptop", "Path": "b/prod.tfstate"}


def make_tables(client: "DynamoDBClient", name: str) -> None:
    """Make a lock table as Terraform's docs ask for it, with a stream, and Lockside's own tables."""
    client.create_table(
        TableName=f"locks-{name}",
        KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for definition in (audit_table(f"audit-{name}"), state_table(f"state-{name}")):
        client.create_table(**{**definition.create, "DeletionProtectionEnabled": False})


def settings_of(backend: Emulator, folder: Path, name: str) -> Settings:
    """Return the settings of a worker that calls a lock stale after a second."""
    keys_file.create(folder / "keys.json", "2026-11-23T00:00:00Z")
    given: dict[str, Any] = {
        "aws": {"endpoint_url": backend.endpoint_url, "region": backend.region},
        "audit": {"table": f"audit-{name}"},
        "state": {"table": f"state-{name}"},
        "keys": {"file": folder / "keys.json"},
        "engine": {"idle_min_ms": 1, "idle_max_ms": 20},
        # DynamoDB Local rounds to the minute; how old exactly a lock is does not matter here.
        "recipe": {"time_precision_ms": 1},
        "source": [{"id": "states", "table": f"locks-{name}", "layout": "terraform", "stale_after_seconds": 1}],
    }
    return Settings(**given)


def test_a_lock_that_stays_is_told_as_stale(backend: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, after its acquisition, and the digest row beside it is no lock; what the lock says stays secret."""
    for variable, value in backend.environment.items():
        monkeypatch.setenv(variable, value)
    client, name, stop = dynamodb(backend), uuid4().hex[:12], threading.Event()
    make_tables(client, name)
    heard: list[Mapping[str, Any]] = []

    def hear(events: Sequence[Mapping[str, Any]]) -> None:
        heard.extend(events)
        if any(event["type"] == "dev.lockside.lock.stale.v1" for event in events):
            stop.set()

    worker = Worker.connected(settings_of(backend, tmp_path, name), stop=stop, announce=hear)
    client.put_item(
        TableName=f"locks-{name}", Item={"LockID": {"S": "b/prod.tfstate"}, "Info": {"S": json.dumps(INFO)}}
    )
    client.put_item(
        TableName=f"locks-{name}", Item={"LockID": {"S": "b/prod.tfstate-md5"}, "Digest": {"S": "d41d8cd98f00b204"}}
    )
    try:
        worker.run()
    finally:
        worker.close()
    locks = [event for event in heard if ".lock." in event["type"]]
    told = [(event["type"].split(".")[3], event["data"]["entity"]["name"], event["data"]["actor"]) for event in locks]
    assert told == [("acquired", "b/prod.tfstate", "ann@laptop"), ("stale", "b/prod.tfstate", "ann@laptop")]
    assert locks[-1]["data"]["stale_after_ms"] == "1000"
    assert "hush" not in json.dumps(heard)
