"""A raw record as bytes and back."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockside.core import attributes
from lockside.core.lazy_image import LazyImage
from lockside.errors import WireFaultError
from lockside.state.raw_record import DEPTH_MAX, LOST, pack, unpack
from tests.fakes.captures import CAPTURES, NAMES, read

TEXT = st.text(st.characters())
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    TEXT,
    st.binary(max_size=40),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(fold=0)),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


@given(VALUES)
def test_what_comes_off_a_wire_comes_back_equal(value: Any) -> None:
    """Types too: true is not 1, bytes are not text."""
    assert repr(unpack(pack(value))) == repr(value)


@pytest.mark.parametrize("name", NAMES)
def test_every_capture_comes_back_equal(name: str) -> None:
    """Real records of real clients."""
    records = read(CAPTURES / f"{name}.jsonl")
    assert [unpack(pack(record)) for record in records] == records


def test_a_creation_time_keeps_its_instant() -> None:
    """As boto3 hands it over, with whatever offset."""
    at = datetime(2026, 11, 23, 9, 30, 0, 250_000, tzinfo=timezone(timedelta(hours=-3)))
    assert unpack(pack({"at": at})) == {"at": at}


def test_a_lone_surrogate_survives() -> None:
    """JSON can spell it and UTF-8 cannot; it is what made the record undecodable."""
    assert unpack(pack({"S": "a\ud800"})) == {"S": "a\ud800"}


@pytest.mark.parametrize("value", [object(), {1: "a"}, 1j])
def test_what_no_wire_can_carry_is_replaced_by_what_decodes_as_nothing(value: object) -> None:
    """It does not become null, which would mean an absent image."""
    assert unpack(pack({"NewImage": value})) == {"NewImage": LOST}
    with pytest.raises(WireFaultError):
        attributes.decode(unpack(pack(value)))


@pytest.mark.parametrize("number", [b"1e400", b"9" * 5_000])
def test_an_image_that_cannot_be_read_is_kept_as_its_text(number: bytes) -> None:
    """It is why the record was undecodable: a version that reads it must find it."""
    text = b'{"k":{"S":"a"},"x":{"N":' + number + b"}}"
    image = unpack(pack({"NewImage": LazyImage(text)}))["NewImage"]
    assert image.text == text
    with pytest.raises(WireFaultError, match="image_shape"):
        image.read()


def test_depth_is_bounded() -> None:
    """Deeper than the codec ever reads, a record is cut and not refused."""
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(10_000):
        inner["M"] = {}
        inner = inner["M"]
    assert len(pack(deep)) < DEPTH_MAX * 10
    with pytest.raises(WireFaultError, match="depth"):
        attributes.decode(unpack(pack({"M": {"a": nested(40)}})))


def nested(levels: int) -> dict[str, Any]:
    """Nest lists in lists."""
    return {"L": [nested(levels - 1)]} if levels else {"S": ""}


@pytest.mark.parametrize(
    "junk", [b"", b"\xc1", b"\x91" * 5_000, b"\xc7\x01\x09a", b"\x01\x01", b"\xd4\x01x", b"\x81\x90\x90", pack({})[:0]]
)
def test_foreign_bytes_are_refused(junk: bytes) -> None:
    """One kind of error, whatever is wrong."""
    with pytest.raises(ValueError, match=r"."):
        unpack(junk)
