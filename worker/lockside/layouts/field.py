"""One attribute of a row as a layout names it: found, checked for its type, turned into text, a lease or an instant.

Nothing here raises. A value that is not what the layout says becomes None and a fault: `<role>_missing`, `_unreadable`,
`_empty` or `_absurd`. A fault names the role, never the value.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal, DecimalException
from typing import Any, Final, Literal

from lockside.core import attributes
from lockside.core.attributes import Image
from lockside.errors import WireFaultError
from lockside.layouts import payload
from lockside.layouts.claim import has_type
from lockside.layouts.path import MISSING, Path, find

LeaseUnit = Literal["ms", "s", "go-duration"]
DeadlineUnit = Literal["s", "ms", "us", "ns", "auto", "iso"]

LEASE_MS_MAX: Final = 10 * 366 * 24 * 3_600_000
"""Ten years. A longer lease is an instant or a wrong unit."""

INSTANT_MS_MAX: Final = 253_402_300_800_000
"""The end of the year 9999. A later instant is a wrong unit."""

NULL: Final = frozenset({"NULL"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = Context(prec=80)
_EXPONENTS: Final[Mapping[str, int]] = {"s": 3, "ms": 0, "us": -3, "ns": -6}
_AUTO: Final[tuple[tuple[Decimal, str], ...]] = (
    (Decimal("1e17"), "ns"),
    (Decimal("1e14"), "us"),
    (Decimal("1e11"), "ms"),
)
_NUMERIC: Final = re.compile(r"[0-9]{1,38}(\.[0-9]{1,38})?", re.ASCII)
_GO_PART: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(h|ms|us|µs|μs|ns|m|s)")
_GO_MS: Final[Mapping[str, Decimal]] = {
    "h": Decimal(3_600_000),
    "m": Decimal(60_000),
    "s": Decimal(1000),
    "ms": Decimal(1),
    "us": Decimal("0.001"),
    "µs": Decimal("0.001"),
    "μs": Decimal("0.001"),
    "ns": Decimal("0.000001"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """Where a value stands: an attribute of the allowed types, or a path into the JSON text that it holds."""

    role: str
    attr: str
    types: frozenset[str]
    optional: bool = False
    path: Path | None = None
    binary: Literal["base64", "utf-8"] = "base64"

    def fault(self, faults: list[str], problem: str) -> None:
        """Note a fault of this role."""
        faults.append(f"{self.role}_{problem}")

    def value(self, image: Image, faults: list[str]) -> Any:
        """Return the decoded value, or None with a fault. An attribute of type NULL counts as absent."""
        wire = image.get(self.attr)
        if wire is None:
            self._absent(faults)
            return None
        try:
            value = attributes.decode(wire)
        except WireFaultError:
            self.fault(faults, "unreadable")
            return None
        if value is None:
            self._absent(faults)
            return None
        if next(iter(wire)) not in self.types:
            self.fault(faults, "unreadable")
            return None
        return value if self.path is None else self._within(value, self.path, faults)

    def _within(self, value: Any, path: Path, faults: list[str]) -> Any:
        try:
            inner = value if isinstance(value, dict) else payload.decode(value, ("json",))
        except (payload.UnreadableError, AttributeError, TypeError):
            self.fault(faults, "unreadable")
            return None
        found = find(inner, path)
        if found is MISSING or found is None:
            self._absent(faults)
            return None
        return found

    def _absent(self, faults: list[str]) -> None:
        if not self.optional:
            self.fault(faults, "missing")


def read_text(field: Field | None, image: Image, faults: list[str]) -> str | None:
    """Read a field as text: numbers in one spelling, binary as base64."""
    if field is None:
        return None
    match field.value(image, faults):
        case None:
            return None
        case "":
            field.fault(faults, "empty")
            return None
        case Decimal() as number:
            return attributes.number_text(number)
        case bytes() as binary if field.binary == "base64":
            return base64.b64encode(binary).decode()
        case bytes() as binary:
            return _text_in(binary, field, faults)
        case value if (spelled := payload.text_of(value)) is not None:
            return spelled
        case _:
            field.fault(faults, "unreadable")
            return None


def _text_in(binary: bytes, field: Field, faults: list[str]) -> str | None:
    try:
        text = binary.decode()
    except UnicodeDecodeError:
        field.fault(faults, "unreadable")
        return None
    if not text:
        field.fault(faults, "empty")
    return text or None


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease's length, counted from the write. A contender lets `times` such lengths pass.

    `elsewhere`: types that the attribute has where it holds a deadline, and so no lease.
    """

    field: Field
    unit: LeaseUnit
    times: int = 1
    elsewhere: frozenset[str] = frozenset()

    def read(self, image: Image, faults: list[str]) -> int | None:
        """Return milliseconds, rounded down. No number, a negative one or an absurd one is a fault."""
        if self.elsewhere and has_type(image, self.field.attr, self.elsewhere):
            return None
        value = self.field.value(image, faults)
        if value is None:
            return None
        length = _go_duration(value) if self.unit == "go-duration" else _as_ms(_number(value), self.unit)
        if length is None or not 0 <= length <= LEASE_MS_MAX:
            self.field.fault(faults, "unreadable")
            return None
        return length * self.times


