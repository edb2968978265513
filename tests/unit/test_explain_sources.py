"""`lockside explain` with a settings file: layouts of one's own, sources with their filters, several kinds of rows."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockside.cli.main import main
from tests.fakes.sources import lock_keys, pydynlock, wire

OWN = """
[[layout]]
name = "acme"
kind = "lock"
keys = { names = ["job"] }
owner = { attr = "worker" }
version = { attr = "beat", types = ["N"] }
lease = { attr = "lease_seconds", unit = "s" }
release = { rule = "none", mode = "delete" }

[[source]]
id = "reds"
table = "locks"
layout = "pydynlock"
rows = { equals = { team = ["red"] } }
pseudonymise = ["owner"]

[[source]]
id = "rest"
table = "locks"
layout = "pydynlock"
attributes = { owner_name = "holder" }
"""
JOB = {"job": {"S": "nightly"}}
HELD = {"worker": {"S": "w1"}, "beat": {"N": "1"}, "lease_seconds": {"N": "30"}}
SESSION_KEY = {"id": {"S": "session:abc"}}
SESSION = {"val": {"B": "gahfdXNlcl9pZKRkYXZl"}, "expiration": {"N": "1795431400"}}
LOCK = {
    "owner": {"S": "alpha"},
    "guid": {"B": "AAEC"},
    "fencingToken": {"N": "1"},
    "leaseDurationMs": {"N": "4000"},
}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Write a settings file with a layout of its own and two sources on one table."""
    path = tmp_path / "lockside.toml"
    path.write_text(OWN, encoding="utf-8")
    return path


def run(records: list[dict[str, Any]], *options: str) -> Result:
    """Explain records."""
    text = "\n".join(json.dumps(record) for record in records)
    return CliRunner().invoke(main, ["explain", "--json", *options, "-"], input=text)


def events(result: Result) -> list[Any]:
    """Return what was made of each record."""
    return [json.loads(line)["event"] for line in result.stdout.splitlines()]


def test_a_layout_of_ones_own_is_tried_out(settings: Path) -> None:
    """Named or detected, it is known once the settings are; without them it is not."""
    later = {**HELD, "beat": {"N": "2"}}
    records = [wire(1, JOB, None, HELD), wire(2, JOB, HELD, later), wire(3, JOB, later, None)]
    told = ["lock.acquired", "lock.renewed", "lock.released"]
    assert events(run(records, "--config", str(settings), "--layout", "acme")) == told
    assert events(run(records, "--config", str(settings))) == told
    unknown = run(records, "--layout", "acme")
    assert (unknown.exit_code, "layout 'acme' is not known" in unknown.stderr) == (2, True)


def test_a_badly_written_layout_is_told_as_by_every_command(settings: Path) -> None:
    """The file's faults come all at once, with the place of the layout in it."""
    settings.write_text(OWN.replace('unit = "s"', 'unit = "minutes"').replace('"worker"', '""'), encoding="utf-8")
    result = run([wire(1, JOB, None, HELD)], "--config", str(settings))
    assert result.exit_code == 2
    for part in ("layout[0]: this layout is badly written", "lease.unit: 'minutes' is not allowed", "owner.attr: ''"):
        assert part in result.stderr


def test_sources_explain_as_the_worker_would(settings: Path) -> None:
    """Filter, renamed attributes and pseudonyms are the source's; a row that it does not claim is unclaimed."""
    red = {**pydynlock("alpha", "v1"), "team": {"S": "red"}}
    renamed = {**pydynlock("x", "v1"), "holder": {"S": "beta"}}
    del renamed["owner_name"]
    records = [wire(1, lock_keys("a"), None, red), wire(2, lock_keys("b"), None, renamed)]
    reds = run(records, "--config", str(settings), "--source", "reds")
    lines = [json.loads(line) for line in reds.stdout.splitlines()]
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("lock.acquired", "row_appeared_held"),
        (None, "unclaimed"),
    ]
    assert "alpha" not in reds.stdout
    both = run(records, "--config", str(settings), "--source", "reds", "--source", "rest")
    assert [json.loads(line)["actor"] for line in both.stdout.splitlines()][1] == "beta"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--source", "blues"), '--source "blues": there is none of this id; the settings have reds, rest'),
        (("--source", "reds", "--layout", "pydynlock"), "you gave both"),
    ],
)
def test_wrong_sources_are_told(settings: Path, options: tuple[str, ...], told: str) -> None:
    """A source that is not there is named with those that are."""
    result = run([wire(1, JOB, None, HELD)], "--config", str(settings), *options)
    assert (result.exit_code, told in result.stderr) == (2, True)


def test_a_table_with_locks_and_sessions_is_explained_as_a_whole() -> None:
    """Each record is told by the layout that its row is in, whichever stands for more of them."""
    key = {"id": {"S": "job"}}
    records = [wire(n, SESSION_KEY, None, SESSION) for n in range(1, 4)] + [wire(9, key, None, LOCK)]
    result = run(records)
    assert events(result) == ["session.started"] * 3 + ["lock.acquired"]
    assert "Layout: flask-session" in result.stderr
    assert "Layout: tristanls-open" in result.stderr


def test_a_question_is_refused_with_its_answers() -> None:
    """A lease that may be in either unit is not guessed at; each answer then explains it its way."""
    row = {"ownerName": {"S": "a"}, "recordVersionNumber": {"S": "v"}, "leaseDuration": {"S": "2000"}}
    records = [wire(1, {"key": {"S": "job"}}, None, row)]
    refused = run(records)
    assert (refused.exit_code, refused.stdout) == (2, "")
    for part in ("is leaseDuration, the lease, in", "--layout awslabs", "--layout deltalock"):
        assert part in refused.stderr
    assert "2000" not in refused.stderr
    for layout in ("awslabs", "deltalock"):
        assert events(run(records, "--layout", layout)) == ["lock.acquired"]
