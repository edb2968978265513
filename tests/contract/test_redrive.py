"""`lockside redrive`: what is kept is read again, recorded, and only then removed."""

import itertools
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from lockside.app.redrive import Outcome, Redrive
from lockside.aws.retrying import Retrier
from lockside.aws.tables import state_table
from lockside.cli.main import main
from lockside.core.change import ShardRef
from lockside.core.entity import PUBLIC_KEYS, KeySchema
from lockside.core.gap import Gap
from lockside.core.ports import Undecodable
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.emulators.tables import create_lock_table
from lockside.errors import StoppedError, UndecodableLimitError, UsageError
from lockside.state import keys_file
from lockside.state.undecodable import Limits, UndecodableTable
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.shard import ShardRig
from tests.fakes.sources import SHARD, lock_keys, pydynlock, source, wire
from tests.fakes.state_table import dynamodb
from tests.fakes.trail import MemoryTrail

OTHER = ShardRef(SHARD.stream_arn, "shardId-other")
ELSEWHERE = ShardRef(SHARD.stream_arn.replace("table/locks", "table/sold"), "shardId-1")
GOOD = wire(7, lock_keys("s3cret-job"), None, pydynlock("ann", "v1"))
BAD = {**deepcopy(GOOD), "eventName": "UPSERT"}


def kept(position: int, raw: dict[str, Any]) -> Undecodable:
    """Build a change as an older version kept it."""
    return Undecodable(position, "number", f"ID{position}", raw)


class Desk:
    """A store and a trail in memory, and redrive over them."""

    def __init__(self) -> None:
        """Start with nothing kept."""
        self.clock = FakeClock()
        self.table = FakeDynamoDB(state_table("state").create)
        self.trail = MemoryTrail()
        nonces = itertools.count(1)
        retrier = Retrier(FakeStop(self.clock), NoMeter())
        self.store = UndecodableTable(
            self.table.client, "state", PUBLIC_KEYS.seal, retrier, lambda: next(nonces).to_bytes(12, "big")
        )
        sources = {"locks": (source("pydynlock"),)}
        self.redrive = Redrive(self.store, self.trail, sources, PUBLIC_KEYS, "app", self.clock)

    def left(self) -> list[str]:
        """List the ids of what is kept."""
        return [each.record_id for shard in self.store.shards() for each in self.store.kept(shard)]

    def told(self) -> list[tuple[str, str]]:
        """List what the observer log of the application says: which record, and what event it is."""
        events = [json.loads(body) for body in self.trail.all_bodies()]
        assert all(event["type"] == "dev.lockside.stream.redriven.v1" for event in events)
        return [(event["data"]["record"], event["data"]["event"]) for event in events]


@pytest.fixture
def desk() -> Desk:
    """Return a desk."""
    return Desk()


def words(outcomes: Iterator[Outcome]) -> list[tuple[str, str | None, str | None]]:
    """Spell outcomes in short."""
    return [(each.kept.record_id, each.event, each.fault) for each in outcomes]


def test_what_can_be_read_is_recorded_and_removed_the_rest_stays(desk: Desk) -> None:
    """Over all shards; what stays says why, and a later redrive takes it up."""
    desk.store.keep(SHARD, [kept(7, GOOD), kept(8, BAD)])
    desk.store.keep(OTHER, [kept(9, GOOD)])
    desk.store.keep(ELSEWHERE, [kept(10, GOOD)])
    outcomes = words(desk.redrive.run())
    assert sorted(outcomes) == [
        ("ID10", None, "not_watched"),
        ("ID7", "lock.acquired", None),
        ("ID8", None, "operation"),
        ("ID9", "lock.acquired", None),
    ]
    assert sorted(desk.left()) == ["ID10", "ID8"]
    assert sorted(desk.told()) == [("ID7", "lock.acquired"), ("ID9", "lock.acquired")]
    assert sorted(each[0] for each in words(desk.redrive.run())) == ["ID10", "ID8"]


def test_a_dry_run_changes_nothing(desk: Desk) -> None:
    """It says the same as the run that follows it."""
    desk.store.keep(SHARD, [kept(7, GOOD), kept(8, BAD)])
    before = desk.table.items("state")
    said = words(desk.redrive.run(dry_run=True))
    assert desk.table.items("state") == before
    assert not list(desk.trail.all_bodies())
    assert words(desk.redrive.run()) == said


def test_one_is_chosen_by_its_record(desk: Desk) -> None:
    """An id that is not kept is an error with a way out, not an empty success."""
    desk.store.keep(SHARD, [kept(7, GOOD), kept(8, GOOD)])
    assert words(desk.redrive.run("ID8")) == [("ID8", "lock.acquired", None)]
    assert desk.left() == ["ID7"]
    with pytest.raises(UsageError, match=r"ID8.*lockside redrive"):
        list(desk.redrive.run("ID8"))


def test_nothing_is_removed_before_its_record_is_acknowledged(desk: Desk) -> None:
    """A table that refuses until the command gives up leaves the change where it was."""
    desk.store.keep(SHARD, [kept(7, GOOD)])
    desk.trail.fail.append(StoppedError("observe"))
    with pytest.raises(StoppedError):
        list(desk.redrive.run())
    assert desk.left() == ["ID7"]


