"""Edge cases of what records say: 24, 25, 29, 30, 32, 33, 37, 39 and 40 of the list of what a streams consumer meets.

The real worker through boto3, against the fake streams server in front of moto: one endpoint for all its tables.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from lockside.app.worker import Worker
from lockside.aws.tables import audit_table, state_table
from lockside.emulators import tables
from lockside.emulators.emulator import Emulator
from lockside.errors import UndecodableLimitError, UsageError
from lockside.settings import Settings
from lockside.state import keys_file
from tests.fakes.sources import lock_keys, pydynlock, wire
from tests.fakes.state_table import dynamodb
from tests.fakes.stream_server import StreamServer

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Events = list[tuple[str, str | None]]


@dataclass
class Site:
    """One installation over a python_dynamodb_lock table, all of it behind one server."""

    server: StreamServer
    tables: "DynamoDBClient"
    given: dict[str, Any]
    locks: str

    def feed(self, *records: Mapping[str, Any]) -> None:
        """Put raw records into the lock table's stream, wherever each item's shard is."""
        self.server.control({"put": {"table": self.locks, "records": records}})

    def run(self) -> list[Any]:
        """Drain the stream with a new worker; return all that the audit table then holds, by lock and then in order."""
        worker = Worker.connected(Settings(**self.given), stop=threading.Event())
        try:
            worker.run(once=True)
        finally:
            worker.close()
        items = self.tables.scan(TableName=self.given["audit"]["table"], ConsistentRead=True)["Items"]
        stored = sorted((item["pk"]["S"], item["sk"]["S"], item["ce"]["S"]) for item in items if "ce" in item)
        return [json.loads(body) for pk, _, body in stored if pk.startswith("E#")]

    def told(self) -> Events:
        """Drain the stream; return the events of locks and of the stream, each with the lock's name."""
        return [
            (kind, event["data"].get("entity", {}).get("name"))
            for event in self.run()
            if not (kind := event["type"].removeprefix("dev.lockside.").removesuffix(".v1")).startswith("worker.")
        ]


