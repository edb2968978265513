"""Items on their way into a replica: every type is kept, and two items are alike only if DynamoDB holds the same."""

from typing import Any

import pytest

from lockside.core import wire_form
from lockside.errors import WireFaultError

ITEM: dict[str, Any] = {
    "text": {"S": "é\u2028"},
    "empty": {"S": ""},
    "number": {"N": "1234567890123456789012345678901234567.8"},
    "binary": {"B": b"\x00\xff"},
    "true": {"BOOL": True},
    "null": {"NULL": True},
    "list": {"L": [{"N": "1"}, {"M": {"deep": {"B": b"\x01"}}}]},
    "texts": {"SS": ["b", "a"]},
    "numbers": {"NS": ["1", "2.5"]},
    "binaries": {"BS": [b"\x01", b""]},
    "map": {"M": {}},
}


def test_binary_changes_its_spelling_and_nothing_else_changes() -> None:
    """There and back again gives the same item."""
    spelled = wire_form.for_json(ITEM)
    assert spelled["binary"] == {"B": "AP8="}
    assert spelled["list"]["L"][1] == {"M": {"deep": {"B": "AQ=="}}}
    assert wire_form.for_boto3(spelled) == ITEM


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"N": "1"}, {"N": "1.0"}),
        ({"N": "100"}, {"N": "1E2"}),
        ({"SS": ["a", "b"]}, {"SS": ["b", "a"]}),
        ({"NS": ["1", "2"]}, {"NS": ["2.0", "1"]}),
        ({"B": b"\x01"}, {"B": "AQ=="}),
        ({"M": {"a": {"N": "1"}}}, {"M": {"a": {"N": "1.0"}}}),
    ],
)
def test_what_dynamodb_holds_alike_is_alike(one: Any, other: Any) -> None:
    """However it is spelled."""
    assert wire_form.differing({"a": one}, {"a": other}) == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"N": "1"}, {"BOOL": True}),
        ({"N": "1"}, {"S": "1"}),
        ({"SS": ["1"]}, {"NS": ["1"]}),
        ({"B": b"a"}, {"S": "a"}),
        ({"L": [{"N": "1"}, {"N": "2"}]}, {"L": [{"N": "2"}, {"N": "1"}]}),
        ({"NULL": True}, {"BOOL": False}),
        ({"N": "1"}, {"N": "1.0000000000000000000000000000000000001"}),
    ],
)
def test_what_dynamodb_holds_apart_differs(one: Any, other: Any) -> None:
    """Also where Python's own == would not tell: True is 1 there."""
    assert wire_form.differing({"a": one, "b": {"S": ""}}, {"a": other, "b": {"S": ""}}) == ("a",)


def test_an_attribute_that_only_one_has_differs() -> None:
    """In either direction."""
    assert wire_form.differing({"a": {"S": "x"}}, {"b": {"NULL": True}}) == ("a", "b")


@pytest.mark.parametrize(
    "value", [{"X": "1"}, {"S": "a", "N": "1"}, {"N": "nan"}, {"BOOL": 1}, {"M": []}, {"L": "ab"}, {"B": "é"}, "S"]
)
def test_what_is_no_wire_value_is_refused(value: Any) -> None:
    """Nothing of it is guessed."""
    with pytest.raises(WireFaultError):
        wire_form.for_boto3({"a": value})
