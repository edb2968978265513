"""Which of two readings of the same attributes is the right one: what only values can tell, if anything can.

A number of seconds and a number of milliseconds have one shape. A stored instant settles it: DynamoDB is younger than
2012 and the year 2100 is far. A lease settles it where it would be a split second, or hours, in the other unit.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from lockside.core.row import LockRow, Row
from lockside.layouts.lock import LockReader
from lockside.layouts.spec import Spec

INSTANT_MS_MIN: Final = 1_325_376_000_000
"""The year 2012, in which DynamoDB began: an earlier deadline is in another unit."""

INSTANT_MS_END: Final = 4_102_444_800_000
"""The year 2100."""

LEASE_MS_MIN: Final = 1_000
LEASE_MS_MAX: Final = 3_600_000

READ_BADLY: Final = frozenset({"lease_unreadable", "lease_absurd", "deadline_unreadable", "deadline_absurd"})


def plausible(rows: Sequence[Row]) -> float | None:
    """Tell which share of the leases and deadlines read are what people store; None if there is nothing to judge by."""
    verdicts = [verdict for row in rows for verdict in _verdicts(row)]
    return sum(verdicts) / len(verdicts) if verdicts else None


def dated(rows: Sequence[Row]) -> bool:
    """Whether the rows store instants: one of our time is absurd in another unit, where a lease may be just long."""
    return any(row.deadline_ms for row in rows)


def _verdicts(row: Row) -> Iterator[bool]:
    for _ in READ_BADLY.intersection(row.faults):
        yield False
    if row.deadline_ms:  # 0 is a mark, not an instant
        yield INSTANT_MS_MIN <= row.deadline_ms < INSTANT_MS_END
    if isinstance(row, LockRow) and row.lease_ms is not None and not row.released:
        yield LEASE_MS_MIN <= row.lease_ms <= LEASE_MS_MAX


def alike(one: Spec, rows: Sequence[Row], other: Spec, others: Sequence[Row]) -> bool:
    """Whether two layouts read the same out of the same rows, so that it does not matter which it is."""
    return one.traits == other.traits and list(rows) == list(others)


def question(specs: Sequence[Spec]) -> str:
    """Spell what a person must answer where the rows are as well in one layout as in another; never a value."""
    parts = {unit for spec in specs for unit in _units(spec)}
    for role, attr in dict.fromkeys((role, attr) for role, attr, _ in sorted(parts)):
        units = {spec.name: unit for spec in specs for r, a, unit in _units(spec) if (r, a) == (role, attr)}
        if len(units) == len(specs) and len(set(units.values())) > 1:
            told = ", or ".join(f"{_unit(unit)} ({name})" for name, unit in units.items())
            return f"is {attr}, the {role}, in {told}? Its values do not tell"
    told = ", or ".join(f"{spec.about.client or spec.name} ({spec.name})" for spec in specs)
    return f"which client writes these rows: {told}? They are built the same, and are read differently"


def _units(spec: Spec) -> Iterator[tuple[str, str, str]]:
    reader = spec.reader
    if isinstance(reader, LockReader) and reader.lease is not None:
        yield "lease", reader.lease.field.attr, reader.lease.unit
    if reader.deadline is not None:
        yield "deadline", reader.deadline.field.attr, reader.deadline.unit


def _unit(unit: str) -> str:
    return {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}.get(unit, unit)
