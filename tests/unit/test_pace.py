"""How long a reader waits, how seldom it complains, and when it says that it has caught up."""

from datetime import UTC, datetime
from typing import Any

import pytest

from lockside.engines.discovery import spelled
from lockside.engines.embedded.pace import BackOff, Idle, Outage
from lockside.engines.tip import Tip

NOW_MS = 1_795_421_400_000


def test_idle_doubles_up_to_its_bound() -> None:
    """A page with data is followed soon, empty ones ever later."""
    idle = Idle(min_seconds=0.1, max_seconds=1.0)
    assert [idle.wait_seconds(pages) for pages in (-1, 0, 1, 2, 3, 4, 10_000)] == [0.1, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(("jitter", "waits"), [(0.0, [0.1, 0.2, 5.0]), (1.0, [0.2, 0.4, 10.0])])
def test_back_off_is_between_half_and_all_of_its_step(jitter: float, waits: list[float]) -> None:
    """Shards that failed together come back apart."""
    back_off = BackOff(first_seconds=0.2, max_seconds=10.0)
    assert [back_off.wait_seconds(failures, lambda: jitter) for failures in (1, 2, 10_000)] == waits


def test_an_outage_is_told_of_now_and_then() -> None:
    """At its beginning, at each doubling, and regularly after that."""
    outage = Outage()
    told = [attempt for attempt in range(1, 101) if outage.failed(attempt * 1000)]
    assert told == [1, 2, 4, 8, 16, 32, 64, 96]
    assert outage.seconds(101_000) == 100.0
    outage.over()
    assert outage.failed(500_000)
    assert outage.seconds(500_000) == 0.0


def page(*ages_seconds: int) -> list[dict[str, Any]]:
    """Build a page of records of these ages."""
    return [
        {"dynamodb": {"ApproximateCreationDateTime": datetime.fromtimestamp(NOW_MS / 1000 - age, UTC)}}
        for age in ages_seconds
    ]


@pytest.mark.parametrize(
    ("pages", "caught_up"),
    [
        pytest.param([page()], False, id="one empty page proves nothing"),
        pytest.param([page()] * 3, True, id="three do"),
        pytest.param([page(), page(900), page(), page()], False, id="three in a row"),
        pytest.param([page(900)], False, id="an old change"),
        pytest.param([page(900, 5)], True, id="a change of just now"),
        pytest.param([page(5, 5, 5)], False, id="a full page, however fresh"),
        pytest.param([*[page()] * 3, page(900)], True, id="an old change once caught up: it was delivered late"),
        pytest.param([*[page()] * 3, page(5, 5, 5)], False, id="behind again"),
        pytest.param([[{"dynamodb": {}}]], False, id="a change without a time"),
        pytest.param([[{"dynamodb": None}]], False, id="no change at all"),
    ],
)
def test_caught_up(pages: list[list[dict[str, Any]]], *, caught_up: bool) -> None:
    """Caught up means empty pages in a row, or a page that is not full and ends with a change of just now."""
    tip = Tip(precision_ms=1_000, full=3, empty_pages_needed=3)
    for records in pages:
        tip.page(records, NOW_MS)
    assert tip.caught_up is caught_up


def test_a_position_is_spelled_with_the_digits_the_api_asks_for() -> None:
    """DynamoDB Local numbers from 1, padded; real numbers have 21 digits and more."""
    assert spelled(7) == "000000000000000000007"
    assert spelled(10**25) == str(10**25)
