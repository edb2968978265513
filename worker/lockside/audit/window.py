"""The stretch of time a reader asks about, and how people write instants: RFC 3339, or relative such as `-15m`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lockside.audit.items import TIME_MS_MAX, day_of, month_of
from lockside.errors import UsageError

UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DAY_MS: Final = UNIT_MS["d"]
RELATIVE: Final = re.compile(r"-(\d{1,9})([smhdw])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Window:
    """From `since_ms` on, up to but not including `until_ms`, both epoch milliseconds."""

    since_ms: int = 0
    until_ms: int = TIME_MS_MAX

    def __contains__(self, time_ms: int) -> bool:
        """Whether a time lies inside."""
        return self.since_ms <= time_ms < self.until_ms

    @property
    def first_day(self) -> str:
        """The first UTC day touched."""
        return day_of(self.since_ms)

    @property
    def last_day(self) -> str:
        """The last UTC day touched."""
        return day_of(self._last_ms)

    def months(self) -> list[str]:
        """Name the UTC months touched, in order."""
        year, month = map(int, month_of(self.since_ms).split("-"))
        last = month_of(self._last_ms)
        months: list[str] = []
        while (name := f"{year:04d}-{month:02d}") <= last:
            months.append(name)
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)  # noqa: PLR2004  # December
        return months

    @property
    def _last_ms(self) -> int:
        return max(self.since_ms, self.until_ms - 1)


def instant_ms(option: str, text: str, now_ms: int) -> int:
    """Read an instant. One without an offset is UTC, as everything in the trail is."""
    if relative := RELATIVE.fullmatch(text):
        return max(0, now_ms - int(relative[1]) * UNIT_MS[relative[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r}: should be an RFC 3339 time such as 2026-10-01T12:00:00Z, a date, or relative such as "
            f"-15m (units: {', '.join(UNIT_MS)})"
        ) from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0, int(aware.timestamp() * 1000))


def window(since: str | None, until: str | None, now_ms: int, default_since_ms: int) -> Window:
    """Read `--since` and `--until`; without the latter a day is added to now, for clocks that go ahead of this one."""
    since_ms = default_since_ms if since is None else instant_ms("--since", since, now_ms)
    until_ms = now_ms + DAY_MS if until is None else instant_ms("--until", until, now_ms)
    if since_ms >= until_ms:
        raise UsageError(f"--since {since} --until {until}: the first should be earlier than the second")
    return Window(since_ms, until_ms)
