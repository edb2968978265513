"""Reading the trail back, on both backends: by entity, actor and event, and following it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from lockside.audit import pages
from lockside.audit.items import log_sort
from lockside.audit.read import TrailReader
from lockside.audit.stored import Stored
from lockside.audit.tail import IDLE_MAX_MS, Hole, Tail
from lockside.audit.window import DAY_MS, Window
from lockside.core.change import padded
from lockside.core.log import append
from lockside.core.records import identity_ulid
from lockside.emulators.emulator import Emulator
from tests.contract.trails import TableRig, observation, put, record, records, shard, sources, table_rig
from tests.fakes.clock import START_MS

ALL: Final = Window(START_MS - DAY_MS, START_MS + 2 * DAY_MS)


@pytest.fixture
def rig(endpoint: Emulator) -> Iterator[TableRig]:
    """Make a table on each backend."""
    made = table_rig(endpoint)
    yield made
    made.close()


def ids(found: Iterator[Stored | Hole]) -> list[str]:
    """Name what was found: records by the end of their id, holes by their indexes."""
    return [
        f"hole {each.first}-{each.last}" if isinstance(each, Hole) else str(each.event["id"]).lstrip("0")
        for each in found
    ]


def both_ways(rig: TableRig) -> list[TrailReader]:
    """Return a reader for each direction."""
    return [TrailReader(rig.pages), TrailReader(rig.pages, newest_first=True)]


def remove(rig: TableRig, position: int, entity: str = "job") -> None:
    """Take a record out of the table, as retention or a forger would."""
    rig.client.delete_item(TableName=rig.table, Key=key_of(position, entity))


def key_of(position: int, entity: str = "job") -> dict[str, dict[str, str]]:
    """Spell the key of a record of the first epoch."""
    made = record(position, entity)
    return {"pk": {"S": made.pk}, "sk": {"S": f"{made.sort}#1"}}


def test_a_history_holds_changes_and_observations_in_order(rig: TableRig) -> None:
    """An observation stands after the last change its declarer knew of, whatever the floored times say."""
    trail = rig.trail()
    place = shard()
    head = trail.open(place, sources(), "TRIM_HORIZON")
    put(trail, head, [record(10), record(20), record(30), record(40)])
    log = f"{place.origin}/observer"
    later = START_MS + 39_900
    told: dict[str, dict[str, Any]] = {
        "read": {"after": padded(20), "time_ms": START_MS + 20_500},
        "proved": {"after": padded(40), "time_ms": later, "event": {"data": {"via": "takeover"}}},
        "floored": {"after": padded(35), "time_ms": START_MS + 40_500, "event": {"data": {"via": "read"}}},
        "own": {"after": padded(40), "time_ms": START_MS + 40_600, "event": {"data": {"via": "read"}}},
        "blind": {"after": None, "time_ms": START_MS + 35_000},
    }
    for name, changes in told.items():
        trail.observe(observation(log, name, **changes))
    named = {identity_ulid(name).lstrip("0"): name for name in told}
    for reader in both_ways(rig):
        found = [named.get(each, each) for each in ids(reader.by_entity(["E#locks:job"], ALL))]
        if reader.newest_first:
            found.reverse()
        assert [each for each in found if each not in {"proved", "floored"}] == [
            "10", "20", "read", "30", "blind", "40", "own",
        ]  # fmt: skip
        assert found.index("30") < found.index("proved") < found.index("40")


def test_a_history_is_cut_to_its_window_and_may_span_entities(rig: TableRig) -> None:
    """Records outside of the window are left out; several keys of one name are read together."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    put(trail, head, [record(1), record(2, "other"), record(3), record(4, "third"), record(5)])
    window = Window(START_MS + 2000, START_MS + 5000)
    reader = TrailReader(rig.pages)
    assert ids(reader.by_entity(["E#locks:job", "E#locks:other", "E#locks:none"], window)) == ["2", "3"]
    newest = TrailReader(rig.pages, newest_first=True).by_entity(["E#locks:job"], ALL)
    assert str(next(newest).event["id"]).lstrip("0") == "5"


