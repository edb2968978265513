"""A heartbeat taken in quickly leaves the same behind as one that goes the whole way."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from lockside.aws import fast_parse
from lockside.core import held
from lockside.core.batch import Memory, Reader
from lockside.core.deadlines import Deadlines
from lockside.core.entity import PUBLIC_KEYS, EntityKey
from lockside.core.event import Hold
from lockside.core.now import Now
from lockside.layouts.field import Lease
from lockside.layouts.registry import builtin
from tests.fakes.changes import recipe
from tests.fakes.sources import CREATED_SECONDS, SHARD, source, wire

LAYOUTS: Final = sorted(name for name in builtin().names if builtin().find(name)[0].traits.kind == "lock")
LEASES: Final = st.sampled_from([{"S": "4000"}, {"N": "4"}, {"N": "4000"}, {"S": "4s"}, {"S": "soon"}, {"NULL": True}])
TEXTS: Final = st.sampled_from(["", "a", "b", "1", "x" * 200, "\ud800", "é", "true"])
VALUES: Final = st.one_of(
    TEXTS.map(lambda text: {"S": text}),
    st.sampled_from([{"N": "7"}, {"B": "AAE="}, {"BOOL": True}, {"BOOL": 1}, {"S": "a", "N": "1"}, {}, "plain", None]),
    LEASES,
)


def attributes_of(layout: str) -> list[str]:
    """Name whatever a layout may look at, and an attribute that is the user's own."""
    found = {"data"}
    for spec in builtin().find(layout):
        found |= {name for name, _ in spec.signature} | {name for name, _ in spec.rows.required}
        found |= set(spec.rows.absent) | {name for name, _ in (*spec.rows.equals, *spec.rows.if_present)}
        found |= {getattr(spec.reader, "blocked", None) or "data"}
        for role in ("owner", "version", "lease", "release", "fence", "acquired_at", "deadline", "handoff", "progress"):
            one = getattr(spec.reader, role, None)
            attr = getattr(getattr(one, "field", one), "attr", "")
            found |= {attr} - {""}
    return sorted(found)


def plain_row(layout: str) -> dict[str, Any]:
    """Build a held row as the layout's client writes it, as far as types go."""
    row: dict[str, Any] = {}
    for spec in builtin().find(layout)[:1]:
        for name, types in spec.signature:
            tag = min(types) if types else "S"
            row[name] = {"N": {"N": "4000"}, "S": {"S": "4000"}, "B": {"B": "AAE="}}.get(tag, {"S": "4000"})
            if isinstance(lease := getattr(spec.reader, "lease", None), Lease) and name == lease.field.attr:
                row[name] = {"S": "4s"} if lease.unit == "go-duration" else row[name]
    return row


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """Draw a layout and a stream of two locks: mostly heartbeats, with anything else between."""
    layout = draw(st.sampled_from(LAYOUTS))
    names, start = attributes_of(layout), plain_row(layout)
    version = next((getattr(spec.reader, "version", None) for spec in builtin().find(layout)), None)
    rows: dict[str, dict[str, Any] | None] = {"a": None, "b": None}
    records: list[dict[str, Any]] = []
    for position in range(1, draw(st.integers(1, 12)) + 1):
        name = draw(st.sampled_from(sorted(rows)))
        old = rows[name]
        row = dict(start if old is None else old)
        new: dict[str, Any] | None = row
        match draw(st.sampled_from(["beat", "beat", "beat", "change", "drop", "end"])):
            case "change":
                row[draw(st.sampled_from(names))] = draw(VALUES)
            case "drop":
                row.pop(draw(st.sampled_from(names)), None)
            case "end" if old is not None:
                new = None
            case _ if version is not None:
                row[version.attr] = {"S": f"v{position}"}
            case _:
                pass
        schema = source(layout).key_schema.names
        keys = {part: {"S": name if number == 0 else "-"} for number, part in enumerate(schema)}
        records.append(wire(position, keys, old, new, at=CREATED_SECONDS + draw(st.integers(-9_000, 60))))
        rows[name] = new
    return layout, records


@given(streams(), st.integers(1, 4), st.booleans(), st.booleans())
def test_both_ways_agree(
    stream: tuple[str, list[dict[str, Any]]],
    split: int,
    caught_up: bool,  # noqa: FBT001 - drawn
    as_text: bool,  # noqa: FBT001 - drawn
) -> None:
    """The same batches, the same deadlines, the same declared lapses, for any layout, any change and either form."""
    layout, records = stream
    src = source(layout, lease_ms=5_000)
    # Two sources on one stream take no heartbeats quickly; the second never gets to claim anything.
    quick, whole = Reader(SHARD, (src,), PUBLIC_KEYS), Reader(SHARD, (src, replace(src, id="other")), PUBLIC_KEYS)
    memories = Memory(), Memory()
    after = None
    for start in range(0, len(records), split):
        now = Now(CREATED_SECONDS * 1_000 + start * 3_000, start * 3_000)
        page = records[start : start + split]
        ours = quick.take_in(parsed(page) if as_text else page, memories[0], after, now)
        theirs = whole.take_in(page, memories[1], after, now)
        assert ours == theirs
        after = ours.last_position
        assert lapsed(memories[0].deadlines, now, caught_up=caught_up) == lapsed(
            memories[1].deadlines, now, caught_up=caught_up
        )
    assert memories[0].deadlines.next_deadline() == memories[1].deadlines.next_deadline()


