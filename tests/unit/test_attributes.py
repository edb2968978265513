"""The attribute codec: what it reads, and what it refuses by code."""

from decimal import Decimal

import pytest

from lockside.core import attributes
from lockside.errors import WireFaultError


def test_binary_reads_both_spellings() -> None:
    """Bytes as boto3 hands them over and base64 text as JSON does are the same value."""
    assert attributes.decode({"B": b"\x00\xff"}) == attributes.decode({"B": "AP8="}) == b"\x00\xff"


def test_number_keeps_all_digits() -> None:
    """A 38-digit number comes out digit by digit."""
    digits = "12345678901234567890123456789012345678"
    assert attributes.decode({"N": digits}) == Decimal(digits)


@pytest.mark.parametrize(
    ("text", "spelling"),
    [("5", "5"), ("5.0", "5"), ("5E0", "5"), ("-0", "0"), ("0.50", "0.5"), ("1E+2", "100"), ("1E+100", "1E+100")],
)
def test_numbers_have_one_spelling(text: str, spelling: str) -> None:
    """However a writer spells a number, it is named in one way."""
    assert attributes.number_text(attributes.number(text)) == spelling


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        ("text", "attribute_shape"),
        ({}, "attribute_shape"),
        ({"S": "a", "N": "1"}, "attribute_shape"),
        ({"X": "a"}, "attribute_type"),
        ({"S": 5}, "text"),
        ({"S": "\ud800"}, "text"),
        ({"N": "five"}, "number"),
        ({"N": "NaN"}, "number"),
        ({"N": "Infinity"}, "number"),
        ({"N": 5}, "number"),
        ({"N": "1" * 39}, "number"),
        ({"B": "not base64!"}, "binary"),
        ({"B": 7}, "binary"),
        ({"BOOL": "true"}, "attribute_shape"),
        ({"M": []}, "attribute_shape"),
        ({"L": {}}, "attribute_shape"),
        ({"SS": "abc"}, "attribute_shape"),
        ({"NS": ["x"]}, "number"),
    ],
)
def test_refuses_by_code(wire: object, code: str) -> None:
    """What is no attribute value is refused with a fixed word and without its contents."""
    with pytest.raises(WireFaultError) as caught:
        attributes.decode(wire)
    assert caught.value.code == code == str(caught.value)


def test_names_of_any_length_are_shown_at_the_cost_of_a_few() -> None:
    """A row of six names of the longest: searched whole for what looks like an id, they would take minutes."""
    shown = attributes.shown_names([chr(97 + n) * 65_535 for n in range(6)])
    assert shown == [chr(97 + n) * 64 + "…" for n in range(6)]


def test_an_id_in_a_name_is_left_out_wherever_it_stands() -> None:
    """Also where what is shown ends within it, and where the rest of the name is not read."""
    assert attributes.shown_names(["cart:4f9c22aa81"]) == ["cart:#"]
    assert attributes.shown_names(["x" * 55 + ":" + "Zk3vQ9rTt2mWx8Lb" * 20]) == ["x" * 55 + ":#…"]


def test_depth_is_limited() -> None:
    """Nesting beyond DynamoDB's 32 levels is refused, not recursed into."""
    wire: object = {"S": "x"}
    for _ in range(60):
        wire = {"L": [wire]}
    with pytest.raises(WireFaultError, match="depth"):
        attributes.decode(wire)
