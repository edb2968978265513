"""The contract of the `Trail` port, kept by the fake and by the audit table on both backends."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar, get_args

import orjson
import pytest

from lockside.core import merkle
from lockside.core.change import padded
from lockside.core.log import LogHead, append
from lockside.core.records import identity_ulid
from lockside.emulators.emulator import Emulator, Kind
from lockside.errors import FencedError
from tests.contract.trails import (
    MemoryRig,
    Rig,
    observation,
    put,
    record,
    records,
    shard,
    sources,
    table_rig,
)
from tests.fakes.trail import MemoryTrail

T = TypeVar("T")

MEMORY: Final = "memory"


@pytest.fixture(params=[MEMORY, *get_args(Kind)])
def rig(request: pytest.FixtureRequest, emulator_of: Callable[[Kind], Emulator]) -> Iterator[Rig]:
    """Run each test on the fake and on both backends."""
    if request.param == MEMORY:
        yield MemoryRig(MemoryTrail())
        return
    made = table_rig(emulator_of(request.param))
    yield made
    made.close()


def test_a_new_log_is_empty(rig: Rig) -> None:
    """The first head of a shard has no records, covers nothing, and names the shard and its first epoch."""
    place = shard()
    head = rig.trail().open(place, sources(), "TRIM_HORIZON")
    assert head == LogHead(f"{place.origin}/1", 1)
    assert not head.covers(0)


def test_opening_again_gives_the_stored_head(rig: Rig) -> None:
    """A restarted worker goes on where the last written head was, with every part of it."""
    place = shard()
    first = rig.trail()
    head = put(first, first.open(place, sources(), "TRIM_HORIZON"), records(37))
    first.write_head(head)
    assert rig.trail().open(place, sources(), "TRIM_HORIZON") == head
    assert len(head.frontier) == 3


def test_records_are_kept_in_order_byte_by_byte(rig: Rig) -> None:
    """More records than one batch holds are all kept, in the order of their log."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    added = records(130)
    head = put(trail, head, added)
    trail.write_head(head)
    bodies = rig.bodies(head.log)
    assert bodies == [each.body for each in added]
    assert merkle_root(bodies) == head.root


def test_writing_nothing_is_allowed(rig: Rig) -> None:
    """An empty list of records is acknowledged."""
    rig.trail().write([])


def test_writing_the_same_records_again_changes_nothing(rig: Rig) -> None:
    """A replay from the old head rewrites equal items in equal places."""
    trail = rig.trail()
    start = trail.open(shard(), sources(), "TRIM_HORIZON")
    head = put(trail, start, records(30))
    trail.write_head(head)
    assert put(rig.trail(), start, records(30)) == head
    trail.write_head(head)
    assert rig.bodies(head.log) == [each.body for each in records(30)]


