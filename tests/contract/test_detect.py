"""`detect` on both backends: real tables, their streams, and the sources that it prints."""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from lockside.app import preflight, sources
from lockside.app.sample import scan
from lockside.aws.clients import Clients, connect
from lockside.cli.main import main
from lockside.core.entity import PUBLIC_KEYS
from lockside.emulators.emulator import Emulator
from lockside.ops.clock import SystemClock
from lockside.settings import load

NUMBERS: Iterator[int] = count()
SECRET = "hunter2-4711"  # noqa: S105 - made up; no output may hold it
STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
AWSLABS = {
    "ownerName": {"S": SECRET},
    "recordVersionNumber": {"S": SECRET},
    "leaseDuration": {"S": "20000"},
    "data": {"B": SECRET.encode()},
}
SESSION = {"val": {"B": b"\x81\xa8_user_id\xa4dave"}, "expiration": {"N": "1795421916.5"}}

Row = Mapping[str, Any]


class Site:
    """One table of an emulator, and settings that lead to it."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        """Write the settings; make no table yet."""
        self.table = f"detect-{next(NUMBERS)}"
        self.file = folder / "lockside.toml"
        self.file.write_text(
            f'[aws]\nregion = "us-east-1"\nendpoint_url = "{emulator.endpoint_url}"\n', encoding="utf-8"
        )

    @property
    def clients(self) -> Clients:
        """Clients as the commands make them."""
        return connect(load(self.file).aws)

    def create(self, *keys: str, stream: Mapping[str, Any] | None = None) -> None:
        """Make the table."""
        client: Any = self.clients.dynamodb
        client.create_table(
            TableName=self.table,
            KeySchema=[
                {"AttributeName": name, "KeyType": kind} for name, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            BillingMode="PAY_PER_REQUEST",
            **({} if stream is None else {"StreamSpecification": stream}),
        )

    def put(self, rows: Iterable[Row]) -> None:
        """Write rows."""
        for row in rows:
            self.clients.dynamodb.put_item(TableName=self.table, Item=row)

    def detect(self, *options: str) -> Result:
        """Run the command."""
        arguments = ["detect", "--table", self.table, "--config", str(self.file), *options]
        return CliRunner().invoke(main, arguments)

    def answer(self, *options: str) -> Any:
        """Run the command for a script."""
        return json.loads(self.detect("--json", *options).stdout)


@pytest.fixture
def site(endpoint: Emulator, tmp_path: Path) -> Site:
    """Stand before an emulator without a table of ours."""
    return Site(endpoint, tmp_path)


def locks(number: int, **more: Any) -> list[Row]:
    """Make rows of awslabs locks."""
    return [{"key": {"S": f"{SECRET}-{n}"}, **AWSLABS, **more} for n in range(number)]


def test_a_table_is_named_with_the_source_to_paste(site: Site) -> None:
    """Layout, confidence and reasons are told, the block is TOML that the settings take, and no value comes out."""
    site.create("key", stream=STREAM)
    site.put(locks(3))
    result = site.detect()
    assert result.exit_code == 0, result.output
    assert "Layout: awslabs (sure, from 3 rows)" in result.stdout
    block = result.stdout[result.stdout.index("[[source]]") :]
    assert tomllib.loads(block)["source"] == [{"id": site.table, "table": site.table, "layout": "awslabs"}]
    with site.file.open("a", encoding="utf-8") as file:
        file.write(block)
    assert [source.layout for source in load(site.file).source] == ["awslabs"]
    assert SECRET not in result.output
    assert "hunter2" not in result.output
    assert site.answer()["watched_by"] == [site.table]


def test_several_kinds_of_rows_become_sources_that_do_not_meet(site: Site) -> None:
    """Sessions beside locks and an application's own rows: two sources, filtered, that `check` is content with."""
    site.create("id", stream=STREAM)
    closed = {
        "owner": {"S": "a"},
        "guid": {"B": b"x" * 64},
        "leaseDurationMs": {"N": "4000"},
        "fencingToken": {"N": "1"},
    }
    site.put({"id": {"S": f"session:{n}"}, **SESSION} for n in range(5))
    site.put({"id": {"S": f"lock-{n}"}, **closed} for n in range(3))
    site.put([{"id": {"S": "order-1"}, "total": {"N": "5"}, "currency": {"S": SECRET}}])
    answer = site.answer()
    assert [(one["layout"], one["confidence"]) for one in answer["sources"]] == [
        ("tristanls-open", "sure"),
        ("flask-session", "sure"),
    ]
    assert answer["sources"][1]["rows"] == {"required": {"val": ["B", "S"]}}
    assert answer["others"] == [{"attributes": ["currency", "id", "total"], "rows": 1}]
    with site.file.open("a", encoding="utf-8") as file:
        file.write(answer["toml"])
    settings = load(site.file)
    found = [
        one for one in preflight.examine(settings, site.clients, SystemClock(), uuid4().hex) if one.table == site.table
    ]
    assert not [one for one in found if one.level == "fault"]
    told = {one.what for one in found}
    assert "layout tristanls-open has 3 of 9 sampled rows" in told
    assert "layout flask-session has 5 of 9 sampled rows" in told
    assert "1 of 9 sampled rows belong to no source; they have currency, id, total" in told
    (stream,) = sources.resolve(site.clients.dynamodb, settings, PUBLIC_KEYS)
    assert [source.recipe.rows for source in stream.sources] == [None, '{"required":{"val":["B","S"]}}']
    assert SECRET not in json.dumps(answer)


