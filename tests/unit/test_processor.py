"""The shard processor: order of effects, replay, lapses, the live index."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lockside.core.ports import ObserverRecord
from lockside.engines.processor import TEST_AGAIN_MS
from lockside.errors import FaultyPageError, StoppedError
from lockside.ops.clock import EndpointClock
from tests.fakes.shard import ShardRig
from tests.fakes.sources import lock_keys, pydynlock, source
from tests.fakes.trail import MemoryTrail

JOB = lock_keys("job")
OTHER = lock_keys("other")


def rig() -> ShardRig:
    """Make a shard of a lock table."""
    return ShardRig(source("pydynlock"))


def session_rig() -> ShardRig:
    """Make a shard of a session table."""
    return ShardRig(source("flask-session"))


SESSION = {"id": {"S": "session:abc"}}


def session_row(shard: ShardRig, seconds: float) -> dict[str, dict[str, object]]:
    """Build a session row of dave that ends in so many seconds."""
    deadline = shard.clock.now().wall_ms / 1000 + seconds
    return {"val": {"B": b"\x81\xa8_user_id\xa4dave"}, "expiration": {"N": f"{deadline:.3f}"}}


def test_renewals_are_not_recorded() -> None:
    """Acquired, many heartbeats, released: two records."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v0"))
    for n in range(50):
        shard.table.put(JOB, pydynlock("alpha", f"v{n}"))
    shard.table.delete(JOB)
    shard.consume()
    assert shard.events() == [("lock.acquired", "alpha"), ("lock.released", "alpha")]


def test_a_lapse_is_declared_once_at_the_legal_instant() -> None:
    """Receipt plus lease, after one read; and never again for the same version."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.pass_time(3.9)
    assert ("lock.expired", "alpha") not in shard.events()
    shard.pass_time(0.2)
    shard.pass_time(60)
    assert shard.events().count(("lock.expired", "alpha")) == 1
    assert shard.table.reads == 1
    expired = shard.heard[-1]["data"]
    assert (expired["via"], expired["lease_ms"], expired["known_late_ms"]) == ("read", "4000", "100")


def test_a_renewal_the_stream_has_not_told_yet_is_no_lapse() -> None:
    """The read shows another version: not lapsed, and tested again later."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.clock.advance(3)
    shard.table.put(JOB, pydynlock("alpha", "v2"))
    shard.pass_time(2)
    assert shard.table.reads == 1
    assert ("lock.expired", "alpha") not in shard.events()
    shard.consume()
    shard.pass_time(4)
    assert ("lock.expired", "alpha") in shard.events()


def test_a_row_that_is_gone_is_no_lapse() -> None:
    """The stream will tell of its release."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.table.delete(JOB)
    shard.pass_time(5)
    shard.consume()
    assert shard.events() == [("lock.acquired", "alpha"), ("lock.released", "alpha")]


def test_a_moved_row_is_read_again_only_after_a_pause() -> None:
    """While its change is on the way, a lock costs one read per lease at the most."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.table.put(JOB, pydynlock("alpha", "v2"))
    shard.pass_time(5)
    shard.pass_time(1)
    assert shard.table.reads == 1
    shard.pass_time(TEST_AGAIN_MS / 1000)
    assert shard.table.reads == 2


def test_a_takeover_proves_the_lapse_before_it() -> None:
    """In a relative layout nobody takes a held lock over before its lease ran out: no read is needed."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.clock.advance(9)
    shard.table.put(JOB, pydynlock("beta", "v2"))
    shard.consume()
    assert set(shard.events()) == {("lock.acquired", "alpha"), ("lock.taken_over", "beta"), ("lock.expired", "alpha")}
    assert shard.table.reads == 0


def test_a_lapse_known_by_read_is_not_declared_again_by_its_takeover() -> None:
    """`via` is no part of its identity."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.pass_time(5)
    shard.table.put(JOB, pydynlock("beta", "v2"))
    shard.consume()
    assert shard.events().count(("lock.expired", "alpha")) == 1


