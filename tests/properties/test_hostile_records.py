"""Law 1: whatever comes over the wire becomes a legal record at its place, or is a faulty page; nothing escapes."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from lockside.audit.items import PARTITION_BYTES_MAX, SORT_BYTES_MAX, Retention, change_item
from lockside.core.batch import Memory, Reader
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.log import LogHead, append
from lockside.core.now import Now
from lockside.errors import FaultyPageError
from tests.fakes.captures import CAPTURES, NAMES, read
from tests.fakes.sources import SHARD, source

RECORD_BYTES_MAX: Final = 64 * 1024
LAYOUTS: Final = {"dynamodb-session-flask": "session-web"}
RECORDS: Final = [(LAYOUTS.get(name, name), raw) for name in NAMES for raw in read(CAPTURES / f"{name}.jsonl")]
SOURCES: Final = {name: source(name) for name, _ in RECORDS}


def nested(levels: int) -> dict[str, Any]:
    """Nest maps as deep as asked."""
    return {"S": "x"} if levels == 0 else {"M": {"a": nested(levels - 1)}}


ODD: Final[list[Any]] = [
    *(None, True, 0, -1, 10**400, float("nan"), float("inf"), "", "\ud800", "\x00", [], {}, ["INSERT"]),
    *(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)),
    *({"S": "\ud800"}, {"S": ""}, {"S": '"' * 400_000}, {"S": "9999-12-31T23:59:59-14:00"}, {"S": "[" * 100_000}),
    *({"N": "1e125"}, {"N": "-1"}, {"N": "NaN"}, {"N": "1" * 39}, {"N": 5}, {"N": "253402300799.9999"}),
    *({"B": "!"}, {"B": b"\xff"}, {"B": b"\x00"}, {"NULL": True}, {"BOOL": "true"}, {"SS": "ab"}, {"BS": [1]}),
    *({"M": {"\ud800": {"S": "a"}}}, {"X": 1}, {"S": "a", "N": "1"}, nested(31), nested(60)),
    {"S": '{"_user_id": ' + "9" * 5_000 + "}"},
    {"S": '{"_user_id": "\\ud800"}'},
]
HOSTILE: Final = st.sampled_from(ODD) | st.text(max_size=5) | st.integers() | st.floats()


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a captured record with up to three of its values replaced, renamed or taken away, at any level."""
    layout, raw = draw(st.sampled_from(RECORDS))
    copy = json.loads(json.dumps(raw))
    for _ in range(draw(st.integers(1, 3))):
        at: Any = copy
        while True:
            name = draw(st.sampled_from(sorted(at)))
            if not isinstance(at[name], dict) or not at[name] or draw(st.booleans()):
                break
            at = at[name]
        value = at.pop(name)
        match draw(st.sampled_from(["replace", "replace", "rename", "remove"])):
            case "replace":
                at[name] = deepcopy(draw(HOSTILE))
            case "rename":
                at[draw(st.sampled_from(["", "\ud800", "a" * 70_000]))] = value
            case _:
                pass
        if not copy:
            break
    return layout, copy


@given(mutated(), st.integers(-(10**12), 10**14))
def test_a_hostile_record_is_taken_in_or_faulty(drawn: tuple[str, dict[str, Any]], wall_ms: int) -> None:
    """One record at most, legal in size and keys, the same at any time of day; and holds of bounded size."""
    layout, raw = drawn
    reader = Reader(SHARD, (SOURCES[layout],), PUBLIC_KEYS)
    memory = Memory()
    try:
        batch = reader.take_in([raw], memory, None, Now(wall_ms, 0))
    except FaultyPageError:
        return
    _, placed = append(LogHead("log", 0), batch.records)
    assert (batch.consumed, len(placed) <= 1) == (1, True)
    for one in placed:
        item = change_item(one, Retention())
        assert len(one.record.body) <= RECORD_BYTES_MAX
        assert len(item["pk"]["S"].encode()) <= PARTITION_BYTES_MAX
        assert len(item["sk"]["S"].encode()) <= SORT_BYTES_MAX
    again = reader.take_in([raw], Memory(), None, Now(0, 0))
    assert [record.body for record in again.records] == [record.body for record in batch.records]
    for change in batch.live.values():
        assert len(repr(change.hold)) < RECORD_BYTES_MAX
