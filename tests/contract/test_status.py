"""`lockside status` as a person and a script see it, against moto."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson
import pytest
from click.testing import CliRunner, Result

from lockside.app.run import run
from lockside.aws.tables import audit_table, state_table
from lockside.cli.main import main
from lockside.core.change import ShardRef
from lockside.core.ownership import Standing
from lockside.core.status import BAD_AFTER_MS, ShardStatus
from lockside.emulators import tables
from lockside.emulators.emulator import Emulator
from lockside.ops.clock import SystemClock
from lockside.settings import load
from lockside.state import keys_file
from lockside.state.ownership import Candidate, Ownership, OwnerTable
from lockside.state.status import StatusTable
from tests.fakes.clock import FakeClock
from tests.fakes.sources import lock_keys, pydynlock
from tests.fakes.state_table import dynamodb

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
idle_min_ms = 1
idle_max_ms = 2
[ops]
log_level = "error"
[[source]]
id = "locks"
table = "locks-{name}"
layout = "pydynlock"
"""
WAIT_SECONDS_MAX: Final = 30.0
HOUR_MS: Final = 3_600_000


@dataclass
class Desk:
    """The tables and settings of one application, and the command."""

    client: "DynamoDBClient"
    name: str
    config: Path
    arn: str

    def run(self, *arguments: str) -> Result:
        """Run `lockside status`."""
        return CliRunner().invoke(main, ["status", "--config", str(self.config), *arguments])

    def answer(self) -> dict[str, Any]:
        """Return what a script reads."""
        found: dict[str, Any] = orjson.loads(self.run("--json").stdout)
        return found

    def own(self, clock: Any = None, place: str = "host-a, process 7") -> Ownership:
        """Take the application, as a worker does."""
        owners = OwnerTable(self.client, f"state-{self.name}", clock or SystemClock())
        ownership = Ownership(owners, Candidate("lockside", "run-1", place, 9_000), lambda: 0)
        assert ownership.look() is Standing.MINE
        return ownership

    def tell(self, **changes: Any) -> None:
        """Write a shard's row, as a worker does."""
        now_ms = SystemClock().now().wall_ms
        facts: dict[str, Any] = {
            "shard": ShardRef(self.arn, "shardId-a"),
            "sources": ("locks",),
            "state": "caught_up",
            "start": "TRIM_HORIZON",
            "position": 10**22,
            "lag_ms": 300,
            "unwritten_ms": None,
            "deadlines": 2,
            "halted": None,
            "recipe": "0123456789abcdef",
            "since_ms": now_ms - HOUR_MS,
            "owner": "run-1",
            "epoch": 1,
            "refreshed_ms": now_ms,
            "again_ms": 5_000,
        }
        StatusTable(self.client, f"state-{self.name}", "lockside").refresh([ShardStatus(**facts | changes)], [])


@pytest.fixture
def desk(moto: Emulator, tmp_path: Path) -> Desk:
    """Return an application that no worker has served yet."""
    client, name = dynamodb(moto), uuid4().hex[:12]
    arn = tables.create_lock_table(client, f"locks-{name}")
    for definition in (audit_table(f"audit-{name}"), state_table(f"state-{name}")):
        client.create_table(**{**definition.create, "DeletionProtectionEnabled": False})
    keys_file.create(tmp_path / "keys.json", "2026-11-23T00:00:00Z")
    config = tmp_path / "lockside.toml"
    config.write_text(SETTINGS.format(endpoint=moto.endpoint_url, name=name, keys=tmp_path / "keys.json"))
    return Desk(client, name, config, arn)


def test_an_application_without_a_worker(desk: Desk) -> None:
    """Bad news, with the way out."""
    result = desk.run()
    assert (result.exit_code, "no worker has run yet; `lockside run` starts one" in result.output) == (1, True)
    assert desk.answer() | {"time": ""} == {
        "application": "lockside",
        "time": "",
        "good": False,
        "problems": ["no worker has run yet; `lockside run` starts one"],
        "owner": None,
        "members": None,
        "shards": [],
    }