@dataclass(frozen=True, slots=True)
class Deadline:
    """A stored instant. Text is ISO 8601 (without an offset: UTC), or a number where the unit is not `iso`.

    `otherwise`: where it stands if not here. `elsewhere`: types that the attribute has where it holds a lease, and so
    no instant.
    `never` are numbers in its place that mean none. An instant no later than `none_until`, or than `within_ms` after
    it, means none either. `offset_ms` is how much later than meant it is stored.
    """

    field: Field
    unit: DeadlineUnit
    otherwise: "Deadline | None" = None
    elsewhere: frozenset[str] = frozenset()
    never: frozenset[int] = frozenset()
    none_until: "Deadline | None" = None
    within_ms: int = 0
    offset_ms: int = 0

    def read(self, image: Image, faults: list[str]) -> int | None:
        """Return epoch milliseconds, rounded down; before 1970 or after the year 9999 is a fault."""
        if self.elsewhere and has_type(image, self.field.attr, self.elsewhere):
            return None
        if self.otherwise is not None and (self.field.attr not in image or has_type(image, self.field.attr, NULL)):
            return self.otherwise.read(image, faults)
        instant = self._stored(image, faults)
        if instant is None or self.none_until is None:
            return instant
        floor = self.none_until.read(image, [])
        return None if floor is not None and instant <= floor + self.within_ms else instant

    def _stored(self, image: Image, faults: list[str]) -> int | None:
        value = self.field.value(image, faults)
        if value is None:
            return None
        number = None if self.unit == "iso" else _number(value)
        if number is not None and number in self.never:
            return None
        instant = _iso_ms(value) if number is None else _as_ms(number, self.unit)
        if instant is None:
            self.field.fault(faults, "unreadable")
            return None
        instant -= self.offset_ms
        if not 0 <= instant < INSTANT_MS_MAX:
            self.field.fault(faults, "absurd")
            return None
        return instant


def _number(value: Any) -> Decimal | None:
    match value:
        case Decimal():
            return value
        case int() if not isinstance(value, bool):
            return Decimal(value)
        case str() if _NUMERIC.fullmatch(value):
            return Decimal(value)
        case _:
            return None


def _as_ms(value: Decimal | None, unit: str) -> int | None:
    """Scale to whole milliseconds. Exact: Flask-Session stores 32 digits, more than a default context keeps."""
    if value is None:
        return None
    if unit == "auto":
        unit = next((name for floor, name in _AUTO if value >= floor), "s")
    try:
        scaled = value.scaleb(_EXPONENTS[unit], context=_EXACT)
        return int(scaled.to_integral_value(rounding=ROUND_FLOOR, context=_EXACT))
    except DecimalException:
        return None


def _iso_ms(value: Any) -> int | None:
    # Digits alone would be read as a compact date.
    if not isinstance(value, str) or "-" not in value:
        return None
    try:
        instant = datetime.fromisoformat(value)
        aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None


def _go_duration(value: Any) -> int | None:
    """Read what Go's time.Duration prints: `20s`, `1m30s`, `500ms`."""
    if not isinstance(value, str):
        return None
    total, position = Decimal(0), 0
    while position < len(value):
        part = _GO_PART.match(value, position)
        if part is None:
            return None
        total += Decimal(part[1]) * _GO_MS[part[2]]
        position = part.end()
    return int(total.to_integral_value(rounding=ROUND_FLOOR)) if value else None
