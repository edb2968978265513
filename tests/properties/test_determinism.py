"""Law 2: any split into batches, and any crash and replay, gives the same change records and the same head."""

import json
from collections.abc import Callable
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from lockside.errors import StoppedError
from tests.fakes.clock import FakeClock
from tests.fakes.shard import ShardRig
from tests.fakes.sources import lock_keys, pydynlock, source

NAMES: Final = ("a", "b", "c")
OWNERS: Final = ("alpha", "beta")

Write = Callable[[ShardRig, int], None]


def put_lock(name: str, owner: str) -> Write:
    """Take or renew a lock."""
    return lambda rig, n: rig.table.put(lock_keys(name), pydynlock(owner, f"v{n}"))


def delete_lock(name: str, *, ttl: bool) -> Write:
    """Release a lock, or have TTL remove it."""
    return lambda rig, _: rig.table.delete(lock_keys(name), ttl=ttl)


def put_session(name: str, user: str | None, seconds: int) -> Write:
    """Start, refresh or change a session."""
    user_id = b"" if user is None else b"\xa8_user_id" + bytes([0xA0 + len(user)]) + user.encode()
    val = bytes([0x81 + (user is not None)]) + b"\xa4cart\xa4book" + user_id

    def write(rig: ShardRig, _: int) -> None:
        deadline = rig.clock.now().wall_ms // 1000 + seconds
        rig.table.put({"id": {"S": name}}, {"val": {"B": val}, "expiration": {"N": str(deadline)}})

    return write


def delete_session(name: str, *, ttl: bool) -> Write:
    """End a session, or have TTL remove it."""
    return lambda rig, _: rig.table.delete({"id": {"S": name}}, ttl=ttl)


LOCK_WRITES: Final = st.one_of(
    st.builds(put_lock, st.sampled_from(NAMES), st.sampled_from(OWNERS)),
    st.builds(delete_lock, st.sampled_from(NAMES), ttl=st.booleans()),
)
SESSION_WRITES: Final = st.one_of(
    st.builds(put_session, st.sampled_from(NAMES), st.sampled_from([None, "ann", "bob"]), st.integers(-10, 9_000)),
    st.builds(delete_session, st.sampled_from(NAMES), ttl=st.booleans()),
)
HISTORIES: Final = st.one_of(
    st.tuples(st.just("pydynlock"), st.lists(LOCK_WRITES, max_size=25)),
    st.tuples(st.just("flask-session"), st.lists(SESSION_WRITES, max_size=25)),
)
GAPS: Final = st.lists(st.integers(0, 4_000), min_size=25, max_size=25)


def written(history: tuple[str, list[Write]], gaps: list[int]) -> ShardRig:
    """Play a history into a table; nothing of it is consumed yet."""
    layout, writes = history
    rig = ShardRig(source(layout), clock=FakeClock())
    for n, (write, gap) in enumerate(zip(writes, gaps, strict=False)):
        write(rig, n)
        rig.clock.advance(gap)
    return rig


def change_log(rig: ShardRig) -> tuple[list[bytes], Any]:
    """Return the bytes of the change log in order, and its head."""
    [log] = [name for name in rig.trail.logs if "/observer" not in name]
    return rig.trail.bodies(log), rig.trail.logs[log].head


@given(HISTORIES, GAPS, st.lists(st.integers(1, 7), min_size=1), st.randoms(use_true_random=False))
def test_any_split_gives_the_same_log(
    history: tuple[str, list[Write]], gaps: list[int], sizes: list[int], random: Any
) -> None:
    """Batches of any size, ticks and flushes anywhere between them, at any time of day."""
    whole, split = written(history, gaps), written(history, gaps)
    whole.consume()
    rest, n = split.unread(), 0
    while rest:
        size = sizes[n % len(sizes)]
        split.processor.process_records(rest[:size], caught_up=random.random() < 0.5)
        rest, n = rest[size:], n + 1
        if random.random() < 0.3:
            split.pass_time(random.choice([1, 100, 5_000]))
        if random.random() < 0.3:
            split.save()
    split.save()
    assert change_log(split) == change_log(whole)


@given(HISTORIES, GAPS, st.lists(st.tuples(st.integers(1, 7), st.integers(0, 5)), max_size=12))
def test_any_crash_and_replay_gives_the_same_log(
    history: tuple[str, list[Write]], gaps: list[int], crashes: list[tuple[int, int]]
) -> None:
    """A crash before, in or after any effect of any batch; what is read again makes equal items."""
    whole, crashed = written(history, gaps), written(history, gaps)
    whole.consume()
    for size, where in crashes:
        crash_once(crashed, size, where)
        crashed.restart()
    crashed.consume()
    assert change_log(crashed) == change_log(whole)
    changes = [key for key in crashed.trail.items if not key[1].startswith("~")]
    assert len(changes) == len(change_log(whole)[0])
    assert crashed.live.entries.keys() == whole.live.entries.keys()


def crash_once(rig: ShardRig, size: int, where: int) -> None:
    """Consume a batch and die: at the write, at the live index, before the head, before or after the checkpoint."""
    error = StoppedError("crash")
    match where:
        case 0:
            rig.trail.fail.append(error)
        case 1:
            rig.live.fail.append(error)
        case _:
            pass
    try:
        rig.processor.process_records(rig.unread()[:size], caught_up=False)
        if where in {3, 4, 5}:
            position = rig.processor.flush()
            rig.checkpoint = position if where == 4 else rig.checkpoint
            rig.pass_time(30 if where == 5 else 0)
    except StoppedError:
        pass
    finally:
        rig.trail.fail.clear()
        rig.live.fail.clear()


@given(HISTORIES, GAPS)
def test_before_and_after_hashes_link(history: tuple[str, list[Write]], gaps: list[int]) -> None:
    """Each before-hash is the after-hash of the entity's record before it: nothing unrecorded breaks a link."""
    rig = written(history, gaps)
    rig.consume()
    last: dict[str, Any] = {}
    for body in change_log(rig)[0]:
        event = json.loads(body)
        entity, data = event["partitionkey"], event["data"]
        if entity in last:
            assert data.get("before_hash") == last[entity]
        last[entity] = data.get("after_hash")