def test_records_beyond_a_seal_are_no_part_of_the_trail(rig: TableRig) -> None:
    """What a zombie writes to a log it has lost is found by no question."""
    place = shard()
    zombie = rig.trail()
    sealed = put(zombie, zombie.open(place, sources(), "TRIM_HORIZON"), records(2))
    zombie.write_head(sealed)
    rig.trail().open(place, sources("renamed"), "TRIM_HORIZON")
    put(zombie, sealed, records(2, first=3))
    for reader in both_ways(rig):
        for found in (
            reader.by_entity(["E#locks:job"], ALL),
            reader.by_actor(["worker-1"], ALL),
            reader.by_type("lock.acquired", ALL),
        ):
            assert sorted(ids(found)) == ["1", "2"]
    assert ids(Tail(rig.pages, 0, 0).poll(START_MS)) == ["1", "2"]


def test_an_actor_is_followed_over_months(rig: TableRig) -> None:
    """Acts are found in each month of the window, in order, bounds included and excluded as said."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    month = 31 * DAY_MS
    times = [START_MS, START_MS + month, START_MS + 2 * month, START_MS + 3 * month]
    put(trail, head, [record(position, time_ms=time_ms) for position, time_ms in enumerate(times, start=1)])
    put(trail, trail.open(shard(), sources(), "TRIM_HORIZON"), [record(9, "b", actor="someone else")])
    window = Window(times[0], times[3])
    reader, backwards = both_ways(rig)
    assert ids(reader.by_actor(["worker-1"], window)) == ["1", "2", "3"]
    assert ids(backwards.by_actor(["worker-1", "nobody"], window)) == ["3", "2", "1"]
    assert sorted(ids(reader.by_actor(["worker-1", "someone else"], window))) == ["1", "2", "3", "9"]


def test_events_of_a_type_are_found_over_all_logs(rig: TableRig) -> None:
    """The catalogue leads to every log, a late record is found by its own time, and logs are merged by time."""
    trail = rig.trail()
    first = trail.open(shard(), sources(), "TRIM_HORIZON")
    second = trail.open(shard(), sources(), "TRIM_HORIZON")
    put(trail, first, [record(1), record(3, type="lock.released"), record(5), replace(record(2), sort="late#0")])
    put(trail, second, [record(4, "other"), record(6, "other", time_ms=START_MS + 5 * DAY_MS)])
    window = Window(START_MS, START_MS + 5000)
    reader, backwards = both_ways(rig)
    assert ids(reader.by_type("lock.acquired", window)) == ["1", "4", "2"]
    assert ids(backwards.by_type("lock.acquired", window)) == ["2", "4", "1"]
    assert ids(reader.by_type("lock.purged", window)) == []


def test_long_answers_come_in_pages(rig: TableRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """More records than a page, or one BatchGetItem, come complete and in order."""
    monkeypatch.setattr(pages, "PAGE_ITEMS", 7)
    monkeypatch.setattr(pages, "FILTERED_PAGE_ITEMS", 9)
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    put(trail, head, records(230))
    expected = [str(position) for position in range(1, 231)]
    for reader in both_ways(rig):
        for found in (reader.by_entity(["E#locks:job"], ALL), reader.by_type("lock.acquired", ALL)):
            in_order = ids(found)
            if reader.newest_first:
                in_order.reverse()
            assert in_order == expected


def test_a_tail_gives_every_record_once_over_all_logs(rig: TableRig) -> None:
    """Change and observer logs, those there at the start and those that come later, are followed from one cursor."""
    trail = rig.trail()
    place = shard()
    head = trail.open(place, sources(), "TRIM_HORIZON")
    head = put(trail, head, records(3))
    tail = Tail(rig.pages, START_MS, 0)
    now_ms = START_MS
    assert ids(tail.poll(now_ms)) == ["1", "2", "3"]
    head = put(trail, head, records(250, first=4))
    trail.observe(observation(f"{place.origin}/observer", "x"))
    put(trail, trail.open(shard(), sources(), "TRIM_HORIZON"), records(1, first=900, entity="new"))
    now_ms += IDLE_MAX_MS
    found = ids(tail.poll(now_ms))
    assert len(found) == 252
    assert set(found) == {str(position) for position in range(4, 254)} | {"900", identity_ulid("x").lstrip("0")}
    assert ids(tail.poll(now_ms + IDLE_MAX_MS)) == []
    resumed = Tail(rig.pages, START_MS, 0, cursor=dict(tail.cursor))
    put(trail, head, records(1, first=254))
    assert ids(resumed.poll(now_ms)) == ["254"]


def test_a_cursor_says_what_was_given_out(rig: TableRig) -> None:
    """A reader that stops amid a poll goes on after the last record it was given."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    put(trail, head, records(20))
    tail = Tail(rig.pages, START_MS, 0)
    poll = tail.poll(START_MS)
    assert str(next(poll).event["id"]).lstrip("0") == "1"  # type: ignore[union-attr]  # a record, no hole
    assert tail.cursor == {head.log: log_sort(START_MS + 1000, 0)}
    resumed = Tail(rig.pages, START_MS, 0, cursor=dict(tail.cursor))
    assert ids(resumed.poll(START_MS)) == [str(position) for position in range(2, 21)]


