"""Which layout a table's rows are in: how sure, and why.

Strategy: a row that a layout claims fits it as far as the row shows the layout's signature (the attributes a full row
has, with their types) without a fault on reading. Layouts are then chosen greedily: the one that explains most, and
beside it others of its family that explain what is left, since only a family shares a table. A layout of another family
that explains the same rows almost as well makes the answer less sure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lockside.core.attributes import Image
from lockside.core.entity import EntityKey
from lockside.layouts.claim import has_type, tag_of
from lockside.layouts.spec import Spec

Confidence = Literal["sure", "likely", "a guess"]

FIT_MIN: Final = 0.6
SCORE_MIN: Final = 0.3
SURE_SCORE: Final = 0.9
SURE_MARGIN: Final = 0.3
LIKELY_SCORE: Final = 0.6
LIKELY_MARGIN: Final = 0.1
KEY_WEIGHT: Final = 0.5
"""Renamable, so a key's name counts half of what an attribute counts."""

FAULT_COST: Final = 0.2


@dataclass(frozen=True, slots=True)
class Sample:
    """One row: its key as each layout may name it, and its image."""

    keys: Image
    image: Image


@dataclass(frozen=True, slots=True)
class Candidate:
    """How well one layout fits: a score from 0 to 1, how many rows fit, and reasons for and against it."""

    spec: Spec
    score: float
    rows: int
    reasons_for: tuple[str, ...]
    reasons_against: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Detection:
    """The layouts found, none if no layout fits; `candidates` are all that fit some row, or came near, best first.

    `doubts` is what names and shapes alone cannot settle and the user must.
    """

    chosen: tuple[Candidate, ...]
    candidates: tuple[Candidate, ...]
    sampled: int
    confidence: Confidence
    doubts: tuple[str, ...] = ()

    @property
    def layouts(self) -> tuple[Spec, ...]:
        """The layouts found."""
        return tuple(candidate.spec for candidate in self.chosen)


@dataclass(frozen=True, slots=True)
class _Fit:
    """One layout against all rows: each row's fit (None: not claimed), and what claimed rows lacked how often."""

    spec: Spec
    fits: tuple[float | None, ...]
    missing: tuple[tuple[str, int], ...]
    faults: tuple[str, ...]

    @property
    def claimed(self) -> int:
        """How many rows the layout claims."""
        return sum(value is not None for value in self.fits)

    @property
    def good(self) -> dict[int, float]:
        """The rows that fit, and how well."""
        return {i: value for i, value in enumerate(self.fits) if value is not None and value >= FIT_MIN}

    @property
    def score(self) -> float:
        """Mean fit of all claimed rows that fit, lowered by those that do not."""
        return sum(self.good.values()) / self.claimed if self.claimed else 0.0

    @property
    def total(self) -> float:
        """How much of the table the layout explains."""
        return sum(self.good.values())


def detect(samples: Sequence[Sample], specs: Iterable[Spec]) -> Detection:
    """Find the layouts that sampled rows are in. Rows with nothing but their key tell nothing and are passed over."""
    telling = [sample for sample in samples if len(sample.image) > len(sample.keys)]
    if not telling:
        return Detection((), (), 0, "a guess")
    tried = (spec for spec in specs if not spec.fallback)
    fits = sorted((_fit(spec, telling) for spec in tried), key=lambda fit: (-fit.total, -fit.score, fit.spec.name))
    candidates = tuple(_candidate(fit) for fit in fits if any(fit.fits))
    best = fits[0] if fits else None
    if best is None or best.score < SCORE_MIN:
        return Detection((), candidates, len(telling), "a guess")
    chosen = _cover(best, fits)
    rivals = [(fit, _rivalry(fit, best)) for fit in fits if fit.spec.family != best.spec.family]
    return Detection(
        chosen=tuple(_candidate(fit) for fit in chosen),
        candidates=candidates,
        sampled=len(telling),
        confidence=_confidence(best.score, 1.0 - max((share for _, share in rivals), default=0.0)),
        doubts=tuple(f"{fit.spec.name} fits as well" for fit, share in rivals if 1.0 - share < LIKELY_MARGIN),
    )


def _fit(spec: Spec, samples: Sequence[Sample]) -> _Fit:
    missing: dict[str, int] = {}
    faults: dict[str, None] = {}
    fits: list[float | None] = []
    for sample in samples:
        if not spec.claims(_key(spec, sample), sample.image):
            fits.append(None)
            continue
        absent = [name for name, types in spec.signature if not has_type(sample.image, name, types)]
        for name in absent:
            missing[name] = missing.get(name, 0) + 1
        read = spec.read(sample.image).faults
        faults |= dict.fromkeys(read)
        fits.append(_row_fit(spec, sample, len(absent), len(read)))
    return _Fit(spec, tuple(fits), tuple(missing.items()), tuple(faults))


def _row_fit(spec: Spec, sample: Sample, absent: int, faults: int) -> float:
    named = sum(name in sample.keys for name in spec.key_names)
    whole = len(spec.signature) + KEY_WEIGHT * len(spec.key_names)
    shown = len(spec.signature) - absent + KEY_WEIGHT * named
    return max(0.0, shown / whole - FAULT_COST * faults)


def _key(spec: Spec, sample: Sample) -> EntityKey:
    """Read the row's key in the layout's own order where it has those names, for rules on its parts."""
    own = [name for name in spec.key_names if name in sample.keys]
    names = own if len(own) == len(spec.key_names) else guess_order(sample.keys)
    return EntityKey(tuple((tag_of(sample.keys[name]) or "?", _text(sample.keys[name])) for name in names))


def _text(wire: object) -> str:
    value = next(iter(wire.values())) if isinstance(wire, dict) and wire else ""
    return value if isinstance(value, str) else ""


SORT_KEY_WORDS: Final = ("sk", "sort", "range")


def guess_order(names: Iterable[str]) -> list[str]:
    """Order key names when no table tells: what is named like a sort key comes last."""
    return sorted(names, key=lambda name: (any(word in name.lower() for word in SORT_KEY_WORDS), name))


def _cover(best: _Fit, fits: Sequence[_Fit]) -> list[_Fit]:
    """Take the best, then those of its family that explain rows which the ones before do not."""
    chosen, covered = [best], set(best.good)
    for fit in fits:
        if fit.spec.family == best.spec.family and fit.good.keys() - covered:
            chosen.append(fit)
            covered |= fit.good.keys()
    return chosen


def _rivalry(fit: _Fit, best: _Fit) -> float:
    """Tell how much of what the best explains another explains too."""
    return sum(value for i, value in fit.good.items() if i in best.good) / best.total


def _confidence(score: float, margin: float) -> Confidence:
    if score >= SURE_SCORE and margin >= SURE_MARGIN:
        return "sure"
    return "likely" if score >= LIKELY_SCORE and margin >= LIKELY_MARGIN else "a guess"


def _candidate(fit: _Fit) -> Candidate:
    missing = dict(fit.missing)
    shown = [name for name, _ in fit.spec.signature if missing.get(name, 0) < fit.claimed]
    against = [f"{count} of {fit.claimed} rows have no {name} as it should be" for name, count in fit.missing]
    against += [f"a value gave {fault}" for fault in fit.faults]
    return Candidate(
        spec=fit.spec,
        score=round(fit.score, 2),
        rows=len(fit.good),
        reasons_for=(f"rows have {', '.join(shown)}",) if shown else (),
        reasons_against=tuple(against),
    )
