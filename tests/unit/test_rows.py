"""Reading watched rows: what cannot be read is left out, and nobody waits."""

from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from lockside.core.entity import EntityKey
from lockside.reactions.rows import BATCH_KEYS_MAX, BatchRowReader
from tests.fakes.sources import source
from tests.fakes.streams import client_error

LOCKS = source("pydynlock")
DOWN = EndpointConnectionError(endpoint_url="http://localhost")


class Table:
    """Answers BatchGetItem with rows for even names, a few at a time, or with errors."""

    def __init__(self, *errors: Exception, answered_max: int = BATCH_KEYS_MAX) -> None:
        """Raise the errors first."""
        self.calls = 0
        self._errors = list(errors)
        self._answered_max = answered_max

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - as boto3 has it
        """Answer."""
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        keys = RequestItems[LOCKS.table]["Keys"]
        answered, left = keys[: self._answered_max], keys[self._answered_max :]
        rows = [key for key in answered if int(key["lock_key"]["S"]) % 2 == 0]
        unprocessed = {LOCKS.table: {"Keys": left}} if left else {}
        return {"Responses": {LOCKS.table: rows}, "UnprocessedKeys": unprocessed}


def names(number: int) -> list[EntityKey]:
    """Name so many rows."""
    return [EntityKey((("S", str(each)), ("S", "-"))) for each in range(number)]


def reader(table: Table) -> BatchRowReader:
    """Read that table."""
    return BatchRowReader(cast("Any", table))


def test_rows_are_read_in_batches_and_absent_ones_are_told() -> None:
    """Every key has an answer."""
    keys = names(BATCH_KEYS_MAX + 10)
    found = reader(table := Table()).read(LOCKS, keys)
    assert [found[key] is not None for key in keys] == [number % 2 == 0 for number in range(len(keys))]
    assert table.calls == 2


def test_unprocessed_keys_are_asked_for_as_long_as_rows_come() -> None:
    """The 16 MB of one answer are no fault."""
    keys = names(9)
    assert set(reader(Table(answered_max=2)).read(LOCKS, keys)) == set(keys)


def test_keys_that_stay_unprocessed_are_left_out() -> None:
    """An unread row is not an absent one."""
    assert reader(table := Table(answered_max=0)).read(LOCKS, names(3)) == {}
    assert table.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        client_error("ProvisionedThroughputExceededException", "BatchGetItem"),
        client_error("AccessDeniedException", "BatchGetItem"),
        client_error("InternalServerError", "BatchGetItem", 500),
        client_error("ResourceNotFoundException", "BatchGetItem"),
    ],
)
def test_a_table_that_refuses_holds_nobody_up(error: Exception) -> None:
    """A table that is down, denied or deleted must not keep the lapses of all others from being seen."""
    assert reader(table := Table(error)).read(LOCKS, names(250)) == {}
    assert table.calls == 1


def test_an_answer_without_rows_or_their_absence_is_none() -> None:
    """A whole `{}` says of no row that it is there or gone: unread, not absent, and nobody stops."""

    class Empty(Table):
        def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - as boto3 has it
            super().batch_get_item(RequestItems)
            return {}

    assert reader(table := Empty()).read(LOCKS, names(250)) == {}
    assert table.calls == 1


def test_a_refusal_nobody_knows_is_raised() -> None:
    """It is a fault of ours."""
    with pytest.raises(ClientError, match="ValidationException"):
        reader(Table(client_error("ValidationException", "BatchGetItem"))).read(LOCKS, names(1))
