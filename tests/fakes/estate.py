"""One installation on an emulator behind a guard: the tables of `deploy/iam` under names of its own, its commands."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import boto3
import orjson
from click.testing import CliRunner, Result

from lockside.app.demo import event_name
from lockside.app.pace import pace_of
from lockside.app.worker import Worker
from lockside.aws.retrying import Retrier
from lockside.cli.main import main
from lockside.core.change import ShardRef
from lockside.core.ports import Undecodable
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.emulators.tables import create_lock_table, create_session_table
from lockside.engines.discovery import Discovery
from lockside.engines.kcl.leases import lease_table
from lockside.engines.kcl.provision import first_lease, make_tables
from lockside.settings import Settings, load
from lockside.state import keys_file
from lockside.state.live_index import NONCE_BYTES
from lockside.state.undecodable import UndecodableTable
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.guard import Guard
from tests.fakes.permissions import Grant
from tests.fakes.sources import lock_keys, pydynlock
from tests.fakes.state_table import access, dynamodb

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

WAIT_SECONDS_MAX: Final = 150.0
LONG_LEASE: Final = "3600"
DAY_SECONDS: Final = 86_400
KCL_TABLES: Final = "lockside-kcl-*"

DRAINED_SECONDS: Final = 0.01
"""How long nothing unread must show up of a stream that was switched off: here no child of its shards is late."""
SETTINGS: Final = """
application = "{name}"
[aws]
region = "{region}"
endpoint_url = "{endpoint}"
[audit]
table = "{name}-audit"
retention_days = {retention_days}
deletion_protection = {protection}
[state]
table = "{name}-state"
[keys]
file = "{keys}"
[engine]
shard_listing_seconds = 0.2
[recipe]
clock_margin_ms = 0
[[source]]
id = "locks"
table = "{name}-locks"
layout = "pydynlock"
[[source]]
id = "sessions"
table = "{name}-sessions"
layout = "flask-session"
"""


class Heard:
    """The events that a worker has written."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counts: Counter[str] = Counter()
        self._told = threading.Condition()

    def announce(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Note what was written."""
        with self._told:
            self._counts.update(event_name(event) for event in events)
            self._told.notify_all()

    def until(self, event: str, count: int = 1) -> None:
        """Wait until so many events of a kind were written, and let go of those."""
        with self._told:
            assert self._told.wait_for(lambda: self._counts[event] >= count, WAIT_SECONDS_MAX), (event, self._counts)
            self._counts[event] -= count


class Estate:
    """The installation. What is done by `guarded` goes through the guard, all else past it."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        """Make nothing yet."""
        self.name = f"estate-{uuid4().hex[:8]}"
        self.client: DynamoDBClient = dynamodb(emulator)
        self._emulator = emulator
        self._folder = folder
        self._config = folder / "lockside.toml"
        self._keys = folder / "keys.json"

    @property
    def tables(self) -> Mapping[str, str]:
        """The names of the policies' tables here, but for KCL's."""
        return {
            "lockside-audit": f"{self.name}-audit",
            "lockside-state": f"{self.name}-state",
            "my-locks": f"{self.name}-locks",
            "my-sessions": f"{self.name}-sessions",
        }

    @property
    def names(self) -> Mapping[str, str]:
        """The names of all the policies' tables here; KCL's are told by how they begin."""
        return {**self.tables, KCL_TABLES: f"{self.name}-kcl-*"}

    @contextmanager
    def guarded(self, allowed: frozenset[Grant] | None) -> Iterator[Guard]:
        """Let commands and workers reach the tables only as far as it is allowed."""
        with Guard(self._emulator, allowed) as guard:
            self._write(guard.endpoint_url)
            yield guard
        self._write(self._emulator.endpoint_url)

    def make(self) -> None:
        """Make all tables and the keys, past any guard."""
        self._write(self._emulator.endpoint_url)
        assert self.run("init").exit_code == 0
        self.make_watched()

    def make_watched(self) -> None:
        """Make the two watched tables."""
        create_lock_table(self.client, f"{self.name}-locks")
        create_session_table(self.client, f"{self.name}-sessions")

    def change_settings(self, **changes: Any) -> None:
        """Write the settings anew, with some of them changed."""
        self._write(self.settings.aws.endpoint_url, **changes)

    @property
    def settings(self) -> Settings:
        """The settings, as the commands read them."""
        return load(self._config)

    def run(self, *arguments: str) -> Result:
        """Run a command."""
        return CliRunner().invoke(main, [*arguments, "--config", str(self._config)])

    def drain(self) -> None:
        """Run a worker until nothing more is there to read."""
        worker = Worker.connected(self.settings, stop=threading.Event())
        try:
            worker.run(once=True)
        finally:
            worker.close()

    @contextmanager
    def working(self) -> Iterator["Heard"]:
        """Run a worker for as long as the block does."""
        heard, stop = Heard(), threading.Event()
        pace = replace(pace_of(self.settings), drained_seconds=DRAINED_SECONDS)
        worker = Worker.connected(
            self.settings, stop=stop, announce=heard.announce, worker_id=f"{self.name}/0", pace=pace
        )
        thread = threading.Thread(target=worker.run, name="estate", daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            stop.set()
            thread.join(WAIT_SECONDS_MAX)
            worker.close()

    def hand_out_leases(self) -> None:
        """Leave the leases that KCL would make after up to half a minute, past any guard, once its tables are there."""
        for table in (f"{self.name}-locks", f"{self.name}-sessions"):
            arn = str(self.client.describe_table(TableName=table)["Table"]["LatestStreamArn"])
            name = lease_table(self.name, arn)
            waiter = self.client.get_waiter("table_exists")
            waiter.wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": round(WAIT_SECONDS_MAX)})
            for shard in Discovery(boto3.client("dynamodbstreams", **access(self._emulator))).page(arn, None).shards:
                self._hand_out(name, shard.shard_id)

    def _hand_out(self, table: str, shard_id: str) -> None:
        with suppress(self.client.exceptions.ConditionalCheckFailedException):
            unleased: Any = {"ConditionExpression": "attribute_not_exists(leaseKey)"}
            self.client.put_item(TableName=table, Item=first_lease(shard_id), **unleased)

    def make_lease_tables(self) -> None:
        """Make KCL's tables, past any guard."""
        for table in (f"{self.name}-locks", f"{self.name}-sessions"):
            arn = str(self.client.describe_table(TableName=table)["Table"]["LatestStreamArn"])
            make_tables(self.client, lease_table(self.name, arn), Retrier(threading.Event(), NoMeter()))

    def replace_streams(self) -> None:
        """Switch both streams off and on: each table has another one from then on."""
        for table in (f"{self.name}-locks", f"{self.name}-sessions"):
            self.client.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
            view: Any = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
            self.client.update_table(TableName=table, StreamSpecification=view)

    def take(self, lock: str, lease_seconds: str = LONG_LEASE) -> None:
        """Take a lock as its client would."""
        # Its TTL must not be over: DynamoDB Local would remove the row.
        expiry = {"expiry_time": {"N": str(round(time.time()) + DAY_SECONDS)}}
        row = {**lock_keys(lock), **pydynlock("ann", f"v-{lock}", lease_seconds), **expiry}
        self.client.put_item(TableName=f"{self.name}-locks", Item=row)

    def release(self, lock: str) -> None:
        """Release a lock as its client would."""
        self.client.delete_item(TableName=f"{self.name}-locks", Key=lock_keys(lock))

    def log_in(self, session: str, deadline_seconds: str) -> None:
        """Log a user in as Flask-Session would."""
        payload = orjson.dumps({"_user_id": "ann", "_fresh": True})
        row: Any = {"id": {"S": f"session:{session}"}, "val": {"B": payload}, "expiration": {"N": deadline_seconds}}
        self.client.put_item(TableName=f"{self.name}-sessions", Item=row)

    def keep_undecodable(self, raw: Mapping[str, Any]) -> None:
        """Keep a change as a version kept it that could not read it, of an epoch whose head does not cover it."""
        arn = self.client.describe_table(TableName=f"{self.name}-locks")["Table"]["LatestStreamArn"]
        store = UndecodableTable(
            self.client,
            f"{self.name}-state",
            keys_file.load(self._keys).seal,
            Retrier(FakeStop(FakeClock()), NoMeter()),
            lambda: os.urandom(NONCE_BYTES),
        )
        for number, epoch in enumerate((0, 1)):
            change = Undecodable(7 + number, "number", f"ID{number}", raw, epoch=epoch)
            store.keep(ShardRef(arn, f"shardId-0000000{number}-kept"), [change])

    def _write(self, endpoint: str, *, retention_days: int = 30, protection: bool = False) -> None:
        text = SETTINGS.format(
            name=self.name,
            region=self._emulator.region,
            endpoint=endpoint,
            keys=self._keys,
            retention_days=retention_days,
            protection=str(protection).lower(),
        )
        self._config.write_text(text, encoding="utf-8")
