"""Who owns the shards: what looks at one row mean, on one's own clock."""

from dataclasses import replace

import pytest

from lockside.core.ownership import OwnerRow, Standing, Watch

LEASE_MS = 9_000
ROW = OwnerRow(epoch=3, owner="other", beat=7, lease_ms=LEASE_MS, place="host-a")
RENEWED = replace(ROW, beat=8)


def standings(*looks: tuple[int, OwnerRow | None], watch: Watch | None = None) -> list[Standing]:
    """Look at the row at these instants; a read takes no time."""
    watch = watch or Watch("me")
    seen = []
    for at_ms, row in looks:
        watch, standing = watch.observe(row, at_ms, at_ms)
        seen.append(standing)
    return seen


def every_second(row: OwnerRow, first: int, last: int) -> list[tuple[int, OwnerRow | None]]:
    """Look each second, the last one included."""
    return [(second * 1_000, row) for second in range(first, last + 1)]


@pytest.mark.parametrize("row", [None, replace(ROW, owner=None)], ids=["no row", "handed back"])
def test_what_is_nobodys_is_taken_at_once(row: OwnerRow | None) -> None:
    """A first start and an orderly hand-over cost no lease."""
    assert standings((0, row)) == [Standing.TAKE]


def test_an_unchanged_row_is_taken_after_one_whole_lease() -> None:
    """Not a moment before, and by the lease that its owner promised."""
    assert standings(*every_second(ROW, 0, 8), (8_999, ROW), (9_000, ROW))[-2:] == [Standing.WAIT, Standing.TAKE]
    longer = replace(ROW, lease_ms=20_000)
    assert Standing.TAKE not in standings(*every_second(longer, 0, 19))


def test_each_renewal_begins_another_lease() -> None:
    """The lease counts from the last change that we saw."""
    looks = [*every_second(ROW, 0, 7), *every_second(RENEWED, 8, 16)]
    assert Standing.TAKE not in standings(*looks)
    assert standings(*looks, (17_000, RENEWED))[-1] is Standing.TAKE


@pytest.mark.parametrize("change", [{"epoch": 4}, {"owner": "third"}, {"beat": 0}])
def test_any_change_of_the_row_is_a_sign_of_life(change: dict[str, int | str]) -> None:
    """A new owner begins its beats anew, perhaps with the number that was seen last."""
    other = replace(ROW, **change)  # type: ignore[arg-type]
    assert standings(*every_second(ROW, 0, 8), (9_000, other))[-1] is Standing.WAIT


def test_the_time_of_a_slow_read_does_not_count() -> None:
    """The row may have been read at any instant between question and answer: the shortest span decides."""
    watch, _ = Watch("me").observe(ROW, 0, 4_000)
    watch, _ = watch.observe(ROW, 8_000, 8_000)
    watch, standing = watch.observe(ROW, 12_999, 20_000)
    assert standing is Standing.WAIT
    watch, standing = watch.observe(ROW, 20_000, 20_000)
    assert standing is Standing.TAKE


def test_a_pause_of_our_own_proves_nothing() -> None:
    """A frozen machine, or an endpoint that answered nobody, may have held up the owner as well: it gets a lease."""
    looks = [(0, ROW), (1_000, ROW), (60_000, ROW)]
    assert Standing.TAKE not in standings(*looks)
    assert standings(*looks, *every_second(ROW, 61, 69))[-2:] == [Standing.WAIT, Standing.TAKE]


def test_a_lease_far_shorter_than_ours_is_no_pause_of_ours() -> None:
    """The owner's setting may be another than ours: looking each second still finds its row unchanged."""
    short = replace(ROW, lease_ms=500)
    assert standings(*every_second(short, 0, 1)) == [Standing.WAIT, Standing.TAKE]


def test_clocks_of_the_wall_are_never_looked_at() -> None:
    """What the row says of time is for people: far past or far future, the same is decided."""
    for renewed_ms in (0, 10**15):
        row = replace(ROW, renewed_ms=renewed_ms)
        assert standings(*every_second(row, 0, 9)) == [Standing.WAIT] * 9 + [Standing.TAKE]


def test_a_row_of_ours_that_we_know_nothing_of_is_ours() -> None:
    """The answer to our take-over was lost; its epoch is what the row says."""
    watch, standing = Watch("me").observe(replace(ROW, owner="me"), 0, 0)
    assert (standing, watch.epoch) == (Standing.MINE, 3)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (replace(ROW, owner="me"), Standing.MINE),
        (ROW, Standing.LOST),
        (replace(ROW, owner="me", epoch=4), Standing.LOST),
        (replace(ROW, owner=None), Standing.LOST),
        (None, Standing.LOST),
    ],
)
def test_an_owner_keeps_it_only_under_its_own_name_and_epoch(row: OwnerRow | None, expected: Standing) -> None:
    """Whatever else the row shows, it is not ours any more."""
    assert standings((0, row), watch=Watch("me").took(3)) == [expected]
