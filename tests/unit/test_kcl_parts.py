"""The parts of the KCL engine that need no Java: worker ids, names, log lines, request rates, lines of records."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from lockside.app.calls import rates
from lockside.core import decode
from lockside.core.change import ShardRef
from lockside.core.entity import KeySchema
from lockside.core.lazy_image import opened
from lockside.emulators import jars
from lockside.engines.kcl import bridge
from lockside.engines.kcl.handover import read_lines
from lockside.engines.kcl.knobs import PROFILES
from lockside.engines.kcl.leases import NAME_MAX, lease_table, sequence
from lockside.engines.kcl.worker_id import held_id
from lockside.errors import SetupError
from tests.fakes.captures import CAPTURES, NAMES, read
from tests.fakes.kcl import lines
from tests.fakes.registry import jar

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/locks/stream/2026-11-28T00:00:00.000"
HOLD = """
import sys
from pathlib import Path
from lockside.engines.kcl.worker_id import held_id
with held_id("app", folder=Path(sys.argv[1])) as name:
    print(name, flush=True)
    sys.stdin.read()
"""


def test_workers_of_one_host_have_ordinals_and_a_dead_ones_is_free_again(tmp_path: Path) -> None:
    """The lowest free ordinal; the kernel gives it back even after SIGKILL, so a restart has the same id."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        first = other.stdout.readline().strip()
        with held_id("app", folder=tmp_path) as second, held_id("other", folder=tmp_path) as apart:
            assert (first.endswith("/0"), second.endswith("/1"), apart.endswith("/0")) == (True, True, True)
        other.kill()
    with held_id("app", folder=tmp_path) as again:
        assert again == first


def test_a_given_id_holds_no_lock(tmp_path: Path) -> None:
    """Whoever names its workers itself keeps them apart itself."""
    with held_id("app", "pod-3", tmp_path) as name:
        assert (name, list(tmp_path.iterdir())) == ("pod-3", [])


def test_a_folder_that_cannot_be_written_names_the_way_out(tmp_path: Path) -> None:
    """TMPDIR, or an id of its own."""
    with pytest.raises(SetupError, match=r"TMPDIR.*engine\.kcl\.worker_id"), held_id("app", folder=tmp_path / "no"):
        pass


def test_each_stream_has_lease_tables_of_its_own_and_names_fit() -> None:
    """The table's next stream begins with no lease; the longest names are cut, and stay apart."""
    later = ARN.replace("11-28", "11-29")
    assert lease_table("app", ARN).startswith("app-kcl-locks-")
    assert lease_table("app", ARN) != lease_table("app", later)
    long = [lease_table("a" * 64, ARN.replace("/locks/", f"/{'t' * 254}{end}/")) for end in "12"]
    assert len(set(long)) == 2
    assert max(map(len, long)) <= NAME_MAX


@pytest.mark.parametrize(
    ("spelled", "read_as"),
    [("0000123", 123), ("TRIM_HORIZON", None), ("LATEST", None), ("SHARD_END", None), ("", None)],
)
def test_a_checkpoint_of_kcls_is_a_number_or_none(spelled: str, read_as: int | None) -> None:
    """Only a number is a position."""
    assert sequence(spelled) == read_as


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("software.amazon.kinesis.lifecycle.ProcessTask", False),
        ("software.amazon.kinesis.retrieval.polling.PrefetchRecordsPublisher", False),
        ("software.amazon.awssdk.request", False),
        ("org.apache.http.wire", False),
        ("", False),
        ("software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseRenewer", True),
        ("software.amazon.kinesis.coordinator.Scheduler", True),
    ],
)
def test_only_what_never_sees_a_record_may_speak(caplog: pytest.LogCaptureFixture, name: str, shown: bool) -> None:  # noqa: FBT001
    """Of any other the class is named, and that of the exception; the words are left out."""
    with caplog.at_level(logging.DEBUG):
        bridge.tell(name, bridge.SEVERE, 'data {"S": "tok_secret"}', "java.lang.RuntimeException")
    (record,) = caplog.records
    assert ("tok_secret" in record.getMessage()) == shown
    assert "java.lang.RuntimeException" in record.getMessage()
    assert record.name == f"kcl.{name.rpartition('.')[2]}"


