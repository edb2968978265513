"""Properties of the layouts: reading never fails, whatever stands in a row, and says the same of equal rows."""

import json
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from lockside.core.entity import EntityKey
from lockside.core.row import LockRow, SessionRow
from lockside.layouts import payload
from lockside.layouts.detect import Sample, detect
from lockside.layouts.registry import builtin
from lockside.layouts.spec import Spec
from tests.fakes.cases import all_cases

CAPTURES = Path(__file__).parents[1] / "captures"
SPECS = list(builtin())
IMAGES: list[dict[str, Any]] = [
    json.loads(line)["dynamodb"].get("NewImage", {})
    for path in sorted(CAPTURES.glob("*.jsonl"))
    if not path.stem.endswith(".truth")
    for line in path.read_text().splitlines()
]
IMAGES += [dict(row) for _, case in all_cases() for row in (case.old, case.new) if row is not None]
KEYS = [EntityKey((("S", "x"),)), EntityKey((("S", "USER#1"), ("S", "SESSION#1")))]

texts = st.text(st.characters(), max_size=20) | st.from_regex(r"[0-9.e+-]{1,8}", fullmatch=True)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=20)
tags = st.sampled_from(["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS", "X"])
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(tags | texts, inner, max_size=3),
    max_leaves=10,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8"), max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=15,
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a row of a capture with some attributes replaced by anything at all, or taken away."""
    image = dict(draw(st.sampled_from(IMAGES)))
    for name in draw(st.lists(st.sampled_from(sorted(image) or ["id"]), max_size=4, unique=True)):
        image[name] = draw(anything)
    for name in draw(st.lists(st.sampled_from(sorted(image) or ["id"]), max_size=2, unique=True)):
        image.pop(name, None)
    return image


@given(mutated(), st.sampled_from(SPECS), st.sampled_from(KEYS))
def test_reading_a_mutated_row_never_fails(image: dict[str, Any], spec: Spec, key: EntityKey) -> None:
    """Claiming and reading give an answer for every row, the same each time, and change nothing in it."""
    before = repr(image)
    claimed = spec.claims(key, image)
    row = spec.read(image)
    assert (spec.claims(key, image), spec.read(image)) == (claimed, row)
    assert repr(image) == before
    match row:
        case LockRow():
            assert row.lease_ms is None or row.lease_ms >= 0
        case SessionRow():
            assert row.payload is None or len(row.payload) == 64


@given(st.lists(mutated(), max_size=4), mutated())
def test_detection_never_fails(images: list[dict[str, Any]], keys: dict[str, Any]) -> None:
    """Detection gives an answer for every sample, with scores from 0 to 1."""
    detection = detect([Sample(keys, image) for image in images], SPECS)
    assert all(0 <= candidate.score <= 1 for candidate in detection.candidates)


@given(plain)
def test_digest_does_not_depend_on_order(value: Any) -> None:
    """Maps are digested alike in whatever order their members stand."""
    assert payload.digest(value) == payload.digest(turned(value))


@given(plain, plain)
def test_digest_tells_values_apart(one: Any, other: Any) -> None:
    """Two values have one digest only if they are equal, types included."""
    same = msgpack.packb(ordered(one)) == msgpack.packb(ordered(other))
    assert (payload.digest(one) == payload.digest(other)) is same


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), plain, max_size=4))
def test_codecs_agree(value: dict[str, Any]) -> None:
    """What both codecs can hold has one digest through either."""
    spelled = payload.decode(json.dumps(value), ("json",))
    packed = payload.decode(msgpack.packb(value), ("msgpack", "json"))
    assert payload.digest(spelled) == payload.digest(packed) == payload.digest(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_payload_or_unreadable(raw: bytes) -> None:
    """No bytes make the decoder fail in any other way than the one it names."""
    try:
        value = payload.decode(raw, ("msgpack", "json"))
    except payload.UnreadableError:
        return
    assert isinstance(value, dict) or not value


def turned(value: Any) -> Any:
    """Turn every map's order around."""
    match value:
        case dict():
            return {name: turned(value[name]) for name in reversed(value)}
        case list():
            return [turned(member) for member in value]
        case _:
            return value


def ordered(value: Any) -> Any:
    """Put every map in one order."""
    match value:
        case dict():
            return {name: ordered(value[name]) for name in sorted(value)}
        case list():
            return [ordered(member) for member in value]
        case _:
            return value