def test_what_is_kept_at_the_limit_can_be_redriven_to_make_room(desk: Desk) -> None:
    """The log's head covers it when the shard halts, in the first batch too: what the message advises is of use."""
    rig = ShardRig(source("pydynlock"), trail=desk.trail)
    nonces = itertools.count(1)
    retrier = Retrier(FakeStop(desk.clock), NoMeter())
    store = UndecodableTable(
        desk.table.client, "state", PUBLIC_KEYS.seal, retrier, lambda: next(nonces).to_bytes(12, "little"), Limits(3)
    )
    rig.undecodables = cast("Any", store)
    rows = [wire(n, lock_keys(f"job-{n}"), None, pydynlock("ann", "v1")) for n in range(1, 6)]
    spoilt = [{**deepcopy(row), "eventName": "UPSERT"} for row in rows]
    for _ in range(2):
        rig.restart()
        with pytest.raises(UndecodableLimitError) as caught:
            rig.consume(spoilt)
        assert caught.value.position == 4
        rig.processor.lease_lost()
    assert [fault for _, _, fault in words(desk.redrive.run())] == ["operation"] * 3, "none of them is pending"
    for each in store.kept(SHARD):
        # As an upgrade would: what they say can be read now.
        store.keep(SHARD, [replace(store.open(each), raw=rows[each.position - 1], epoch=each.epoch)])
    assert [event for _, event, _ in words(desk.redrive.run())] == ["lock.acquired"] * 3
    rig.restart()
    rig.consume(spoilt)
    assert [each.position for each in store.kept(SHARD)] == [4, 5]
    undecodable = [kind for kind, _ in rig.events() if kind == "stream.undecodable"]
    assert len(undecodable) == 5


class Crash(Exception):  # noqa: N818 - no error, an end
    """The process dies."""


def test_a_crash_anywhere_records_once_and_removes_in_the_end() -> None:
    """After the record and before, in the middle of or after the removal."""
    for survived in range(3):
        desk = Desk()
        desk.store.keep(SHARD, [kept(7, GOOD)])
        left = itertools.count(survived, -1)

        def dies(_table: str, _before: Any, _after: Any, left: Iterator[int] = left) -> None:
            if next(left) == 0:
                raise Crash

        desk.table.on_commit = dies
        with pytest.raises(Crash):
            list(desk.redrive.run())
        desk.table.on_commit = None
        desk.clock.advance(60)
        list(desk.redrive.run())
        assert desk.told() == [("ID7", "lock.acquired")]
        assert desk.left() == []


def test_from_a_wrong_setting_to_the_right_one(desk: Desk) -> None:
    """A source whose keys are misread makes a trail of undecodable changes; corrected, each is redriven."""
    right = desk.redrive.sources["locks"][0]
    wrong = replace(right, key_schema=KeySchema(("id",)))
    shard = ShardRig(wrong, trail=desk.trail, undecodables=cast("Any", desk.store))
    rows = (None, pydynlock("ann", "v1"), pydynlock("bob", "v2"), None)
    keys = lock_keys("s3cret-job")
    shard.consume([wire(n, keys, old, new) for n, (old, new) in enumerate(pairwise(rows), 1)])
    trail = [json.loads(body) for body in desk.trail.all_bodies()]
    assert [each["data"]["reason"] for each in trail] == ["key_missing"] * 3
    assert [outcome.event for outcome in desk.redrive.run()] == ["lock.acquired", "lock.taken_over", "lock.released"]
    told = [json.loads(body) for body in desk.trail.all_bodies()][3:]
    assert [each["data"]["record"] for each in told] == [each["id"] for each in trail]
    assert [each["data"]["sequence_number"] for each in told] == ["1", "2", "3"]
    assert desk.left() == []


def test_what_a_later_worker_could_read_is_told_once(desk: Desk) -> None:
    """Kept and recorded, killed before the head, read again after an upgrade: the change record says it all."""
    right = desk.redrive.sources["locks"][0]
    shard = ShardRig(
        replace(right, key_schema=KeySchema(("id",))), trail=desk.trail, undecodables=cast("Any", desk.store)
    )
    raw = wire(1, lock_keys("s3cret-job"), None, pydynlock("ann", "v1"))
    shard.processor.process_records([raw], caught_up=True)
    assert [outcome.fault for outcome in desk.redrive.run()] == ["pending"]
    shard.source = replace(right, recipe=replace(right.recipe, refresh_bucket_ms=1_234))
    shard.restart()
    shard.consume([raw])
    assert [(each.event, each.reason) for each in desk.redrive.run(dry_run=True)] == [(None, "read_since")]
    assert len(desk.left()) == 1
    assert [(each.event, each.reason) for each in desk.redrive.run()] == [(None, "read_since")]
    assert (desk.left(), shard.events()) == ([], [("lock.acquired", "ann")])