def parsed(page: list[dict[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return a page as it comes out of its JSON; as it is, where JSON of it cannot be read."""
    try:
        return fast_parse.read_records(json.dumps(page).encode())
    except fast_parse.UnexpectedError:
        return page


def lapsed(book: Deadlines, now: Now, *, caught_up: bool) -> list[Any]:
    """Test what is due, declare the first and put off the second; return what was seen."""
    due = book.due(now, caught_up=caught_up, limit=9)
    for number, timer in enumerate(due):
        if number == 0:
            book.settle(timer, declared=True)
        else:
            book.put_off(timer, now.mono_ms + 1_000)
    return [*sorted(map(repr, due)), len(book), book.next_deadline()]


def test_a_flood_of_heartbeats_is_taken_quickly() -> None:
    """Else the bench would be the only one to notice that nothing is quick any more."""
    for layout in ("awslabs", "dynamolock", "spring2", "pydynlock", "iceberg", "tristanls-open"):
        start = plain_row(layout)
        src = source(layout)
        version = src.layouts[0].reader.version  # type: ignore[attr-defined]
        keys = {part: {"S": "a"} for part in src.key_schema.names}
        first = start | {version.attr: {"S": "v0"}}
        second = start | {version.attr: {"S": "v1"}}
        memory = Memory()
        reader = Reader(SHARD, (src,), PUBLIC_KEYS)
        reader.take_in([wire(1, keys, None, first)], memory, None, Now(0, 0))
        beats = src.layouts[0].pulse
        if layout == "tristanls-open":
            assert beats is None or beats.read(first, second) is None, "its versions are binary"
        else:
            assert beats is not None
            assert beats.read(first, second) is not None, layout


KEYS = st.lists(st.tuples(st.sampled_from("SNB"), st.text(max_size=8)), min_size=1, max_size=3).map(
    lambda parts: EntityKey(tuple(parts))
)
MS = st.integers(0, 10**14)
HOLDS = st.builds(
    Hold,
    kind=st.sampled_from(["lock", "session"]),
    key=KEYS,
    actor=st.none() | st.text(max_size=20),
    version=st.none() | st.text(max_size=20),
    lease_ms=st.none() | MS,
    deadline_ms=st.none() | MS,
    grace_ms=st.integers(-60_000, 10**9),
    created_ms=MS,
    armed=st.sampled_from([True]),
) | st.builds(
    Hold,
    kind=st.sampled_from(["lock"]),
    key=KEYS,
    actor=st.none() | st.text(max_size=20),
    version=st.none() | st.text(max_size=20),
    lease_ms=st.none(),
    deadline_ms=st.none(),
    grace_ms=st.just(0),
    created_ms=MS,
    armed=st.sampled_from([True]),
    stale_ms=MS,
)


@given(HOLDS, st.integers(0, 2**31), MS, MS)
def test_a_packed_hold_is_what_it_was(hold: Hold, slot: int, wall_ms: int, mono_ms: int) -> None:
    """Every member, its key too, and the instant of its receipt."""
    packed = held.pack(slot, hold, Now(wall_ms, mono_ms))
    assert held.unpack(held.unpack_key(held.pack_key(hold.key)), packed) == (hold, Now(wall_ms, mono_ms))
    assert held.slot_of(packed) == slot


@given(KEYS, KEYS)
def test_no_two_keys_pack_alike(one: EntityKey, other: EntityKey) -> None:
    """Else one lock's heartbeat would renew another."""
    assert (held.pack_key(one) == held.pack_key(other)) == (one == other)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=2))
def test_keys_of_text_pack_alike_both_ways(texts: list[str]) -> None:
    """From the record as it came, and from the decoded key."""
    key = EntityKey(tuple(("S", text) for text in texts))
    assert held.pack_texts([text.encode() for text in texts]) == held.pack_key(key)


@given(HOLDS, st.integers(0, 10**12), st.integers(0, 10**9))
def test_a_timer_comes_out_as_it_was_armed(hold: Hold, wall_ms: int, mono_ms: int) -> None:
    """What a deadline is made of survives being packed."""
    if hold.lease_ms is None and hold.deadline_ms is None and hold.stale_ms is None:
        return
    book = Deadlines()
    book.observe("src", hold.key, hold, recipe(), Now(wall_ms, mono_ms))
    timer = book.timer("src", hold.key)
    assert timer is not None
    assert timer.hold == hold
    assert book.next_deadline() == timer.early_ms