def test_one_batch_may_hold_a_key_twice(rig: Rig) -> None:
    """Equal keys in one call, which DynamoDB refuses in a batch, are merged."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    _, placed = append(head, [record(1)])
    trail.write([*placed, *placed])
    assert rig.bodies(head.log) == [record(1).body]


def test_a_head_never_goes_back(rig: Rig) -> None:
    """A worker that lags behind does not shorten the log."""
    place = shard()
    trail = rig.trail()
    start = trail.open(place, sources(), "TRIM_HORIZON")
    behind = put(trail, start, records(5))
    ahead = put(trail, behind, records(5, first=6))
    trail.write_head(ahead)
    trail.write_head(behind)
    assert rig.trail().open(place, sources(), "TRIM_HORIZON") == ahead


def test_a_zombie_and_its_successor_leave_one_log(rig: Rig) -> None:
    """Both write the same records, in batches of their own, and heads as they come: by law 2 it is the same log."""
    place, every = shard(), records(20)
    zombie, successor = rig.trail(), rig.trail()
    start = zombie.open(place, sources(), "TRIM_HORIZON")
    zombie_head = put(zombie, start, every[:7])
    head = put(successor, successor.open(place, sources(), "TRIM_HORIZON"), every[:12])
    successor.write_head(head)
    zombie.write_head(zombie_head)
    zombie_head = put(zombie, zombie_head, every[7:16])
    zombie.write_head(zombie_head)
    head = put(successor, head, every[12:14])
    successor.write_head(head)
    assert rig.trail().open(place, sources(), "TRIM_HORIZON") == zombie_head
    head = put(successor, head, every[14:])
    successor.write_head(head)
    assert rig.trail().open(place, sources(), "TRIM_HORIZON") == head
    assert rig.bodies(head.log) == [each.body for each in every]
    assert merkle_root(rig.bodies(head.log)) == head.root


def test_equal_size_with_other_bytes_is_refused(rig: Rig) -> None:
    """Two workers that recorded different bytes for the same records cannot both be right."""
    trail = rig.trail()
    start = trail.open(shard(), sources(), "TRIM_HORIZON")
    head = put(trail, start, records(5))
    trail.write_head(head)
    other, _ = append(start, records(5, entity="other"))
    with pytest.raises(FencedError):
        trail.write_head(other)


@pytest.mark.parametrize("other_start", [False, True], ids=["recipe", "start mode"])
def test_another_intent_seals_the_log_and_opens_the_next_epoch(rig: Rig, *, other_start: bool) -> None:
    """The next epoch starts empty and does not record again what the sealed log covers."""
    place = shard()
    trail = rig.trail()
    sealed = put(trail, trail.open(place, sources(), "TRIM_HORIZON"), records(3))
    trail.write_head(sealed)
    intent = sources() if other_start else sources("renamed")
    head = rig.trail().open(place, intent, "LATEST" if other_start else "TRIM_HORIZON")
    assert (head.log, head.epoch, head.size, head.frontier) == (f"{place.origin}/2", 2, 0, ())
    assert head.covers(3)
    assert not head.covers(4)


def test_a_zombie_is_refused_after_the_seal(rig: Rig) -> None:
    """The worker that lost its log may still write records, beside and never over, but no head; no reader sees them."""
    place = shard()
    zombie, successor = rig.trail(), rig.trail()
    sealed = put(zombie, zombie.open(place, sources(), "TRIM_HORIZON"), records(3))
    zombie.write_head(sealed)
    head = successor.open(place, sources("renamed"), "TRIM_HORIZON")
    beyond = put(zombie, sealed, records(2, first=4))
    with pytest.raises(FencedError):
        zombie.write_head(beyond)
    zombie.write_head(sealed)
    successor.write_head(put(successor, head, records(2, first=4)))
    assert rig.bodies(sealed.log) == [each.body for each in records(3)]
    assert rig.bodies(head.log) == [each.body for each in records(2, first=4)]


def test_a_recipe_that_returns_gets_an_epoch_of_its_own(rig: Rig) -> None:
    """A sealed log is never opened again, not even by the recipe that began it."""
    place = shard()
    for epoch, name in enumerate(["a", "b", "a"], start=1):
        assert rig.trail().open(place, sources(name), "TRIM_HORIZON").epoch == epoch
    assert rig.trail().open(place, sources("a"), "TRIM_HORIZON").epoch == 3


def test_workers_that_open_at_once_agree(rig: Rig) -> None:
    """Of many workers with one recipe each gets the same log."""
    place = shard()
    trails = [rig.trail() for _ in range(4)]
    heads = at_once([partial(trail.open, place, sources(), "TRIM_HORIZON") for trail in trails])
    assert heads == [LogHead(f"{place.origin}/1", 1)] * 4


def test_workers_with_different_recipes_at_once_leave_one_open_log(rig: Rig) -> None:
    """Whoever comes later seals what is there; all but the last log refuse a head."""
    place = shard()
    names = ["a", "b", "c"]
    trails = [rig.trail() for _ in names]
    heads = at_once(
        [partial(trail.open, place, sources(name), "TRIM_HORIZON") for trail, name in zip(trails, names, strict=True)]
    )
    assert len({head.log for head in heads}) == len(names)
    last = max(heads, key=lambda head: head.epoch)
    for trail, head in zip(trails, heads, strict=True):
        grown = put(trail, head, records(1))
        if head == last:
            trail.write_head(grown)
        else:
            with pytest.raises(FencedError):
                trail.write_head(grown)


def test_an_observation_is_kept_once(rig: Rig) -> None:
    """The second declaration of an identity changes nothing, whatever else it says."""
    log = f"{shard().origin}/observer"
    assert rig.trail().observe(observation(log))
    assert not rig.trail().observe(observation(log, event={"data": {"via": "takeover"}}, time_ms=0))
    [body] = rig.bodies(log)
    event = orjson.loads(body)
    assert event["id"] == identity_ulid("lapse|job|v1")
    assert event["data"] == {"via": "read"}


def test_many_observations_share_transactions_and_are_kept_once_each(rig: Rig) -> None:
    """Hundreds at once, in two logs, some there already, some named twice: each is kept once and told in its place."""
    trail = rig.trail()
    logs = [f"{shard().origin}/observer" for _ in range(2)]
    trail.observe(observation(logs[0], "old 0"))
    wanted = [observation(logs[n % 2], f"new {n}", pk=f"E#locks:job-{n}") for n in range(130)]
    wanted += [observation(logs[0], "old 0"), wanted[5]]
    assert trail.observe_all(wanted) == [*[True] * 130, False, False]
    assert trail.observe_all(wanted) == [False] * 132
    assert [len(rig.bodies(log)) for log in logs] == [66, 65]
    assert trail.observe_all([]) == []


def test_observations_at_once_are_kept_once_each(rig: Rig) -> None:
    """Workers that declare the same lapses at the same moment leave each of them once, and one of them has made it."""
    log = f"{shard().origin}/observer"
    trails = [rig.trail() for _ in range(3)]
    made = at_once(
        [partial(trail.observe, observation(log, identity)) for identity in ["one", "two"] for trail in trails]
    )
    assert sum(made) == 2
    assert sorted(orjson.loads(body)["id"] for body in rig.bodies(log)) == sorted(map(identity_ulid, ["one", "two"]))


def test_no_bytes_of_a_key_or_an_actor_make_a_batch_illegal(rig: Rig) -> None:
    """Over-long and strange keys, actors and times are kept like any other."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    strange = [
        record(1, "x" * 5000, actor="ü" * 3000),
        record(2, "x" * 4999 + "y", actor=""),
        record(3, "\x00\x1b\U0001f600", actor=None),
        replace(record(4), time_ms=0),
        replace(record(5), time_ms=10**15),
        replace(record(6), body=b'{"data":"' + b"z" * 60_000 + b'"}'),
        record(7),
    ]
    head = put(trail, head, strange)
    trail.write_head(head)
    assert rig.bodies(head.log) == [each.body for each in strange]


def test_an_observation_may_come_without_actor_or_position(rig: Rig) -> None:
    """What no actor did and no position precedes is kept too."""
    log = "application/test"
    assert rig.trail().observe(observation(log, "start", pk="E#worker:test", actor=None, after=None))
    assert len(rig.bodies(log)) == 1


def test_the_last_position_may_have_forty_digits(rig: Rig) -> None:
    """Sequence numbers are longer than a DynamoDB number can be."""
    place = shard()
    trail = rig.trail()
    position = 10**39 + 7
    head = put(trail, trail.open(place, sources(), "TRIM_HORIZON"), [record(position, time_ms=1, id="0" * 26)])
    trail.write_head(head)
    again = rig.trail().open(place, sources(), "TRIM_HORIZON")
    assert again.last_position == position
    assert len(padded(position)) == 40


def merkle_root(bodies: list[bytes]) -> bytes:
    """Hash a log's records from scratch."""
    frontier: tuple[bytes, ...] = ()
    for size, body in enumerate(bodies):
        frontier = merkle.append(size, frontier, merkle.leaf_hash(body))
    return merkle.root(frontier)


def at_once(calls: list[Callable[[], T]]) -> list[T]:
    """Run calls in threads that start together."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))
