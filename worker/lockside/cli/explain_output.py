"""How explanations look: one JSON object a line for a script, aligned lines for people."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from lockside.cli.rendering import shown

if TYPE_CHECKING:
    from lockside.layouts.detect import Candidate, Detection

HEADER: Final = ("TIME (UTC)", "EVENT", "ENTITY", "ACTOR", "NOTES")
ALIGNED_LINES: Final = 500
"""Column widths come from the first lines; longer cells later on stick out, and nothing has to be held."""

WIDTH_MAX: Final = 60
NONE: Final = "-"
COLOURS: Final[Mapping[str, str]] = {
    "acquired": "green",
    "started": "green",
    "authenticated": "green",
    "taken_over": "yellow",
    "changed": "yellow",
    "undecodable": "red",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one record means, as it is shown: nothing here is secret. `created_ms` is for people only."""

    sequence_number: str | None
    event: str | None
    recorded: bool
    authenticated: str | None
    entity: Mapping[str, str] | None
    actor: str | None
    previous_actor: str | None
    flags: tuple[str, ...]
    certainty: str | None
    reason: str
    created_ms: int | None = None


@dataclass(slots=True)
class HeldLock:
    """A lock in its owner's hand: what all its heartbeats say alike, with the rest of their lines once it is spelt."""

    explanation: Explanation
    json_rest: str = ""
    line_rest: str = ""


class Heartbeat(NamedTuple):
    """One heartbeat: all that is new in it, and the lock."""

    sequence_number: str
    created_ms: int
    held: HeldLock

    @property
    def explanation(self) -> Explanation:
        """The heartbeat spelt out like any other record."""
        return replace(self.held.explanation, sequence_number=self.sequence_number, created_ms=self.created_ms)


def as_json(explanation: Explanation | Heartbeat) -> str:
    """Spell an explanation as one line of JSON."""
    if type(explanation) is Heartbeat:
        held = explanation.held
        if not held.json_rest:
            held.json_rest = as_json(held.explanation).removeprefix(_json_opening("null"))
        # A sequence number is digits by then.
        return _json_opening(f'"{explanation.sequence_number}"') + held.json_rest
    document = asdict(_spelt_out(explanation))
    del document["created_ms"]
    return json.dumps(document)


def _json_opening(sequence_number: str) -> str:
    return f'{{"sequence_number": {sequence_number},'


def as_lines(explanations: Iterable[Explanation | Heartbeat]) -> Iterator[str]:
    """Spell explanations as aligned lines under a header."""
    iterator = iter(explanations)
    first = [_cells(_spelt_out(explanation)) for explanation in islice(iterator, ALIGNED_LINES)]
    widths = [min(WIDTH_MAX, max(map(len, column))) for column in zip(HEADER, *first, strict=True)]
    yield _line(HEADER, widths, None)
    for cells in first:
        yield _line(cells, widths, COLOURS.get(cells[1].partition(".")[2]))
    for explanation in iterator:
        if type(explanation) is Heartbeat:
            yield _heartbeat_line(explanation, widths)
            continue
        cells = _cells(_spelt_out(explanation))
        yield _line(cells, widths, COLOURS.get(cells[1].partition(".")[2]))


def _heartbeat_line(heartbeat: Heartbeat, widths: Sequence[int]) -> str:
    held = heartbeat.held
    if not held.line_rest:
        held.line_rest = _line(_cells(held.explanation), widths, None).removeprefix(NONE.ljust(widths[0]))
    return _time(heartbeat.created_ms).ljust(widths[0]) + held.line_rest


def _spelt_out(explanation: Explanation | Heartbeat) -> Explanation:
    return explanation.explanation if isinstance(explanation, Heartbeat) else explanation


def _cells(explanation: Explanation) -> Sequence[str]:
    actor = explanation.actor or NONE
    if explanation.previous_actor is not None and explanation.previous_actor != explanation.actor:
        actor = f"{explanation.previous_actor} → {actor}"
    cells = (
        _time(explanation.created_ms),
        explanation.event or NONE,
        explanation.entity["name"] if explanation.entity else NONE,
        actor,
        _notes(explanation),
    )
    return [shown(cell) for cell in cells]


def _notes(explanation: Explanation) -> str:
    notes = []
    if explanation.authenticated is not None and explanation.event is not None:
        notes.append(f"authenticated: {explanation.authenticated}")
    notes += explanation.flags
    if explanation.event is not None and not explanation.recorded:
        notes.append("not recorded")
    if explanation.certainty not in {None, "certain"}:
        notes.append(f"{explanation.certainty}")
    return "; ".join(filter(None, (", ".join(notes), explanation.reason.replace("_", " "))))


def _time(created_ms: int | None) -> str:
    return NONE if created_ms is None else _second(created_ms // 1000)


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _line(cells: Sequence[str], widths: Sequence[int], colour: str | None) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    if colour is not None:
        padded[1] = click.style(padded[1], fg=colour)
    return "  ".join(padded).rstrip()


def detection_lines(detection: "Detection") -> Iterator[str]:
    """Say which layouts were detected, how sure, and why."""
    for group in detection.groups:
        names = " and ".join(candidate.spec.name for candidate in group)
        rows = sum(candidate.rows for candidate in group)
        of = f"{rows} of {detection.sampled}" if len(detection.groups) > 1 else str(detection.sampled)
        yield f"Layout: {names} ({group[0].confidence}, from {of} rows)"
        for candidate in group:
            yield from _candidate_lines(candidate)
    if detection.stubs:
        yield f"  {detection.stubs} rows have only a part of the attributes: stubs, or rows that were emptied"
    for others, count in detection.others:
        yield f"  {count} rows are of no layout; they have {', '.join(others)}"


def near_misses(detection: "Detection", limit: int = 3) -> Iterator[str]:
    """Say why the layouts that came nearest are not it."""
    for candidate in detection.candidates[:limit]:
        yield from _candidate_lines(candidate)
    for spec in detection.by_key[:limit]:
        yield (
            f"  {spec.name}: it has this table's key, {' and '.join(spec.key_names)}; if the table is its clients', "
            "none of its rows was sampled"
        )


def _candidate_lines(candidate: "Candidate") -> Iterator[str]:
    yield f"  {candidate.spec.name}: score {candidate.score:.2f}, {candidate.rows} rows fit"
    for reason in candidate.reasons_for:
        yield f"    for: {shown(reason)}"
    for reason in candidate.reasons_against:
        yield f"    against: {shown(reason)}"
    if candidate.question is not None:
        yield f"    in doubt: {candidate.question}"