def test_a_late_renewal_is_a_revival() -> None:
    """The same owner writes after its lapse was declared."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.pass_time(5)
    shard.table.put(JOB, pydynlock("alpha", "v2"))
    shard.consume()
    assert ("lock.revived", "alpha") in shard.events()
    shard.pass_time(5)
    assert shard.events().count(("lock.expired", "alpha")) == 2


def test_a_session_lapses_after_its_margin() -> None:
    """Two seconds for clocks that differ, then one read, then the declaration."""
    shard = session_rig()
    shard.table.put(SESSION, session_row(shard, 10))
    shard.consume()
    shard.pass_time(11.9)
    assert shard.table.reads == 0
    shard.pass_time(0.2)
    assert shard.events()[-1] == ("session.expired", "dave")


def test_ttl_removal_of_a_session_proves_its_lapse_once() -> None:
    """Its TTL attribute is its deadline, so DynamoDB's own clock is past it; a declared one is not declared again."""
    shard = session_rig()
    shard.table.put(SESSION, session_row(shard, 10))
    shard.consume()
    shard.clock.advance(11)
    shard.table.delete(SESSION, ttl=True)
    shard.consume()
    assert shard.events().count(("session.expired", "dave")) == 1
    assert ("session.purged", "dave") in shard.events()


def test_ttl_removal_after_a_declared_lapse_adds_no_second_one() -> None:
    """Also in a new process, which does not remember the first."""
    shard = session_rig()
    shard.table.put(SESSION, session_row(shard, 10))
    shard.consume()
    shard.pass_time(13)
    shard.restart()
    shard.table.delete(SESSION, ttl=True)
    shard.consume()
    assert shard.events().count(("session.expired", "dave")) == 1


def test_ttl_cleanup_of_a_lock_is_no_second_lapse_and_no_release() -> None:
    """An hour after its lapse the row of a dead holder goes: purged, and nothing else."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.pass_time(5)
    shard.clock.advance(3_600)
    shard.table.delete(JOB, ttl=True)
    shard.consume()
    assert [name for name, _ in shard.events()].count("lock.expired") == 1
    assert ("lock.purged", "alpha") in shard.events()
    assert ("lock.released", "alpha") not in shard.events()


def test_born_expired_arms_nothing() -> None:
    """A writer whose clock is hours off: no timer; the TTL removal tells of the end."""
    shard = session_rig()
    shard.table.put(SESSION, session_row(shard, -32_400))
    shard.consume()
    assert shard.processor.deadlines_armed() == 0
    assert shard.live.entries
    assert all(not entry.hold.armed for entry in shard.live.entries.values())


def test_a_write_on_a_lapsed_session_does_not_disarm_its_lapse() -> None:
    """Other content and the same deadline, between the deadline and the read that proves the lapse."""
    shard = session_rig()
    until = session_row(shard, 60)
    shard.table.put(SESSION, until)
    shard.consume()
    shard.clock.advance(61)
    shard.table.put(SESSION, {**until, "val": {"B": b"\x82\xa8_user_id\xa4dave\xa4cart\x01"}})
    shard.consume()
    assert shard.processor.deadlines_armed() == 1
    shard.pass_time(2)
    assert [name for name, _ in shard.events()].count("session.expired") == 1


def test_live_index_is_written_at_begin_and_end_only() -> None:
    """Never by a heartbeat."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    for n in range(2, 30):
        shard.table.put(JOB, pydynlock("alpha", f"v{n}"))
        shard.consume()
    assert shard.live.writes == 1
    shard.table.delete(JOB)
    shard.consume()
    assert (shard.live.writes, shard.live.entries) == (2, {})


def test_begun_and_ended_in_one_batch_is_not_written() -> None:
    """A short lock costs the live index nothing."""
    shard = rig()
    shard.clock.advance(3)
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.table.delete(JOB)
    shard.consume()
    assert shard.live.writes == 0


def test_what_a_predecessor_may_have_begun_is_removed() -> None:
    """It wrote the beginning and died; in our batch the same lock begins and ends."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.processor.process_records(shard.unread(), caught_up=True)
    shard.clock.advance(1)
    shard.table.delete(JOB)
    shard.restart()
    shard.consume()
    assert shard.live.entries == {}


def test_first_seen_in_mid_life_is_written() -> None:
    """A hold that began before our start has its entry from its first heartbeat on."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.table.put(JOB, pydynlock("alpha", "v2"))
    shard.consume(shard.table.records[1:])
    assert len(shard.live.entries) == 1