@pytest.fixture
def site(moto: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Make an installation with all its tables; the lock table's stream splits at once."""
    name = uuid4().hex[:12]
    with StreamServer(backing_url=moto.endpoint_url) as server:
        for variable, value in server.emulator.environment.items():
            monkeypatch.setenv(variable, value)
        client = dynamodb(server.emulator)
        tables.create_lock_table(client, f"locks-{name}")
        server.control({"split": {"table": f"locks-{name}"}})
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
        yield Site(server, client, given, f"locks-{name}")
        client.close()


def test_edge_24_a_write_that_changes_nothing_is_no_event(site: Site) -> None:
    """AWS emits none; what an emulator emits for it is not recorded."""
    row = pydynlock("ann", "v1")
    site.feed(wire(1, lock_keys("job"), None, row), wire(2, lock_keys("job"), row, row))
    assert site.told() == [("lock.acquired", "job")]


@pytest.mark.parametrize("view", ["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE"])
def test_edge_25_a_stream_that_does_not_show_both_images_is_refused(site: Site, view: Any) -> None:
    """At the start, with the table, what its stream shows and what is needed."""
    site.tables.create_table(
        TableName=f"{site.locks}-{view}",
        KeySchema=[{"AttributeName": "lock_key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "lock_key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": view},
    )
    site.given["source"][0]["table"] = f"{site.locks}-{view}"
    with pytest.raises(UsageError, match=rf"{site.locks}-{view}.*{view}.*NEW_AND_OLD_IMAGES"):
        site.run()


def test_edge_29_a_ttl_removal_is_told_from_a_delete(site: Site) -> None:
    """By the service's identity in the record; a replica's looks like anybody's delete, and is told as one."""
    row = pydynlock("ann", "v1")
    for name in ("by-ttl", "by-hand"):
        site.feed(wire(1, lock_keys(name), None, row))
    site.feed(wire(2, lock_keys("by-ttl"), row, None, ttl=True), wire(2, lock_keys("by-hand"), row, None))
    told = site.told()
    assert ("lock.purged", "by-ttl") in told
    assert ("lock.released", "by-hand") in told
    assert ("lock.purged", "by-hand") not in told


def test_edge_30_what_replication_adds_to_a_row_is_no_event(site: Site) -> None:
    """Global tables of 2017 write their own attributes, in a change of their own."""
    row = pydynlock("ann", "v1")
    replicated = {
        **row,
        "aws:rep:deleting": {"BOOL": False},
        "aws:rep:updatetime": {"N": "1795421400.000001"},
        "aws:rep:updateregion": {"S": "us-east-1"},
    }
    site.feed(wire(1, lock_keys("job"), None, row), wire(2, lock_keys("job"), row, replicated))
    assert site.told() == [("lock.acquired", "job")]


def test_edge_32_an_unknown_event_is_kept_as_undecodable_and_the_next_is_read(site: Site) -> None:
    """A later version of the service may send what it likes; a later eventVersion alone changes nothing."""
    strange = {**wire(1, lock_keys("strange"), None, pydynlock("ann", "v1")), "eventName": "ARCHIVE"}
    later = {**wire(2, lock_keys("later"), None, pydynlock("bob", "v2")), "eventVersion": "9.9"}
    site.feed(strange, later)
    assert sorted(kind for kind, _ in site.told()) == ["lock.acquired", "stream.undecodable"]


def test_edge_33_the_writes_of_a_batch_are_changes_of_their_own(site: Site) -> None:
    """Two locks in one BatchWriteItem call: two events, through whatever shards."""
    puts: Any = [
        {"PutRequest": {"Item": {**lock_keys(name), **pydynlock("ann", f"v-{name}")}}} for name in ("one", "two")
    ]
    site.tables.batch_write_item(RequestItems={site.locks: puts})
    site.server.control({"state": {}})
    assert sorted(site.told(), key=str) == [("lock.acquired", "one"), ("lock.acquired", "two")]


def test_edge_37_a_poisonous_record_blocks_nobody(site: Site) -> None:
    """A lease that is no number, an unknown type, keys that do not fit: each leaves a trace, and the rest go on."""
    odd = wire(1, lock_keys("odd"), None, pydynlock("ann", "v1", lease="many"))
    unknown = wire(2, lock_keys("unknown"), None, {**pydynlock("ann", "v1"), "owner_name": {"XX": "1"}})
    keyless = wire(3, {"other": {"S": "x"}}, None, pydynlock("ann", "v1"))
    good = wire(4, lock_keys("good"), None, pydynlock("bob", "v2"))
    site.feed(odd, unknown, keyless, good)
    told = site.told()
    assert ("lock.acquired", "good") in told
    assert len(told) == 4
    assert [name for kind, name in told if kind == "stream.undecodable"]


def test_edge_37_at_the_limit_of_what_is_kept_the_shard_halts_and_nothing_is_lost(site: Site) -> None:
    """The third of three does not fit: it and what follows wait in the stream until the limit is raised."""
    site.given["engine"]["undecodable_max"] = 2
    strange = [{**wire(number, lock_keys("one"), None, pydynlock("ann", "v1")), "eventName": "?"} for number in (1, 2)]
    site.feed(*strange)
    site.feed({**strange[0], "eventName": "!"}, wire(4, lock_keys("one"), None, pydynlock("bob", "v2")))
    with pytest.raises(UndecodableLimitError, match=r"engine\.undecodable_max"):
        site.run()
    with pytest.raises(UndecodableLimitError):
        site.run()
    site.given["engine"]["undecodable_max"] = 3
    told = site.told()
    assert [kind for kind, _ in told if kind == "stream.undecodable"] == ["stream.undecodable"] * 3
    assert ("lock.acquired", "one") in told
    assert len(told) == 4


@pytest.mark.parametrize("own", ["audit", "state"])
def test_edge_39_our_own_tables_are_not_watched(site: Site, own: str) -> None:
    """Each record written would make another to write."""
    site.given["source"][0]["table"] = site.given[own]["table"]
    with pytest.raises(ValueError, match=rf"{own}\.table = .*own tables cannot be watched"):
        site.run()


def test_edge_40_a_record_of_two_large_images_becomes_a_small_one(site: Site) -> None:
    """400 KB before and after: what is kept of them fits an audit item by far."""
    before = {**pydynlock("ann", "v1"), "data": {"S": "x" * 399_000}}
    after = {**pydynlock("bob", "v2"), "data": {"S": "y" * 399_000}}
    site.feed(wire(1, lock_keys("job"), None, before), wire(2, lock_keys("job"), before, after))
    events = site.run()
    assert all(len(json.dumps(event)) <= 64 * 1024 for event in events)
    kinds = [event["type"].split(".")[-2] for event in events if ".lock." in event["type"]]
    assert kinds[0] == "acquired"
    assert len(kinds) >= 2
