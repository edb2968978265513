"""Which shards may be read, from a listing alone."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockside.engines.discovery import ListedShard
from lockside.engines.embedded import lineage


def shards(*spelled: str) -> list[ListedShard]:
    """Make shards of `child` or `child<parent`."""
    return [
        ListedShard(child, parent or None, closed=False) for child, _, parent in (s.partition("<") for s in spelled)
    ]


def names(found: Sequence[ListedShard]) -> list[str]:
    """Return the ids alone."""
    return [shard.shard_id for shard in found]


@pytest.mark.parametrize(
    ("listed", "finished", "reading", "expected"),
    [
        pytest.param(["a", "b"], [], [], (["a", "b"], [], []), id="roots start"),
        pytest.param(["a", "b<a"], [], [], (["a"], ["b"], []), id="a child waits for its parent"),
        pytest.param(["a", "b<a"], [], ["a"], ([], ["b"], []), id="a child waits while its parent is read"),
        pytest.param(
            ["a", "b<a", "c<a"], ["a"], [], (["b", "c"], [], []), id="children start when the parent is finished"
        ),
        pytest.param(["b<a"], ["a"], [], (["b"], [], []), id="a finished parent need not be listed"),
        pytest.param(["b<a"], [], [], (["b"], [], ["a"]), id="a parent that is not listed is done, and told of"),
        pytest.param(["b<a"], [], ["a"], ([], ["b"], []), id="a parent left out of one listing is still waited for"),
        pytest.param(["a", "b<a", "c<b"], ["a"], [], (["b"], ["c"], []), id="a grandchild waits for the child"),
        pytest.param(["a", "b<a"], ["a", "b"], [], ([], [], []), id="finished shards are not started again"),
        pytest.param(["a<a"], [], [], (["a"], [], []), id="a shard that is its own parent is a root"),
        pytest.param(["a<c", "b<a", "c<b", "d<c"], [], [], (["a"], ["b", "c", "d"], []), id="a cycle is broken once"),
        pytest.param(["a", "a", "b<a"], [], [], (["a"], ["b"], []), id="a shard listed twice is one"),
    ],
)
def test_plan(listed: list[str], finished: list[str], reading: list[str], expected: tuple[list[str], ...]) -> None:
    """A shard starts when its parent is finished or gone, and at no other time; (start, wait, missing parents)."""
    found = lineage.plan(shards(*listed), finished, reading)
    assert (names(found.start), names(found.wait), list(found.missing_parents)) == expected


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["", *"abcdefghxy"])), st.randoms())
def test_every_shard_is_read_once_and_no_child_before_its_parent(parents: dict[str, str], order: object) -> None:
    """Finishing what may start, again and again, reaches every shard of any listing, cycles and all."""
    listed = [ListedShard(shard, parent or None, closed=True) for shard, parent in parents.items()]
    order.shuffle(listed)  # type: ignore[attr-defined]
    finished: list[str] = []
    while len(finished) < len(listed):
        found = lineage.plan(listed, finished)
        assert found.start
        assert set(names(found.start)) | set(names(found.wait)) | set(finished) == set(parents)
        finished.append(found.start[0].shard_id)
    seen: set[str] = set()
    for shard in finished:
        before_its_parent = parents[shard] in parents and parents[shard] not in seen
        assert not before_its_parent or _in_cycle(shard, parents)
        seen.add(shard)


def test_has_child_ignores_the_shard_itself() -> None:
    """A shard listed as its own parent, as moto does, has no child by that."""
    assert not lineage.has_child("a", shards("a<a"))
    assert lineage.has_child("a", shards("a", "b<a"))


def _in_cycle(shard: str, parents: dict[str, str]) -> bool:
    at = parents.get(shard, "")
    for _ in parents:
        if at == shard:
            return True
        at = parents.get(at, "")
    return False
