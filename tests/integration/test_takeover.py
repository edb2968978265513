"""Two real workers on DynamoDB Local: one owns, the other stands by and goes on where it fell."""

import json
import signal
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from click.testing import CliRunner

from lockside.aws.tables import audit_table, state_table
from lockside.cli.main import main
from lockside.emulators import tables
from lockside.emulators.emulator import Emulator
from lockside.state import keys_file
from tests.fakes.sources import pydynlock
from tests.fakes.state_table import dynamodb
from tests.fakes.worker_process import WorkerProcess, worker_process

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

SETTINGS: Final = """
[aws]
endpoint_url = "{endpoint}"
region = "us-east-1"
[audit]
table = "audit-{name}"
[state]
table = "state-{name}"
[keys]
file = "{keys}"
[engine]
idle_min_ms = 20
idle_max_ms = 100
checkpoint_interval_seconds = 0.1
owner_lease_seconds = {lease}
[ops]
status_seconds = 0.2
[[source]]
id = "locks"
table = "locks-{name}"
layout = "pydynlock"
"""
LEASE_SECONDS: Final = 2.0
SOON_SECONDS: Final = 4.0
"""What a loaded machine may take besides the lease."""

YEAR_2100: Final = "4102444800"
"""Until when rows live: DynamoDB Local soon deletes what is past its TTL, and each deletion is a change."""

POLL_SECONDS: Final = 0.05
WAIT_SECONDS_MAX: Final = 30.0


@dataclass
class Yard:
    """The tables, the settings, and what was written to the lock table."""

    emulator: Emulator
    client: "DynamoDBClient"
    name: str
    config: Path
    written: int = 0

    def write(self, number: int) -> None:
        """Take so many new locks, each by one change."""
        for _ in range(number):
            key = {"lock_key": {"S": self.key(self.written)}, "sort_key": {"S": "-"}}
            row: Any = {**key, **pydynlock("alpha", f"v{self.written}", "3600"), "expiry_time": {"N": YEAR_2100}}
            self.client.put_item(TableName=f"locks-{self.name}", Item=row)
            self.written += 1

    @staticmethod
    def key(number: int) -> str:
        """Name a lock."""
        return f"job-{number:03}"

    def recorded(self) -> Counter[str]:
        """Count the change records of each lock in the audit table."""
        return Counter(json.loads(item["ce"]["S"])["data"]["entity"]["name"] for item in self._records())

    def told(self, lock: str) -> list[str]:
        """Return what a lock's change records say, and where they stand."""
        events = [json.loads(item["ce"]["S"]) | {"sk": item["sk"]["S"]} for item in self._records()]
        return [f"{event['type']} {event['sk']}" for event in events if event["data"]["entity"]["name"] == lock]

    def places(self) -> Counter[str]:
        """Count the change records at each place of each log."""
        return Counter(f"{item['lg']['S']} {item['ix']['N']}" for item in self._records())

    def _records(self) -> list[Any]:
        pages = self.client.get_paginator("scan").paginate(TableName=f"audit-{self.name}", ConsistentRead=True)
        return [item for page in pages for item in page["Items"] if item["pk"]["S"].startswith("E#locks")]

    def check_recorded(self, *workers: WorkerProcess) -> None:
        """Wait until every lock has its record; see that each has exactly one, and each place in a log one record."""
        limit = time.monotonic() + WAIT_SECONDS_MAX
        while len(self.recorded()) < self.written and time.monotonic() < limit:
            time.sleep(POLL_SECONDS)
        found = self.recorded()
        missing = sorted({self.key(number) for number in range(self.written)} - found.keys())
        doubled = {lock: self.told(lock) for lock, number in sorted(found.items()) if number > 1}
        shared = sorted(place for place, number in self.places().items() if number > 1)
        logs = "\n".join(f"{worker.process.pid}: {worker.last()}" for worker in workers)
        faults = {"missing": missing, "doubled": doubled, "two at a place": shared}
        assert not any(faults.values()), f"of {self.written}: {faults}\n{logs}"
        assert len(found) == self.written

    def status(self, *arguments: str) -> Any:
        """Run `lockside status`."""
        return CliRunner().invoke(main, ["status", "--config", str(self.config), *arguments])


