"""Locks that never expire by themselves: told as stale, once, after a read, and nothing else is made of it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from lockside.app.sources import specs_of
from lockside.errors import ConfigError
from lockside.layouts.registry import builtin
from lockside.settings import SourceSettings
from tests.fakes.shard import ShardRig
from tests.fakes.sources import source

STATE = {"LockID": {"S": "bucket/prod.tfstate"}}
HOUR = 3_600


def rig(layout: str = "terraform", stale_seconds: int | None = HOUR) -> ShardRig:
    """Make a shard of a table whose source wants to hear of locks that are an hour old."""
    stale_ms = None if stale_seconds is None else stale_seconds * 1_000
    return ShardRig(replace(source(layout), stale_ms=stale_ms))


def lock(identity: str = "1", who: str = "ann@laptop") -> dict[str, Any]:
    """Build a lock as Terraform writes it."""
    return {"Info": {"S": json.dumps({"ID": identity, "Who": who, "Info": "hush"})}}


def told(shard: ShardRig, kind: str) -> list[Any]:
    """Return the data of every event of a kind that was heard."""
    return [event["data"] for event in shard.heard if event["type"] == f"dev.lockside.lock.{kind}.v1"]


def test_an_old_lock_is_told_once() -> None:
    """At its age, after one read; and never as expired."""
    shard = rig()
    shard.table.put(STATE, lock())
    shard.consume()
    shard.pass_time(HOUR)
    assert not told(shard, "stale")
    shard.pass_time(1)
    shard.pass_time(10 * HOUR)
    (data,) = told(shard, "stale")
    assert shard.table.reads == 1
    assert (data["actor"], data["certainty"], data["stale_after_ms"]) == ("ann@laptop", "certain", "3600000")
    assert data["held_since"] == "2026-11-23T08:10:00.000Z"
    assert "hush" not in json.dumps(shard.heard)
    assert shard.events() == [("lock.acquired", "ann@laptop"), ("lock.stale", "ann@laptop")]


def test_a_lock_that_is_let_go_in_time_is_not_stale() -> None:
    """Nor is one whose release the stream has not told yet: the read shows it."""
    shard = rig()
    shard.table.put(STATE, lock())
    shard.consume()
    shard.table.delete(STATE)
    shard.pass_time(2 * HOUR)
    assert shard.table.reads == 1
    shard.consume()
    shard.pass_time(2 * HOUR)
    assert not told(shard, "stale")
    assert shard.table.reads == 1


def test_another_lock_of_the_same_name_has_its_own_age() -> None:
    """The second is as old as itself, and told for itself."""
    shard = rig()
    shard.table.put(STATE, lock("1"))
    shard.consume()
    shard.pass_time(HOUR + 1)
    shard.table.delete(STATE)
    shard.table.put(STATE, lock("2", "bob@desk"))
    shard.consume()
    shard.pass_time(HOUR)
    assert len(told(shard, "stale")) == 1
    shard.pass_time(1)
    assert [data["actor"] for data in told(shard, "stale")] == ["ann@laptop", "bob@desk"]


def test_a_restart_tells_it_no_second_time() -> None:
    """Its identity is the lock's own version: what is read again finds it there."""
    shard = rig()
    shard.table.put(STATE, lock())
    shard.processor.process_records(shard.unread(), caught_up=True)
    shard.pass_time(HOUR + 1)
    shard.restart()
    shard.consume()
    shard.pass_time(HOUR)
    assert len(told(shard, "stale")) == 1
    assert shard.events().count(("lock.stale", "ann@laptop")) == 1


def test_a_lock_read_long_after_it_was_taken_is_as_old_as_it_is() -> None:
    """On catch-up the age counts from the lock's own time, not from ours; and only once all is read."""
    shard = rig()
    shard.table.put(STATE, lock())
    shard.clock.advance(5 * HOUR)
    shard.processor.process_records(shard.unread(), caught_up=True)
    shard.pass_time(0)
    assert len(told(shard, "stale")) == 1


def test_what_follows_a_stale_lock_is_no_revival() -> None:
    """It never lapsed, so an edit by hand, a release, or a TTL that somebody set up, is only that."""
    shard = rig()
    shard.table.put(STATE, lock())
    shard.consume()
    shard.pass_time(HOUR + 1)
    shard.table.put(STATE, {**lock(), "note": {"S": "x"}})
    shard.table.put(STATE, lock("1", "ann@desk"))
    shard.table.delete(STATE, ttl=True)
    shard.consume()
    assert [event for event, _ in shard.events() if event in {"lock.revived", "lock.expired"}] == []


def test_without_the_setting_nothing_is_watched() -> None:
    """Only its user knows how long is too long."""
    shard = rig(stale_seconds=None)
    shard.table.put(STATE, lock())
    shard.consume()
    assert shard.processor.next_deadline() is None


def test_locks_with_a_lease_do_not_grow_stale() -> None:
    """In a table that holds both kinds, those with a lease lapse."""
    shard = rig("tristanls")
    open_row = {
        "owner": {"S": "a"},
        "guid": {"B": "AAE="},
        "leaseDurationMs": {"N": "4000"},
        "fencingToken": {"N": "1"},
    }
    shard.table.put({"id": {"S": "closed"}}, {"owner": {"S": "b"}, "guid": {"B": "AAI="}})
    shard.table.put({"id": {"S": "open"}}, open_row)
    shard.consume()
    shard.pass_time(5)
    shard.pass_time(HOUR)
    assert [event for event, _ in shard.events()][2:] == ["lock.expired", "lock.stale"]


def test_a_read_that_fails_is_made_again() -> None:
    """A table that refuses puts it off, and loses nothing."""
    shard = rig()
    shard.table.put(STATE, lock())
    shard.consume()
    shard.table.refuse = True
    shard.pass_time(HOUR + 1)
    assert not told(shard, "stale")
    shard.table.refuse = False
    shard.pass_time(6)
    assert len(told(shard, "stale")) == 1


def test_the_policy_is_refused_where_locks_end_by_themselves() -> None:
    """It would never tell anything there."""
    with pytest.raises(ConfigError, match=r"source\[3\]\.stale_after_seconds = 60: only locks without any lease"):
        specs_of(SourceSettings(id="a", table="locks", layout="awslabs", stale_after_seconds=60), 3, builtin())
    (spec,) = specs_of(SourceSettings(id="a", table="locks", layout="terraform", stale_after_seconds=60), 3, builtin())
    assert spec.name == "terraform"