def test_a_tail_starts_in_mid_log(rig: TableRig) -> None:
    """From a given time on, nothing earlier comes, and what is missing after it is still noticed."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    put(trail, head, records(9))
    assert ids(Tail(rig.pages, START_MS + 6000, 0).poll(START_MS)) == ["6", "7", "8", "9"]
    remove(rig, 6)
    assert ids(Tail(rig.pages, START_MS + 6000, 0).poll(START_MS)) == ["hole 5-5", "7", "8", "9"]


def test_a_hole_is_waited_for(rig: TableRig) -> None:
    """A record that the index does not show yet holds back those after it, and comes in its place."""
    trail = rig.trail()
    _, placed = append(trail.open(shard(), sources(), "TRIM_HORIZON"), records(4))
    trail.write([placed[0], placed[1], placed[3]])
    tail = Tail(rig.pages, START_MS, patience_ms=60_000)
    assert ids(tail.poll(START_MS)) == ["1", "2"]
    assert tail.waiting
    assert ids(tail.poll(START_MS + IDLE_MAX_MS)) == []
    trail.write([placed[2]])
    assert ids(tail.poll(START_MS + 2 * IDLE_MAX_MS)) == ["3", "4"]
    assert not tail.waiting


def test_a_hole_that_stays_is_told_and_passed(rig: TableRig) -> None:
    """After its patience a tail says what is missing and goes on."""
    trail = rig.trail()
    _, placed = append(trail.open(shard(), sources(), "TRIM_HORIZON"), records(6))
    trail.write([placed[0], placed[3], placed[5]])
    tail = Tail(rig.pages, START_MS, patience_ms=10_000)
    assert ids(tail.poll(START_MS)) == ["1"]
    found = ids(tail.poll(START_MS + 10_000))
    assert found == ["hole 1-2", "4"]
    assert tail.waiting
    assert ids(tail.poll(START_MS + 21_000)) == ["hole 4-4", "6"]


def test_an_idle_log_is_asked_less_and_less_often(rig: TableRig) -> None:
    """Polling at a steady pace, a log without news is asked again only after a growing pause, up to a bound."""
    trail = rig.trail()
    put(trail, trail.open(shard(), sources(), "TRIM_HORIZON"), records(1))
    asked: list[str] = []
    rig.client.meta.events.register("before-call.dynamodb.Query", lambda params, **_: asked.append(params["body"]))
    tail = Tail(rig.pages, START_MS, 0)
    for step_ms in range(0, 30_000, 100):
        list(tail.poll(START_MS + step_ms))
    of_log = [body for body in asked if "by_log" in str(body)]
    assert 10 <= len(of_log) <= 25
