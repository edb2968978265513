"""The state table may be lost, or another one named: what the trail knows by itself is taken up.

The real worker through boto3, against the fake streams server in front of moto.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from lockside.app.worker import Worker
from lockside.aws.tables import audit_table, state_table
from lockside.emulators import tables
from lockside.emulators.emulator import Emulator
from lockside.settings import Settings
from lockside.state import keys_file
from tests.fakes.clock import FakeClock
from tests.fakes.sources import lock_keys, pydynlock, wire
from tests.fakes.state_table import dynamodb
from tests.fakes.stream_server import StreamServer

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DAY = 24 * 3_600.0


@dataclass
class Site:
    """One installation over a lock table, with the clock of the stream in hand."""

    server: StreamServer
    clock: FakeClock
    tables: "DynamoDBClient"
    given: dict[str, Any]
    locks: str

    def feed(self, number: int, lock: str, owner: str) -> None:
        """Let somebody take a lock."""
        record = wire(number, lock_keys(lock), None, pydynlock(owner, "v1"))
        self.server.control({"put": {"table": self.locks, "records": [record]}})

    def told(self, start: str) -> list[str]:
        """Drain the stream with a new worker; return all that the trail then holds of locks and of the stream."""
        settings = Settings(**{**self.given, "engine": {**self.given["engine"], "start": start}})
        worker = Worker.connected(settings, stop=threading.Event())
        try:
            worker.run(once=True)
        finally:
            worker.close()
        items = self.tables.scan(TableName=self.given["audit"]["table"], ConsistentRead=True)["Items"]
        events = [json.loads(item["ce"]["S"]) for item in items if "ce" in item and item["pk"]["S"].startswith("E#")]
        return sorted(
            f"{kind} {event['data'].get('entity', {}).get('name', '')}".strip()
            for event in events
            if (kind := event["type"].removeprefix("dev.lockside.").removesuffix(".v1"))
            in {"lock.acquired", "stream.gap"}
        )

    def lose_state(self) -> None:
        """Empty the state table."""
        table = self.given["state"]["table"]
        for item in self.tables.scan(TableName=table, ConsistentRead=True)["Items"]:
            self.tables.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})


@pytest.fixture
def site(moto: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Make an installation with all its tables."""
    name, clock = uuid4().hex[:12], FakeClock()
    with StreamServer(backing_url=moto.endpoint_url, clock=clock) as server:
        for variable, value in server.emulator.environment.items():
            monkeypatch.setenv(variable, value)
        client = dynamodb(server.emulator)
        tables.create_lock_table(client, f"locks-{name}")
        for definition in (audit_table(f"audit-{name}"), state_table(f"state-{name}")):
            client.create_table(**{**definition.create, "DeletionProtectionEnabled": False})
        keys_file.create(tmp_path / "keys.json", "2026-11-23T00:00:00Z")
        given = {
            "aws": {"endpoint_url": server.endpoint_url, "region": server.emulator.region},
            "audit": {"table": f"audit-{name}"},
            "state": {"table": f"state-{name}"},
            "keys": {"file": tmp_path / "keys.json"},
            "engine": {"idle_min_ms": 1, "idle_max_ms": 2},
            "source": [{"id": "locks", "table": f"locks-{name}", "layout": "pydynlock"}],
        }
        yield Site(server, clock, client, given, f"locks-{name}")
        client.close()


@pytest.mark.parametrize("rolls", [False, True], ids=["in the same shard", "in a child that was never begun"])
def test_a_start_at_latest_stays_where_it_was(site: Site, rolls: bool) -> None:  # noqa: FBT001 - a parameter
    """Else what was written while the table was lost would count as made before the start."""
    site.feed(1, "before", "ann")
    site.clock.advance(10)
    assert site.told("LATEST") == []
    site.clock.advance(10)
    site.feed(2, "seen", "ann")
    assert site.told("LATEST") == ["lock.acquired seen"]
    if rolls:
        site.server.control({"split": {"table": site.locks}})
    site.clock.advance(10)
    site.feed(3, "meanwhile", "bob")
    site.clock.advance(3_600)
    site.lose_state()
    assert site.told("LATEST") == ["lock.acquired meanwhile", "lock.acquired seen"]


@pytest.mark.parametrize("sealed", [False, True], ids=["its own log's", "the sealed log's before an empty one"])
def test_a_loss_is_told_by_what_the_head_knows(site: Site, sealed: bool) -> None:  # noqa: FBT001 - a parameter
    """The stream lost what followed the last record: without a checkpoint that is a gap all the same."""
    site.feed(1, "seen", "ann")
    assert site.told("TRIM_HORIZON") == ["lock.acquired seen"]
    if sealed:
        site.given["recipe"] = {"refresh_bucket_seconds": 7_200}
        assert site.told("TRIM_HORIZON") == ["lock.acquired seen"]
    site.feed(2, "lost", "bob")
    site.clock.advance(2 * DAY)
    model = site.server.service.model
    (shard,) = model.streams[model.latest[site.locks]].shards.values()
    site.server.control({"trim": {"table": site.locks, "shard_id": shard.shard_id}})
    site.feed(3, "after", "cid")
    site.lose_state()
    assert site.told("TRIM_HORIZON") == ["lock.acquired after", "lock.acquired seen", "stream.gap"]


def test_a_lost_table_alone_is_no_loss(site: Site) -> None:
    """Within the stream's day everything is read again, into equal records."""
    site.feed(1, "one", "ann")
    assert site.told("TRIM_HORIZON") == ["lock.acquired one"]
    site.clock.advance(3_600)
    site.feed(2, "two", "bob")
    site.lose_state()
    assert site.told("TRIM_HORIZON") == ["lock.acquired one", "lock.acquired two"]
