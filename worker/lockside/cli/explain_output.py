"""How explanations look: one JSON object a line for a script, aligned lines for people."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

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


def as_json(explanation: Explanation) -> str:
    """Spell an explanation as one line of JSON."""
    document = asdict(explanation)
    del document["created_ms"]
    return json.dumps(document)


def as_lines(explanations: Iterable[Explanation]) -> Iterator[str]:
    """Spell explanations as aligned lines under a header."""
    iterator = iter(explanations)
    first = [_cells(explanation) for explanation in islice(iterator, ALIGNED_LINES)]
    widths = [min(WIDTH_MAX, max(map(len, column))) for column in zip(HEADER, *first, strict=True)]
    yield _line(HEADER, widths, None)
    for cells in first:
        yield _line(cells, widths, COLOURS.get(cells[1].partition(".")[2]))
    for explanation in iterator:
        cells = _cells(explanation)
        yield _line(cells, widths, COLOURS.get(cells[1].partition(".")[2]))


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
    if created_ms is None:
        return NONE
    return datetime.fromtimestamp(created_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _line(cells: Sequence[str], widths: Sequence[int], colour: str | None) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    if colour is not None:
        padded[1] = click.style(padded[1], fg=colour)
    return "  ".join(padded).rstrip()


def detection_lines(detection: "Detection") -> Iterator[str]:
    """Say which layout was detected, how sure, and why."""
    names = " and ".join(candidate.spec.name for candidate in detection.chosen)
    yield f"Layout: {names} ({detection.confidence}, from {detection.sampled} rows)"
    for candidate in detection.chosen:
        yield from _candidate_lines(candidate)
    chosen = {candidate.spec.name for candidate in detection.chosen}
    for candidate in detection.candidates:
        if candidate.spec.name not in chosen and candidate.rows:
            yield from _candidate_lines(candidate)
    for doubt in detection.doubts:
        yield f"  In doubt: {doubt}; say which with --layout"


def near_misses(detection: "Detection", limit: int = 3) -> Iterator[str]:
    """Say why the layouts that came nearest are not it."""
    for candidate in detection.candidates[:limit]:
        yield from _candidate_lines(candidate)


def _candidate_lines(candidate: "Candidate") -> Iterator[str]:
    yield f"  {candidate.spec.name}: score {candidate.score:.2f}, {candidate.rows} rows fit"
    for reason in candidate.reasons_for:
        yield f"    for: {reason}"
    for reason in candidate.reasons_against:
        yield f"    against: {reason}"