def test_replay_writes_nothing_twice() -> None:
    """A crash before the checkpoint: the same changes again, the same log, and lapses stay armed."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.table.put(OTHER, pydynlock("beta", "v1"))
    shard.processor.process_records(shard.unread(), caught_up=True)
    shard.processor.flush()
    before = list(shard.trail.all_bodies())
    shard.restart()
    shard.consume()
    assert list(shard.trail.all_bodies()) == before
    assert shard.processor.deadlines_armed() == 2


def test_redelivered_records_are_passed_over() -> None:
    """An engine may deliver a page twice; what was consumed is not consumed again."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.processor.process_records(shard.unread(), caught_up=True)
    shard.processor.process_records(shard.unread(), caught_up=True)
    assert shard.events() == [("lock.acquired", "alpha")]


def test_nothing_is_consumed_before_its_record_is_acknowledged() -> None:
    """A write that fails leaves the position where it was."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.trail.fail.append(StoppedError("write"))
    with pytest.raises(StoppedError):
        shard.processor.process_records(shard.unread(), caught_up=True)
    assert shard.processor.flush() is None
    assert shard.processor.view().unwritten_ms is not None


def test_the_live_index_comes_after_the_records() -> None:
    """A live index that fails holds the position back, though the record is written; the replay mends it."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.live.fail.append(StoppedError("live"))
    with pytest.raises(StoppedError):
        shard.processor.process_records(shard.unread(), caught_up=True)
    shard.restart()
    shard.consume()
    assert shard.events() == [("lock.acquired", "alpha")]
    assert len(shard.live.entries) == 1


def test_a_faulty_page_is_refused_whole() -> None:
    """A record without a place: nothing on its page is taken in, so that it can be read again."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    broken = {"eventName": "INSERT", "dynamodb": {}}
    with pytest.raises(FaultyPageError):
        shard.processor.process_records([*shard.unread(), broken], caught_up=True)
    assert shard.processor.deadlines_armed() == 0
    assert shard.events() == []


def test_an_undecodable_record_keeps_its_place() -> None:
    """It becomes stream.undecodable, and the next record is processed."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.table.put(OTHER, pydynlock("beta", "v1"))
    shard.table.records[0]["eventName"] = "UPSERT"
    shard.consume()
    assert shard.events() == [("stream.undecodable", None), ("lock.acquired", "beta")]


def test_an_ended_shard_keeps_its_deadlines_until_they_are_settled() -> None:
    """A holder that died right at a roll is known by its parent shard's timer."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.processor.shard_ended()
    assert not shard.processor.done
    shard.pass_time(5)
    assert ("lock.expired", "alpha") in shard.events()
    assert shard.processor.done


def test_an_ended_shard_leaves_a_renewed_lock_to_its_child() -> None:
    """The renewal stands in the child; the parent does not read the row for ever."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.processor.shard_ended()
    shard.table.put(JOB, pydynlock("alpha", "v2"))
    shard.pass_time(5)
    assert shard.processor.done


def test_after_losing_its_lease_nothing_is_tested() -> None:
    """The shard is another worker's."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    shard.processor.lease_lost()
    shard.pass_time(60)
    assert shard.table.reads == 0
    assert shard.processor.done


def test_an_ended_shard_keeps_a_deadline_that_a_stepped_clock_has_not_reached() -> None:
    """The wall clock went back after arming: nothing renewed the session, so no child watches it."""
    shard = session_rig()
    shard.table.put(SESSION, session_row(shard, 60))
    shard.consume()
    shard.processor.shard_ended()
    shard.clock.step_wall(-120)
    shard.pass_time(70)
    assert not shard.processor.done
    shard.pass_time(120)
    assert ("session.expired", "dave") in shard.events()


def test_a_row_that_could_not_be_read_is_read_again_soon() -> None:
    """However long its lease is: a refused read tells nothing of a renewal."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1", lease="3600"))
    shard.consume()
    shard.table.refuse = True
    shard.pass_time(3_601)
    shard.table.refuse = False
    shard.pass_time(TEST_AGAIN_MS / 1000)
    assert ("lock.expired", "alpha") in shard.events()