def test_calls_grow_with_the_shards_and_the_conservative_profile_asks_less() -> None:
    """Renewals are most of it: three for each lease in one failover time."""
    quick, slow = (rates(PROFILES[name], open_shards=100, listed_shards=250) for name in ("default", "conservative"))
    assert quick.lease_writes == pytest.approx(100 + 1 + 1)
    assert quick.describe_stream == pytest.approx(3 / 120)
    assert quick.get_records == pytest.approx(100)
    assert slow.lease_writes < quick.lease_writes / 3
    assert slow.lease_reads < quick.lease_reads / 3
    more = rates(PROFILES["default"], open_shards=100, listed_shards=250, workers=4)
    assert more.lease_reads - quick.lease_reads == pytest.approx(9)


@pytest.mark.parametrize("name", NAMES)
def test_kcls_spelling_of_a_record_is_read_as_getrecords_is(name: str) -> None:
    """Milliseconds and lower-case identities: the same change, to the recipe's precision."""
    records = [record for record in read(CAPTURES / f"{name}.jsonl") if record["dynamodb"].get("Keys")]
    schema = KeySchema(tuple(records[0]["dynamodb"]["Keys"]))
    shard = ShardRef(ARN, "shardId-1")
    theirs = read_lines(lines(records))
    assert len(theirs) == len(records)
    for ours, kcl in zip(records, theirs, strict=True):
        before, after = (decode.decode_record(raw, shard, schema, 1_000) for raw in (ours, kcl))
        assert (before.created_ms, before.by_ttl, before.key) == (after.created_ms, after.by_ttl, after.key)
        assert (opened(before.new), opened(before.old)) == (opened(after.new), opened(after.old))


def test_a_line_that_is_not_as_known_is_read_as_it_stands() -> None:
    """An unknown member changes nothing for its neighbours; what is no JSON has no place, and is a faulty page."""
    known = b'{"eventName":"INSERT","dynamodb":{"ApproximateCreationDateTime":1,"SequenceNumber":"1"}}'
    odd = b'{"eventName":"UPSERT","novel":1,"dynamodb":{"SequenceNumber":"2"}}'
    assert [decode.sequence_number(raw) for raw in read_lines(known + b"\n" + odd)] == [1, 2]
    assert read_lines(known + b"\n{")[1] is None
    assert read_lines(b"") == []


@pytest.mark.parametrize("nested", [True, False])
def test_jars_come_from_a_folder_where_there_is_no_registry(tmp_path: Path, nested: bool) -> None:  # noqa: FBT001
    """A Maven cache's copy, or all side by side; what is not there is named with the folder."""
    wanted, source, cache = jar("one", b"archive"), tmp_path / "source", tmp_path / "cache"
    file = source / (wanted.place if nested else wanted.place.name)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"archive")
    assert jars.missing([wanted], cache) == (wanted,)
    jars.provide([wanted], cache=cache, fetch=jars.from_folder(source), source=str(source))
    assert jars.missing([wanted], cache) == ()
    with pytest.raises(SetupError, match=f"cannot be fetched from {source}"):
        jars.provide([jar("two", b"")], cache=cache, fetch=jars.from_folder(source), source=str(source))


def test_the_lock_names_the_versions_that_were_proven() -> None:
    """KCL 3.3.0 with the adapter 2.0.1; each jar once."""
    listed = jars.bundled("kcl.lock")
    versions = {each.artifact: each.version for each in listed if each.group != "software.amazon.awssdk"}
    assert versions["amazon-kinesis-client"] == "3.3.0"
    assert versions["dynamodb-streams-kinesis-adapter"] == "2.0.1"
    assert len({each.coordinate for each in listed}) == len(listed) == 75
