"""Attributes under other names: which of a layout's names stands for which of a table's.

Many clients let their users rename attributes. Where rows have most of a layout's signature and lack a name or two,
what they have instead is taken for it if its type is right and its name is near, or nothing else could be meant.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lockside.layouts.claim import has_type
from lockside.layouts.matching import FIT_MIN, Match, Weighed, evidence, is_flat, known_names, match
from lockside.layouts.overriding import attribute_names
from lockside.layouts.spec import Spec

MISSING_MAX: Final = 2
EVIDENCE_MIN: Final = 2.0
"""A layout of one or two everyday names would be found in every table."""

NEAR: Final = 0.55
NEARLY_ALIKE: Final = 0.75
"""How near names must be where as much is missing as is there."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """A layout with its attributes renamed, and how it matches. `names` is what a source's `attributes` would say."""

    spec: Spec
    names: Mapping[str, str]
    near: float
    match: Match


def renamed(specs: Sequence[Spec], rows: tuple[Weighed, ...]) -> Renamed | None:
    """Find the layout that rows are in under other names; None if none fits well enough."""
    found = [one for spec in specs if (one := _renamed(spec, rows)) is not None]
    return max(found, key=lambda one: (one.match.mean(range(len(rows))), one.near), default=None)


def _renamed(spec: Spec, rows: tuple[Weighed, ...]) -> Renamed | None:
    image = rows[0].sample.image
    absent = [(name, types) for name, types in spec.signature if not has_type(image, name, types)]
    shown = len(spec.signature) - len(absent)
    # What a row only shows, and nothing reads, has no other name: a source's `attributes` could not say it.
    read = attribute_names(spec.document)
    missing = [(name, types) for name, types in absent if name in read]
    if not missing or len(absent) > MISSING_MAX or shown == 0 or evidence(spec) < EVIDENCE_MIN or is_flat(spec):
        return None
    known = known_names(spec)
    free = {name for name, _ in rows[0].kind if name not in known}
    names: dict[str, str] = {}
    nearness = 1.0
    for name, types in missing:
        fitting = sorted((other for other in free if has_type(image, other, types)), key=lambda o: -_near(name, o))
        if not fitting or (_near(name, fitting[0]) < NEAR and len(fitting) > 1):
            return None
        names[name] = fitting[0]
        nearness = min(nearness, _near(name, fitting[0]))
        free.discard(fitting[0])
    if shown <= len(missing) and nearness < NEARLY_ALIKE:
        return None
    return _proved(spec, names, nearness, rows)


def _proved(spec: Spec, names: Mapping[str, str], nearness: float, rows: tuple[Weighed, ...]) -> Renamed | None:
    """Read the rows under the names guessed: a wrong guess mostly gives faults."""
    own = spec.with_overrides(names)
    found = match(own, rows)
    if found.faults or found.mean(range(len(rows))) < FIT_MIN:
        return None
    return Renamed(own, names, nearness, found)


def _near(name: str, other: str) -> float:
    plain, others = (text.lower().replace("_", "").replace("-", "") for text in (name, other))
    return difflib.SequenceMatcher(None, plain, others).ratio()
