"""The bounds of a scan of key phrases, as DynamoDB takes them."""

import pytest

from lockside.stores.phrase_scan import Span

KEY_BYTES_MAX = 1_024


@pytest.mark.parametrize("reverse", [False, True])
def test_a_bound_at_the_longest_key_is_one_that_dynamodb_takes(*, reverse: bool) -> None:
    """No bound is longer than a key may be, and the key itself is within."""
    longest = "k" * KEY_BYTES_MAX
    span = Span(reverse=reverse).within(longest)
    _, values = span.condition()
    assert [value["S"] for value in values.values()] == [longest]
    assert span.holds(longest)
    assert not span.holds("a" if reverse else longest[:-1] + "l")
    assert not span.is_empty


def test_bounds_one_within_another_keep_the_nearer() -> None:
    """Also beside an end that is not in the span."""
    span = Span(end="d").within("c").within("e")
    assert (span.holds("c"), span.holds("cc"), span.holds("d")) == (True, False, False)
    assert span.condition() == (" AND #sk <= :high", {":high": {"S": "c"}})
    assert Span(after="m").within("c").is_empty
