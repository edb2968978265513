"""`lockside replicate` and what `lockside check` says of replicas, as a person meets them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from lockside.app import preflight
from lockside.app.patience import Patience
from lockside.app.replica_comparison import ReplicaReport, comparing
from lockside.aws.clients import connect
from lockside.cli import replicate_output
from lockside.cli.main import main
from lockside.core.entity import EntityKey
from lockside.core.replica import STAMP
from lockside.emulators.emulator import Emulator
from lockside.ops.clock import SystemClock
from lockside.settings import load
from lockside.stores.comparison import Comparison, Difference
from tests.fakes.redis_server import RedisServer
from tests.fakes.replication import Replication, replication


@pytest.fixture
def pair(moto: Emulator, redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replication:
    """Make a table with two rows and what its replicas need."""
    for variable, value in moto.environment.items():
        monkeypatch.setenv(variable, value)
    return replication(moto, redis, tmp_path, rows=[("secret-a", 1), ("secret-b", 2)])


def lockside(pair: Replication, *arguments: str) -> Result:
    """Run a command on the replication's settings."""
    return CliRunner().invoke(main, [arguments[0], "--config", str(pair.config), *arguments[1:]])


def spoil(pair: Replication) -> None:
    """Have the table and its DynamoDB replica differ in every way."""
    copy: Any = f"{pair.table}-copy"
    stamp = {STAMP: {"S": "00000009#"}}
    pair.client.delete_item(TableName=copy, Key=pair.key("secret-a", 1))
    pair.client.put_item(TableName=copy, Item={**pair.key("secret-b", 2), "v": {"S": "planted"}, **stamp})
    pair.client.put_item(TableName=copy, Item={**pair.key("secret-c", 3), **stamp})
    pair.client.put_item(TableName=copy, Item=pair.key("secret-d", 4))


def test_compare_finds_every_kind_of_difference_and_names_no_key(pair: Replication) -> None:
    """Exit code 1, rows by a digest, attributes by their names; in clear only where it is asked for."""
    assert lockside(pair, "replicate", "--bootstrap", "--once").exit_code == 0
    alike = lockside(pair, "replicate", "--compare")
    assert alike.exit_code == 0
    assert "0 differ" in alike.output
    spoil(pair)
    told = lockside(pair, "replicate", "--compare", "--settle", "0")
    assert told.exit_code == 1
    for words in ("is missing in the replica", "differs in n, raw, v", "is only in the replica\n", "no replication"):
        assert words in told.output
    assert "secret" not in told.output
    assert "planted" not in told.output
    shown = lockside(pair, "replicate", "--compare", "--settle", "0", "--keys", "--json", "--replica", "copy")
    (line,) = [json.loads(each) for each in shown.stdout.splitlines()]
    assert (line["alike"], line["rows"], line["replica_rows"], line["lag_seconds"]) == (False, 2, 3, None)
    kinds = {each["key"]: each["kind"] for each in line["differences"]}
    assert kinds == {
        "S8:secret-a,N1:1": "missing",
        "S8:secret-b,N1:2": "different",
        "S8:secret-c,N1:3": "extra",
        "S8:secret-d,N1:4": "foreign",
    }


def test_a_row_that_is_only_late_is_no_difference(pair: Replication) -> None:
    """It is looked at again; one that goes on differing while its source stands still is one."""
    assert lockside(pair, "replicate", "--bootstrap", "--once").exit_code == 0
    pair.put("secret-a", 1, "new")
    assert lockside(pair, "replicate", "--compare", "--settle", "1").exit_code == 1
    with pair.running():
        told = lockside(pair, "replicate", "--compare", "--settle", "30", "--json")
        assert told.exit_code == 0
    assert all(json.loads(line)["alike"] for line in told.stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--compare", "--once"], "--compare only looks"),
        (["--json"], "go with --compare"),
        (["--replica", "none"], 'there is none of the id "none"; there are copy, cache'),
        (["--compare"], "`lockside replicate --bootstrap` makes it"),
    ],
)
def test_wrong_use_is_told_with_the_way_out(pair: Replication, arguments: list[str], words: str) -> None:
    """Exit code 2."""
    told = lockside(pair, "replicate", *arguments)
    assert told.exit_code == 2
    assert words in told.output


def test_check_tells_of_replicas(pair: Replication) -> None:
    """Before the first copy, after it, and of a table that has a reader too many."""
    text = pair.config.read_text(encoding="utf-8")
    found = {(each.setting, each.level) for each in findings(pair)}
    assert ("replica[0].target_table", "fault") in found
    assert ("replica[1].id", "warning") in found
    assert lockside(pair, "replicate", "--bootstrap", "--once").exit_code == 0
    whole = [each for each in findings(pair) if each.setting.startswith("replica")]
    assert {each.setting for each in whole if each.level == "good"} >= {"replica[0].id", "replica[1].id"}
    assert not [each for each in whole if each.level == "fault"]
    watched = f'[[source]]\nid = "s"\ntable = "{pair.table}"\nlayout = "awslabs"\n'
    pair.config.write_text(text + watched, encoding="utf-8")
    (note,) = [each for each in findings(pair) if "two readers of ours" in each.what]
    assert note.level == "note"
    pair.config.write_text(text.replace('reader = "shared"\n', "") + watched, encoding="utf-8")
    (fault,) = [each for each in findings(pair) if "3 readers of ours" in each.what]
    assert fault.level == "fault"
    assert 'the worker, reader "cache", reader "copy"' in fault.what


def findings(pair: Replication) -> Any:
    """Examine the settings as they are in the file now."""
    settings = load(pair.config)
    return preflight.examine(settings, connect(settings.aws), SystemClock(), uuid4().hex)


def test_each_replica_is_compared_with_patience_of_its_own(pair: Replication) -> None:
    """One that does not answer takes nothing of the others' time, nor of their settling."""
    assert lockside(pair, "replicate", "--bootstrap", "--once").exit_code == 0
    made: list[Patience] = []

    def patience() -> Patience:
        made.append(Patience(60))
        return made[-1]

    used = [each.stop for each in comparing(pair.settings, (), patience)]
    assert len(used) == 2
    assert used == made


def test_a_difference_while_the_replicator_is_far_behind_is_not_settled() -> None:
    """It may only be late, however long it was looked at: the way out is to look for longer."""
    missing = Difference(EntityKey((("S", "a"),)), "missing", ())
    found = Comparison(1, 0, (missing,), 0, cut_off=False)
    behind = ReplicaReport("copy", "table", "place", found, 90.0, "", settle_seconds=15.0)
    assert not behind.is_settled
    assert "not settled, its replicator is 90 s behind" in "\n".join(replicate_output.lines(behind, show_keys=False))
    assert json.loads(replicate_output.json_line(behind, show_keys=False))["settled"] is False
    assert replace(behind, lag_seconds=2.0).is_settled
    assert replace(behind, lag_seconds=None).is_settled