def test_what_no_later_worker_could_read_is_redriven(desk: Desk) -> None:
    """Its newest record stands in the log; that a worker of the sealed one keeps it once more changes nothing."""
    right = desk.redrive.sources["locks"][0]
    wrong = replace(right, key_schema=KeySchema(("id",)))
    shard = ShardRig(wrong, trail=desk.trail, undecodables=cast("Any", desk.store))
    raw = wire(1, lock_keys("s3cret-job"), None, pydynlock("ann", "v1"))
    shard.processor.process_records([raw], caught_up=True)
    shard.source = replace(wrong, recipe=replace(right.recipe, refresh_bucket_ms=1_234))
    shard.restart()
    shard.consume([raw])
    desk.store.keep(SHARD, [replace(kept(1, raw), record_id=desk.left()[0], epoch=1)])
    assert [outcome.event for outcome in desk.redrive.run()] == ["lock.acquired"]
    assert desk.left() == []


def test_what_the_stream_lost_before_it_was_read_again_is_redriven(desk: Desk) -> None:
    """What was kept is all that is left of it, however far a later log goes."""
    right = desk.redrive.sources["locks"][0]
    wrong = replace(right, key_schema=KeySchema(("id",)))
    shard = ShardRig(wrong, trail=desk.trail, undecodables=cast("Any", desk.store))
    keys = lock_keys("s3cret-job")
    shard.processor.process_records([wire(1, keys, None, pydynlock("ann", "v1"))], caught_up=True)
    shard.source = right
    shard.restart()
    shard.processor.gap(Gap("trimmed", None, None, 5, None))
    shard.consume([wire(5, keys, pydynlock("ann", "v1"), pydynlock("bob", "v2"))])
    assert [(each.event, each.fault) for each in desk.redrive.run()] == [("lock.acquired", None)]
    assert desk.left() == []


def test_the_wrong_keys_file_loses_nothing(desk: Desk) -> None:
    """What was sealed under another key stays, and says so."""
    desk.store.keep(SHARD, [kept(7, GOOD)])
    other = replace(desk.store, key=replace(desk.store.key, id="another"))
    assert words(replace(desk.redrive, store=other).run()) == [("ID7", None, "seal_key")]
    assert desk.left() == ["ID7"]


SETTINGS = """
[aws]
endpoint_url = "{endpoint}"
region = "us-east-1"
[audit]
table = "redrive-audit-{name}"
[state]
table = "redrive-state-{name}"
[keys]
file = "{keys}"
[[source]]
id = "locks"
table = "redrive-locks-{name}"
layout = "pydynlock"
"""


class Site:
    """An installation on an emulator, made by `init`, with changes kept in its state table."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        """Write the settings, and run `init`."""
        self.config, keys = folder / "lockside.toml", folder / "keys.json"
        name = folder.name
        self.config.write_text(SETTINGS.format(endpoint=emulator.endpoint_url, name=name, keys=keys))
        client = dynamodb(emulator)
        arn = create_lock_table(client, f"redrive-locks-{name}")
        assert self.run("init").exit_code == 0
        retrier, nonces = Retrier(FakeStop(FakeClock()), NoMeter()), itertools.count(1)
        self.store = UndecodableTable(
            client,
            f"redrive-state-{name}",
            keys_file.load(keys).seal,
            retrier,
            lambda: next(nonces).to_bytes(12, "big"),
        )
        self.shard = ShardRef(str(arn), "shardId-1")

    def run(self, *arguments: str) -> Result:
        """Run a command with the site's settings."""
        command, *rest = arguments
        return CliRunner().invoke(main, [command, "--config", str(self.config), *rest])


@pytest.fixture
def site(backend: Emulator, tmp_path: Path) -> Site:
    """Return a site on each backend."""
    return Site(backend, tmp_path)


def test_the_command(site: Site) -> None:
    """A dry run by default, exit 1 while something stays, 0 when nothing is left; the trail has the event."""
    site.store.keep(site.shard, [kept(7, GOOD), kept(8, BAD)])
    listed = site.run("redrive")
    assert listed.exit_code == 1
    assert "ID7  redrivable  number -> lock.acquired" in listed.stdout
    assert "1 could be redriven, 1 would be left. Nothing was changed" in listed.stderr
    done = site.run("redrive", "--all", "--json")
    assert done.exit_code == 1
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["record"], each["outcome"], each["event"], each["reason"]) for each in told] == [
        ("ID7", "redriven", "lock.acquired", told[0]["reason"]),
        ("ID8", "left", None, "operation"),
    ]
    found = site.run("query", "--lock", "s3cret-job", "--json")
    assert [json.loads(line)["data"]["record"] for line in found.stdout.splitlines()] == ["ID7"]
    [left] = site.store.kept(site.shard)
    site.store.remove(left)
    assert site.run("redrive", "--all").exit_code == 0


def test_the_command_used_wrongly(site: Site) -> None:
    """Exit 2 and one clear message."""
    both = site.run("redrive", "--all", "--id", "X")
    unknown = site.run("redrive", "--id", "X")
    assert (both.exit_code, unknown.exit_code) == (2, 2)
    assert "--id and --all" in both.stderr
    assert '--id "X"' in unknown.stderr
