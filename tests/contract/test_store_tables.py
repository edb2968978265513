"""The stores' tables are made by whoever comes first, also where several come at once."""

from collections.abc import Callable
from typing import Any

import pytest

from lockside.emulators.emulator import Emulator
from lockside.errors import LimitError, SetupError
from lockside.stores import tables
from tests.fakes.dynamodb import service_error
from tests.fakes.faults import FaultyClient
from tests.fakes.store_desk import StoreDesk, make_desk


@pytest.fixture
def desk(emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return tables that are there, on moto."""
    return make_desk("moto", emulator_of)


def disabled(_operation: str, _call: Callable[[], Any]) -> Any:
    """Say that TTL is off, as it was a moment ago."""
    return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}


def already(operation: str, _call: Callable[[], Any]) -> Any:
    """Refuse as AWS does where TTL is on, or just being changed."""
    raise service_error("ValidationException", operation, "TimeToLive is already enabled")


def test_ttl_that_another_switched_on_in_between_is_on(desk: StoreDesk) -> None:
    """AWS refuses the second request as not valid: that is no other key schema."""
    watched = FaultyClient(desk.client)
    watched.fail("describe_time_to_live", disabled)
    watched.fail("update_time_to_live", already)
    tables.create(watched.client, tables.session_table(desk.sessions))
    assert watched.calls.count("update_time_to_live") == 1


def test_ttl_that_stays_off_is_told(desk: StoreDesk) -> None:
    """A refusal for another reason is not swallowed."""
    watched = FaultyClient(desk.client)
    watched.always["describe_time_to_live"] = disabled
    watched.fail("update_time_to_live", already)
    with pytest.raises(SetupError):
        tables.create(watched.client, tables.session_table(desk.sessions))


@pytest.mark.parametrize("name", ["t1", "orders/eu", "x" * 256])
def test_a_name_that_no_table_can_have_is_refused_before_it_is_sent(desk: StoreDesk, name: str) -> None:
    """DynamoDB's refusal is that of a table with another key schema, which would be told."""
    watched = FaultyClient(desk.client)
    with pytest.raises(LimitError, match="3 to 255 characters"):
        tables.create(watched.client, tables.phrase_table(name))
    assert watched.calls == []
