"""Shards that ended: what a child sees of an entity is the child's, and is kept once."""

from tests.fakes.shard import ShardRig
from tests.fakes.sources import lock_keys, pydynlock, source

JOB = lock_keys("job")
IDLE = lock_keys("idle")
GENERATIONS = 20
SESSIONS = 5


def armed(shard: ShardRig) -> list[int]:
    """Count the deadlines of each shard, the oldest first."""
    return [each.deadlines_armed() for each in (*shard.elders, shard.processor)]


def test_generations_of_shards_keep_one_deadline_each() -> None:
    """A session that is refreshed for weeks passes through hundreds of shards."""
    shard = ShardRig(source("flask-session"))
    for _ in range(GENERATIONS):
        shard.roll()
        for number in range(SESSIONS):
            ends = shard.clock.now().wall_ms / 1000 + 14 * 86_400
            row = {"val": {"B": b"\x81\xa8_user_id\xa4dave"}, "expiration": {"N": f"{ends:.3f}"}}
            shard.table.put({"id": {"S": f"session:{number}"}}, row)
        shard.consume()
        shard.clock.advance(4 * 3_600)
    assert armed(shard) == [0] * GENERATIONS + [SESSIONS]
    assert all(each.done for each in shard.elders)
    assert shard.table.reads == 0


def test_what_no_child_has_seen_stays_with_its_shard() -> None:
    """Its holder died right at the roll."""
    shard = ShardRig(source("pydynlock"))
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.table.put(IDLE, pydynlock("beta", "v1"))
    shard.consume()
    shard.roll()
    shard.clock.advance(1)
    shard.table.put(JOB, pydynlock("alpha", "v2"))
    shard.consume()
    assert armed(shard) == [1, 1]
    shard.pass_time(3.5)
    assert [each for each in shard.events() if each[0] == "lock.expired"] == [("lock.expired", "beta")]
    shard.pass_time(60)
    assert sorted(each for each in shard.events() if each[0] == "lock.expired") == [
        ("lock.expired", "alpha"),
        ("lock.expired", "beta"),
    ]


def test_a_shard_that_is_read_keeps_what_it_holds() -> None:
    """Only one that has ended lets go: a sibling's entities are others."""
    shard = ShardRig(source("pydynlock"))
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.consume()
    parent = shard.processor
    shard.roll()
    parent._ended = False
    shard.table.put(JOB, pydynlock("alpha", "v2"))
    shard.consume()
    assert parent.deadlines_armed() == 1


def test_a_holder_that_goes_on_in_the_child_is_revived() -> None:
    """Its lapse was declared by the parent, after the roll."""
    shard = ShardRig(source("pydynlock"))
    shard.table.put(JOB, pydynlock("alpha", "v1"))
    shard.table.put(IDLE, pydynlock("beta", "v1"))
    shard.consume()
    shard.roll()
    shard.pass_time(10)
    shard.table.put(JOB, pydynlock("alpha", "v2"))
    shard.table.delete(IDLE)
    shard.table.put(IDLE, pydynlock("beta", "v2"))
    shard.consume()
    assert [each for each in shard.events() if each[0] == "lock.revived"] == [("lock.revived", "alpha")]
    assert armed(shard) == [0, 2]
