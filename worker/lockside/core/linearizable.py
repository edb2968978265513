"""Whether some order of the writes explains every read of one register. Pure: a history in, a verdict out.

Each operation took effect at one instant between its start and its end, and a read saw what the last write before its
own instant left. A write whose answer was lost took effect at some instant after its start, or never.

Strategy: the search of Wing and Gong (1993) with Lowe's cache (2017): operations are put in order one after another,
always one that began before the first end that is left; a set of placed operations that was met with the same value
leads nowhere twice. It is exponential at worst, and quick where values are unlike each other, as the trial's are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Literal

Value = str | None
"""What a register holds; None while there is nothing."""

Kind = Literal["read", "write", "swap", "refused"]
"""`swap` writes `value` over `expected` alone; `refused` is one that found something else there."""

STEPS_MAX: Final = 5_000_000
NEVER: Final = 1 << 62


class Answer(Enum):
    """What is known of a history."""

    EXPLAINED = "explained"
    UNEXPLAINED = "unexplained"
    NOT_FOUND_OUT = "not found out"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `end` is None where its outcome is not known: then it may take effect at any time, or never."""

    start: int
    end: int | None
    kind: Kind
    value: Value
    expected: Value = None
    who: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict, and for a history without an explanation the operation that no order gets past."""

    answer: Answer
    stuck: Operation | None = None


class _Entry:
    """The start or the end of an operation, in a list that operations are taken out of and put back into."""

    __slots__ = ("after", "before", "match", "place")

    def __init__(self, place: int) -> None:
        self.place = place
        self.match: _Entry | None = None
        self.before: _Entry | None = None
        self.after: _Entry | None = None

    def lift(self) -> None:
        """Take a start and its end out."""
        for entry in (self, self.match):
            if entry is None or entry.before is None:
                raise AssertionError("only a start that stands in the list is lifted")
            entry.before.after = entry.after
            if entry.after is not None:
                entry.after.before = entry.before

    def put_back(self) -> None:
        """Undo the last `lift`: the end first, as it was taken out last."""
        for entry in (self.match, self):
            if entry is None or entry.before is None:
                raise AssertionError("only a start that was lifted is put back")
            entry.before.after = entry
            if entry.after is not None:
                entry.after.before = entry


def explain(history: Iterable[Operation], steps_max: int = STEPS_MAX) -> Explanation:
    """Look for an order of one register's operations that explains them all; the register begins empty."""
    operations = _needed(list(history))
    head = _listed(operations)
    seen: set[tuple[int, Value]] = set()
    placed: list[tuple[_Entry, Value]] = []
    value: Value = None
    chosen, deepest, stuck = 0, -1, None
    entry = head.after
    for _ in range(steps_max):
        if head.after is None or entry is None:
            return Explanation(Answer.EXPLAINED)
        operation = operations[entry.place]
        if entry.match is not None:
            possible, left = _apply(operation, value)
            mark = (chosen | 1 << entry.place, left)
            if possible and mark not in seen:
                seen.add(mark)
                placed.append((entry, value))
                chosen, value = mark
                entry.lift()
                entry = head.after
            else:
                entry = entry.after
            continue
        # Its end is reached, and it could not be placed before: one of those that were goes elsewhere.
        if len(placed) > deepest:
            deepest, stuck = len(placed), operation
        if not placed:
            return Explanation(Answer.UNEXPLAINED, stuck)
        entry, value = placed.pop()
        chosen &= ~(1 << entry.place)
        entry.put_back()
        entry = entry.after
    return Explanation(Answer.NOT_FOUND_OUT, stuck)


def _apply(operation: Operation, value: Value) -> tuple[bool, Value]:
    """Say whether an operation may stand where the register holds `value`, and what it leaves."""
    match operation.kind:
        case "read":
            return value == operation.value, value
        case "write":
            return True, operation.value
        case "swap" if operation.end is None:
            return True, operation.value if value == operation.expected else value
        case "swap":
            return value == operation.expected, operation.value
        case "refused":
            return value != operation.expected, value


def _listed(operations: Sequence[Operation]) -> _Entry:
    """Chain all starts and ends in time; at one instant starts come first, as they may have overlapped."""
    moments: list[tuple[int, int, _Entry]] = []
    for place, operation in enumerate(operations):
        start, end = _Entry(place), _Entry(place)
        start.match = end
        moments.append((operation.start, 0, start))
        moments.append((NEVER if operation.end is None else operation.end, 1, end))
    head = last = _Entry(-1)
    for _, _, entry in sorted(moments, key=lambda moment: moment[:2]):
        last.after, entry.before = entry, last
        last = entry
    return head


def _needed(operations: Sequence[Operation]) -> list[Operation]:
    """Narrow writes of unknown outcome down, as each of them would go with everything after it.

    One whose value was seen took effect before that. One that nobody saw, where nobody was refused after it, may as
    well never have been.
    """
    ends = _seen(operations)
    refusals = [each.end for each in operations if each.kind == "refused" and each.end is not None]
    last_refusal = max(refusals, default=-1)
    left: list[Operation] = []
    for each in operations:
        if each.end is not None or each.value is None:
            left.append(each)
        elif each.value in ends:
            kind: Kind = "swap" if each.kind == "swap" else "write"
            left.append(replace(each, kind=kind, end=max(each.start, ends[each.value])))
        elif each.start <= last_refusal:
            left.append(each)
    return left


def _seen(operations: Sequence[Operation]) -> dict[Value, int]:
    """Return until when the value of a write was seen at the latest: by a read, or by a swap that took effect."""
    ends: dict[Value, int] = {}
    # Where the outcome of a swap is not known, it took effect if what it wrote was seen; and so on, back from there.
    swaps = [each for each in operations if each.kind == "swap" and each.end is None]
    fresh = [
        (each.value if each.kind == "read" else each.expected, each.end)
        for each in operations
        if each.kind in {"read", "swap"} and each.end is not None
    ]
    while fresh:
        for value, end in fresh:
            if value is not None:
                ends[value] = min(end, ends.get(value, NEVER))
        fresh = [(each.expected, ends[each.value]) for each in swaps if each.value in ends]
        swaps = [each for each in swaps if each.value not in ends]
    return ends