def test_all_is_well(desk: Desk) -> None:
    """A living owner and shards that are caught up: exit code 0, and every fact in either form."""
    desk.own()
    desk.tell()
    result = desk.run()
    assert result.exit_code == 0, result.output
    for fact in ("run-1 on host-a, process 7 (epoch 1), renewed", "caught up", str(10**22), "0123456789abcdef", "well"):
        assert fact in result.output
    (shard,) = desk.answer()["shards"]
    assert (shard["position"], shard["state"], shard["live_deadlines"]) == (str(10**22), "caught_up", 2)
    assert (shard["recipe"], shard["stale"], shard["problem"], shard["checkpoint"]) == (
        "0123456789abcdef",
        False,
        None,
        None,
    )
    assert desk.answer()["owner"]["live"] is True


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"state": "halted", "halted": "what follows was trimmed"}, "halted: what follows was trimmed"),
        ({"unwritten_ms": 301_000}, "a change is unwritten after 301 s; its stream forgets it after 24 hours"),
        ({"state": "stalled", "lag_ms": 400_000}, "it was not read for 400 s"),
        ({"refreshed_ms": 0}, "its worker has told nothing of it for long; is it down?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_news_of_a_shard(desk: Desk, told: dict[str, Any], problem: str) -> None:
    """Exit code 1, and the table, the shard and what it is."""
    desk.own()
    desk.tell(**told)
    assert desk.run().exit_code == 1
    assert desk.answer()["problems"] == [f"table locks-{desk.name}, shard shardId-a: {problem}"]


def test_a_worker_that_reads_nothing_is_bad_news_once_it_had_time_to(desk: Desk) -> None:
    """Denied to describe the stream, it lives and tells of no shard; right after a take-over that says nothing."""
    clock = FakeClock(wall_ms=SystemClock().now().wall_ms - BAD_AFTER_MS - 60_000)
    ownership = desk.own(clock)
    clock.advance((BAD_AFTER_MS + 60_000) / 1000)
    assert ownership.renew() is Standing.MINE
    unread = f"table locks-{desk.name}: no shard of it was read yet; `lockside check` says whether it can be"
    assert (desk.run().exit_code, desk.answer()["problems"]) == (1, [unread])
    ownership.release()
    assert desk.own().renew() is Standing.MINE
    assert (desk.run().exit_code, desk.answer()["problems"]) == (0, [])


def test_a_change_unwritten_for_a_moment_is_no_bad_news(desk: Desk) -> None:
    """Every batch is unwritten while it is being written."""
    desk.own()
    desk.tell(unwritten_ms=2_000, state="reading")
    assert desk.run().exit_code == 0


def test_a_dead_worker_is_one_problem_and_its_rows_are_marked(desk: Desk) -> None:
    """Its last sign of life, and not one line for each shard that is silent because of it."""
    desk.own(FakeClock(wall_ms=1_700_000_000_000), place="host-b, process 9")
    desk.tell(refreshed_ms=1_700_000_000_000)
    result = desk.run()
    assert result.exit_code == 1
    assert "caught up (not refreshed for" in result.output
    (problem,) = desk.answer()["problems"]
    assert problem.startswith("no worker runs: the last one, on host-b, process 9, gave its last sign of life ")


def test_what_a_real_run_leaves_to_be_read(desk: Desk) -> None:
    """Position, checkpoint and recipe of each shard, since when that counts, and that it stopped in good order."""
    for number in range(3):
        row = {**lock_keys(f"job-{number}"), **pydynlock("alpha", "v1", "3600")}
        desk.client.put_item(TableName=f"locks-{desk.name}", Item=row)
    before_ms = SystemClock().now().wall_ms
    assert run(load(desk.config), once=True) == 0
    assert run(load(desk.config), once=True) == 0
    answer = desk.answer()
    assert answer["problems"][0].startswith("no worker runs: the last one, on ")
    assert (answer["owner"]["worker"], answer["owner"]["epoch"]) == (None, 2)
    (shard,) = answer["shards"]
    assert shard["sources"] == ["locks"]
    assert shard["position"] == shard["checkpoint"]["position"]
    assert (shard["checkpoint"]["epoch"], shard["epoch"], shard["state"]) == (2, 2, "caught_up")
    (genesis,) = [
        item
        for item in desk.client.scan(TableName=f"audit-{desk.name}")["Items"]
        if item["sk"]["S"] == "G" and shard["shard"] in item["pk"]["S"]
    ]
    assert before_ms <= int(genesis["created_ms"]["N"]) <= SystemClock().now().wall_ms
    assert genesis["digest"]["S"].startswith(shard["recipe"])
    assert shard["recipe_since"] is not None


def test_a_missing_state_table_is_wrong_set_up(desk: Desk) -> None:
    """One message that names the setting and the way out."""
    desk.client.delete_table(TableName=f"state-{desk.name}")
    result = desk.run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "state.table" in result.stderr
    assert "lockside init" in result.stderr


def test_watch_refreshes_until_it_is_stopped(desk: Desk, moto: Emulator) -> None:
    """One report after the other, and Ctrl-C ends it."""
    desk.own()
    desk.tell()
    command = [sys.executable, "-m", "lockside", "status", "--config", str(desk.config), "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **moto.environment}) as watching:  # noqa: S603 - ours
        assert watching.stdout is not None
        began = time.monotonic()
        reports = [orjson.loads(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(WAIT_SECONDS_MAX) == 130
    assert [report["good"] for report in reports] == [True, True]
    assert reports[0]["time"] < reports[1]["time"]
    assert time.monotonic() - began < WAIT_SECONDS_MAX


def test_a_fleet_is_told_by_its_members(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no owner: who told of a shard just now is a member, and without one it is bad news."""
    monkeypatch.setenv("LOCKSIDE_ENGINE__KIND", "kcl")
    assert "no worker of the fleet tells of a shard" in desk.run().output
    desk.tell(owner="host-a/0")
    report = desk.run()
    assert report.exit_code == 0, report.output
    assert "a fleet of 1 worker: host-a/0" in report.output
    assert (desk.answer()["members"], desk.answer()["owner"]) == (["host-a/0"], None)
    desk.tell(owner="host-a/0", refreshed_ms=SystemClock().now().wall_ms - HOUR_MS)
    assert desk.run().exit_code == 1