def test_a_lapse_held_back_while_behind_is_tested_as_soon_as_the_stream_is_caught_up() -> None:
    """Not a whole lease after receipt: the creation time tells of it, and nothing more can come that renews it."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1", lease="600"))
    shard.clock.advance(700)
    shard.processor.process_records(shard.unread(), caught_up=False)
    shard.processor.tick()
    assert ("lock.expired", "alpha") not in shard.events()
    shard.processor.process_records([], caught_up=True)
    at_ms = shard.processor.next_deadline()
    assert at_ms is not None
    assert at_ms <= shard.clock.now().mono_ms
    shard.processor.tick()
    assert ("lock.expired", "alpha") in shard.events()


def test_a_renewal_that_comes_while_behind_replaces_what_was_held_back() -> None:
    """Only the last change counts once the stream is caught up."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1", lease="600"))
    shard.clock.advance(700)
    shard.processor.process_records(shard.unread(), caught_up=False)
    shard.processor.tick()
    shard.table.put(JOB, pydynlock("alpha", "v2", lease="600"))
    shard.processor.process_records(shard.table.records[1:], caught_up=True)
    shard.processor.tick()
    assert shard.table.reads == 0
    shard.pass_time(601)
    assert ("lock.expired", "alpha") in shard.events()


def test_a_batch_that_was_not_acknowledged_is_not_passed_over() -> None:
    """Its changes count as taken: handed over again they would be skipped, so the processor refuses to go on."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.trail.fail.append(StoppedError("write"))
    with pytest.raises(StoppedError):
        shard.consume()
    shard.table.put(OTHER, pydynlock("alpha", "v1"))
    with pytest.raises(RuntimeError, match="not acknowledged"):
        shard.consume()
    assert shard.events() == []


@pytest.mark.parametrize("ahead_seconds", [0, 5, 30])
def test_a_clock_that_is_ahead_declares_no_lock_lapsed_that_is_renewed(ahead_seconds: int) -> None:
    """Deadlines run by what the endpoint's Date header proves: each second a heartbeat, lease 4 s."""
    shard = rig()
    clock = EndpointClock(shard.clock, 2_000)
    shard.ours = clock
    shard.restart()
    for number in range(6):
        shard.table.put(JOB, pydynlock("alpha", f"v{number}"))
        true_ms = shard.clock.now().wall_ms
        shard.clock.step_wall(ahead_seconds)
        clock.heard(shard.clock.now(), true_ms // 1000 * 1000)
        shard.consume()
        shard.pass_time(0.5)
        shard.pass_time(0.5)
        shard.clock.step_wall(-ahead_seconds)
    assert shard.events() == [("lock.acquired", "alpha")]


class Hesitant:
    """Observer records are put only after something else has happened."""

    def __init__(self, trail: MemoryTrail, before: Callable[[], None]) -> None:
        """Keep both."""
        self._trail, self._before = trail, before

    def __getattr__(self, name: str) -> Any:
        """Be the trail in everything else."""
        return getattr(self._trail, name)

    def observe_all(self, records: Sequence[ObserverRecord]) -> Sequence[bool]:
        """Let it happen, once, then put them."""
        before, self._before = self._before, lambda: None
        before()
        return self._trail.observe_all(records)


@pytest.mark.parametrize("goes_on", [True, False], ids=["renewed", "released and taken again"])
def test_a_holder_that_goes_on_while_its_lapse_is_declared_is_revived(goes_on: bool) -> None:  # noqa: FBT001
    """The audit table may hold the declaration up for long; the renewal is consumed meanwhile."""
    shard = rig()
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()

    def meanwhile() -> None:
        if not goes_on:
            shard.table.delete(JOB)
        shard.table.put(JOB, pydynlock("alpha", "v2"))
        shard.consume()

    object.__setattr__(shard.processor._with.lapses, "trail", Hesitant(shard.trail, meanwhile))
    shard.pass_time(60)
    assert ("lock.expired", "alpha") in shard.events()
    assert (("lock.revived", "alpha") in shard.events()) is goes_on
    shard.table.put(JOB, pydynlock("alpha", "v3"))
    shard.consume()
    assert shard.events().count(("lock.revived", "alpha")) == int(goes_on)
