"""How people say when, and which days and months that touches."""

import pytest

from lockside.audit.window import DAY_MS, Window, instant_ms, window
from lockside.errors import UsageError
from tests.fakes.clock import START_MS

NOW = START_MS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-15m", NOW - 900_000),
        ("-2h", NOW - 7_200_000),
        ("-30d", NOW - 30 * DAY_MS),
        ("-1w", NOW - 7 * DAY_MS),
        ("-90s", NOW - 90_000),
        ("-999999999w", 0),
        ("2026-11-23T05:30:00Z", 1_795_411_800_000),
        ("2026-11-23T05:30:00.250Z", 1_795_411_800_250),
        ("2026-11-23T06:30:00+01:00", 1_795_411_800_000),
        ("2026-11-23T05:30:00", 1_795_411_800_000),
        ("2026-11-23", 1_795_392_000_000),
        ("0001-01-01T00:00:00Z", 0),
    ],
)
def test_instants_are_read(text: str, expected: int) -> None:
    """RFC 3339, dates, and times before now are understood; without an offset it is UTC."""
    assert instant_ms("--since", text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "15m", "-15", "-1.5h", "-٣m", "2026-13-01", "-1y"])
def test_other_instants_are_refused_with_the_way_out(text: str) -> None:
    """The message names the option, the value and what is allowed."""
    with pytest.raises(UsageError, match="--until") as refusal:
        instant_ms("--until", text, NOW)
    assert repr(text) in str(refusal.value)
    assert "RFC 3339" in str(refusal.value)


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    """Since must be earlier than until."""
    with pytest.raises(UsageError, match="earlier"):
        window("-1h", "-2h", NOW, 0)


def test_a_window_without_ends_covers_what_clocks_that_go_ahead_may_write() -> None:
    """The default start is the caller's, and until is a day from now."""
    assert window(None, None, NOW, 5) == Window(5, NOW + DAY_MS)
    assert window("-1d", "-1h", NOW, 0) == Window(NOW - DAY_MS, NOW - 3_600_000)


def test_months_and_days_touched_are_named() -> None:
    """The last instant is left out, so a window up to midnight does not touch the next day or month."""
    december, february = 1_764_547_200_000, 1_769_904_000_000  # 2025-12-01 and 2026-02-01, UTC
    two_months = Window(december, february)
    assert two_months.months() == ["2025-12", "2026-01"]
    assert (two_months.first_day, two_months.last_day) == ("2025-12-01", "2026-01-31")
    assert Window(december, february + 1).months() == ["2025-12", "2026-01", "2026-02"]
    assert december in two_months
    assert february not in two_months