def yard_on(emulator: Emulator, folder: Path, lease_seconds: float) -> Yard:
    """Make all tables and the settings."""
    client, name = dynamodb(emulator), uuid4().hex[:12]
    tables.create_lock_table(client, f"locks-{name}")
    for definition in (audit_table(f"audit-{name}"), state_table(f"state-{name}")):
        client.create_table(**{**definition.create, "DeletionProtectionEnabled": False})
    keys = folder / "keys.json"
    keys_file.create(keys, "2026-11-23T00:00:00Z")
    config = folder / "lockside.toml"
    text = SETTINGS.format(endpoint=emulator.endpoint_url, name=name, keys=keys, lease=lease_seconds)
    config.write_text(text, encoding="utf-8")
    return Yard(emulator, client, name, config)


@pytest.fixture
def yard(dynamodb_local: Emulator, tmp_path: Path) -> Yard:
    """Return a yard whose owner keeps a lease of two seconds."""
    return yard_on(dynamodb_local, tmp_path, LEASE_SECONDS)


def two_workers(yard: Yard, stack: ExitStack) -> tuple[WorkerProcess, WorkerProcess]:
    """Start an owner, and then a standby."""
    first = stack.enter_context(worker_process(yard.config, yard.emulator))
    first.until("owner")
    second = stack.enter_context(worker_process(yard.config, yard.emulator))
    second.until("standby")
    return first, second


def test_a_killed_owner_is_followed_and_nothing_is_lost_or_doubled(yard: Yard) -> None:
    """SIGKILL in mid-work: the standby owns within a lease and a little, and every change has one record."""
    with ExitStack() as stack:
        first, second = two_workers(yard, stack)
        yard.write(60)
        first.until("batch")
        first.send(signal.SIGKILL)
        killed = time.monotonic()
        yard.write(40)
        owner = second.until("owner")
        assert time.monotonic() - killed < LEASE_SECONDS + SOON_SECONDS
        assert (owner["owner_epoch"], owner["took_over"]) == (2, True)
        yard.check_recorded(first, second)
        second.send(signal.SIGTERM)
        assert second.ended() == 0
        assert second.events()[-2:] == ["ownership_released", "stopped"]
    assert yard.status().exit_code == 1


def test_a_zombie_is_fenced_and_says_so(yard: Yard) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: it stops by itself with exit code 4 and moved nothing."""
    with ExitStack() as stack:
        first, second = two_workers(yard, stack)
        yard.write(30)
        first.until("batch")
        first.send(signal.SIGSTOP)
        second.until("owner")
        yard.write(30)
        second.until("batch")
        first.send(signal.SIGCONT)
        assert first.ended() == 4
        fenced = next(line for line in first.lines if line["event"] == "fenced")
        assert fenced["level"] == "error"
        assert "another worker" in fenced["reason"] or "belongs to another worker now" in fenced["reason"]
        assert "worker_stopped" not in first.events(), "no traceback where one sentence says it"
        yard.write(20)
        yard.check_recorded(first, second)
        report = yard.status()
        assert report.exit_code == 0, report.output
        assert "(epoch 2)" in report.output
        second.send(signal.SIGTERM)
        assert second.ended() == 0


def test_an_orderly_stop_hands_over_at_once(dynamodb_local: Emulator, tmp_path: Path) -> None:
    """The standby does not wait for a lease of half a minute; and a standby that is told to stop just stops."""
    yard = yard_on(dynamodb_local, tmp_path, lease_seconds=30.0)
    with ExitStack() as stack:
        first, second = two_workers(yard, stack)
        third = stack.enter_context(worker_process(yard.config, yard.emulator))
        third.until("standby")
        third.send(signal.SIGTERM)
        assert third.ended() == 0
        assert third.events()[-1] == "stopped"
        yard.write(10)
        first.until("batch")
        first.send(signal.SIGTERM)
        assert first.ended() == 0
        second.until("owner", SOON_SECONDS)
        yard.write(10)
        yard.check_recorded(first, second)
        second.send(signal.SIGTERM)
        assert second.ended() == 0