def test_sources_that_no_filter_tells_apart_say_so(site: Site) -> None:
    """Java's locks beside Go's: both layouts claim every row, so the first source would take and misread the others."""
    site.create("key", stream=STREAM)
    site.put(locks(3))
    site.put({**row, "key": {"S": f"go-{n}"}, "leaseDuration": {"S": "20s"}} for n, row in enumerate(locks(2)))
    answer = site.answer()
    assert [one["layout"] for one in answer["sources"]] == ["awslabs", "dynamolock"]
    (asked,) = answer["sources"][0]["asks"]
    assert asked.startswith("rows: it would also take 2 sampled rows of dynamolock and misread them")
    assert "table of its own" in asked
    assert answer["sources"][1]["asks"] == []
    assert f"# {asked}" in site.detect().stdout


def test_a_question_is_left_open_in_the_block(site: Site) -> None:
    """Where a lease may be seconds or milliseconds nothing is chosen: exit 1, and the block is refused as it is."""
    site.create("key", stream=STREAM)
    bare = {name: wire for name, wire in AWSLABS.items() if name != "data"}  # its type would tell
    site.put({"key": {"S": f"{SECRET}-{n}"}, **bare, "leaseDuration": {"S": "2000"}} for n in range(2))
    result = site.detect()
    assert result.exit_code == 1
    assert "# is leaseDuration, the lease, in" in result.stdout
    block = result.stdout[result.stdout.index("[[source]]") :]
    assert tomllib.loads(block)["source"][0]["layout"] == ""
    answer = site.answer()
    assert set(answer["sources"][0]["answers"]) >= {"awslabs", "deltalock"}
    assert (answer["settled"], "2000" in json.dumps(answer)) == (False, False)


def test_a_unit_that_the_length_of_leases_tells_is_to_be_looked_at(site: Site) -> None:
    """20 s in milliseconds, or five hours in seconds: the sane one is proposed, and the block says to look."""
    site.create("key", stream=STREAM)
    site.put([{"key": {"S": "a"}, **{name: wire for name, wire in AWSLABS.items() if name != "data"}}])
    result = site.detect()
    assert result.exit_code == 0
    assert "by the length of its leases alone, not deltalock" in result.stdout
    assert "# likely: look at `lockside layouts awslabs`" in result.stdout


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (None, "its stream is off"),
        ({"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}, "its stream shows NEW_IMAGE"),
    ],
)
def test_what_check_would_refuse_is_told_beforehand(site: Site, stream: Mapping[str, Any] | None, told: str) -> None:
    """A table without a stream, or with another view, is detected all the same, with what has to be mended."""
    site.create("key", stream=stream)
    site.put(locks(2))
    result = site.detect()
    assert (result.exit_code, told in result.stdout) == (0, True)
    assert any(told in finding["what"] and finding["fix"] for finding in site.answer()["findings"])


def test_nothing_to_tell_from_is_said_as_such(site: Site) -> None:
    """An empty table, and rows of nothing but keys, are no answer: exit 3. Foreign rows are one: exit 1."""
    site.create("key", stream=STREAM)
    empty = site.detect()
    assert (empty.exit_code, "it is empty" in empty.stderr) == (3, True)
    site.put([{"key": {"S": "x"}}])
    stubs = site.detect()
    assert (stubs.exit_code, "nothing but their keys" in stubs.stderr) == (3, True)
    site.put([{"key": {"S": "y"}, "total": {"N": "1"}}])
    foreign = site.detect()
    assert (foreign.exit_code, "No layout fits" in foreign.stdout) == (1, True)
    assert "key, total" in foreign.stdout


def test_an_idle_table_is_named_by_its_key(site: Site) -> None:
    """Terraform's digests are no locks; the key of the table tells that its locks may come, and the exit is still 1."""
    site.create("LockID", stream=STREAM)
    site.put([{"LockID": {"S": "bucket/state-md5"}, "Digest": {"S": "ab"}}])
    result = site.detect()
    assert (result.exit_code, "terraform: it has this table's key, LockID" in result.stdout) == (1, True)
    assert site.answer()["near_by_key"] == ["terraform"]


def test_a_missing_table_is_wrong_use(site: Site) -> None:
    """The table is named with the endpoint and the way out."""
    result = site.detect()
    assert result.exit_code == 2
    assert f'--table "{site.table}": there is no such table' in result.stderr


def test_a_sample_is_bounded_and_tells_its_progress(site: Site) -> None:
    """Pages are followed up to the limit, on stderr it says how far it is, and that there is more."""
    site.create("key", stream=STREAM)
    site.put(locks(7))
    rows, whole = scan(site.clients.dynamodb, site.table, 5)
    assert (len(rows), whole) == (5, False)
    assert scan(site.clients.dynamodb, site.table, 100)[1]
    result = site.detect("--limit", "5")
    assert "5 rows looked at (there are more" in result.stdout
    assert "5 rows read" in result.stderr


def test_renamed_attributes_are_part_of_the_block(site: Site) -> None:
    """What is called otherwise is found, and the source says so; the worker then reads such rows."""
    site.create("lockName", stream=STREAM)
    row = {"holder_name": {"S": "a"}, "recordVersionNumber": {"S": "v"}, "leaseDuration": {"S": "20000"}}
    site.put([{"lockName": {"S": f"{n}"}, **row} for n in range(3)])
    answer = site.answer()
    (one,) = answer["sources"]
    assert (one["layout"], one["attributes"]) == ("awslabs", {"ownerName": "holder_name"})
    assert one["confidence"] != "sure"
    with site.file.open("a", encoding="utf-8") as file:
        file.write(answer["toml"])
    (spec,) = sources.specs_of(load(site.file).source[0], 0, load(site.file).layouts)
    assert spec.rows.fits(row)
