"""The codec equals boto3's TypeDeserializer on everything DynamoDB can send."""

from typing import Any

from boto3.dynamodb.types import Binary, TypeDeserializer
from hypothesis import given
from hypothesis import strategies as st

from lockside.core import attributes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.one_of(
    st.integers(-(10**37), 10**37).map(str),
    st.decimals(-(10**10), 10**10, allow_nan=False, allow_infinity=False, places=6).map(str),
)
BINARY = st.binary(max_size=20)
SCALARS = st.one_of(
    st.builds(lambda v: {"S": v}, TEXT),
    st.builds(lambda v: {"N": v}, NUMBER),
    st.builds(lambda v: {"B": v}, BINARY),
    st.builds(lambda v: {"BOOL": v}, st.booleans()),
    st.just({"NULL": True}),
    st.builds(lambda v: {"SS": v}, st.lists(TEXT, min_size=1, max_size=4, unique=True)),
    st.builds(lambda v: {"NS": v}, st.lists(NUMBER, min_size=1, max_size=4, unique=True)),
    st.builds(lambda v: {"BS": v}, st.lists(BINARY, min_size=1, max_size=4, unique=True)),
)
WIRE = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(lambda v: {"L": v}, st.lists(inner, max_size=4)),
        st.builds(lambda v: {"M": v}, st.dictionaries(TEXT, inner, max_size=4)),
    ),
    max_leaves=12,
)


def plain(value: Any) -> Any:
    """Take boto3's Binary wrapper off, at every depth."""
    match value:
        case Binary():
            wrapped: Any = value
            return bytes(wrapped.value)
        case list():
            return [plain(v) for v in value]
        case dict():
            return {k: plain(v) for k, v in value.items()}
        case set() | frozenset():
            return frozenset(plain(v) for v in value)
        case _:
            return value


@given(WIRE)
def test_equals_type_deserializer(wire: Any) -> None:
    """For every attribute value, ours and boto3's reading are equal."""
    assert attributes.decode(wire) == plain(TypeDeserializer().deserialize(wire))
