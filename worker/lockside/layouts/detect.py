"""Which layouts a table's rows are in: how sure, and why.

Strategy: of all layouts the one that explains most rows is taken, among those that explain each row about as well as
any; then the next, for the rows that are left. So a table with several kinds of rows gives several layouts. Where
another layout explains the same rows as well, the two are read out: if they say the same it does not matter, if only
one gives leases and deadlines that people store it is that one, and otherwise nothing is chosen between them: it is a
question to a person. What is left are stubs of the layouts found, and rows of no layout.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, Literal

from lockside.core.attributes import shown_names
from lockside.core.row import Row
from lockside.layouts import units
from lockside.layouts.matching import (
    FIT_MIN,
    Match,
    Sample,
    Weighed,
    guess_order,
    has_own_keys,
    known_names,
    match,
    weighed,
)
from lockside.layouts.renaming import Renamed, renamed
from lockside.layouts.spec import Spec

__all__ = ["Candidate", "Detection", "Sample", "detect", "guess_order"]

Confidence = Literal["sure", "likely", "a guess"]

SURE_SCORE: Final = 0.9
SURE_MARGIN: Final = 0.1
SURE_EVIDENCE: Final = 2.0
LIKELY_SCORE: Final = 0.6
THIN_SCORE: Final = 0.75
THIN_STRANGE_MAX: Final = 0.5
"""A lock layout of a few everyday names (`owner`, `guid`) is likely only of rows that have them, and little else."""

ANOTHER_SCORE: Final = 0.8
EVIDENCE_MIN: Final = 1.0
"""A layout that says less of itself (one attribute `data`) is never chosen, only named."""

AS_WELL: Final = 0.05
"""Fits that lie so near are equally good."""

NEAR_BEST: Final = 0.1
ABOUT_AS_MUCH: Final = 0.8
BETTER_CLAIM: Final = 1.0
SETTLED: Final = 0.5
GROUPS_MAX: Final = 16
OTHERS_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Candidate:
    """How well one layout fits: a score from 0 to 1, how many rows fit, and reasons for and against it.

    `question` is what a person must answer before it may be chosen, `instead` the layouts it may be as well.
    `attributes` is the table's name for each attribute that was renamed.
    """

    spec: Spec
    score: float
    rows: int
    reasons_for: tuple[str, ...]
    reasons_against: tuple[str, ...]
    confidence: Confidence = "a guess"
    question: str | None = None
    instead: tuple[Spec, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """The layouts found, none if no layout fits; `candidates` are all that fit some row, or came near, best first.

    `sampled` counts rows that tell something, `stubs` those of them that have only a part of a chosen layout's
    attributes, `others` those of no layout: their attributes' names, and how many rows have them. `by_key` are layouts,
    if none fits, that have the table's key names: it may be theirs, and idle.
    """

    chosen: tuple[Candidate, ...]
    candidates: tuple[Candidate, ...]
    sampled: int
    confidence: Confidence
    doubts: tuple[str, ...] = ()
    stubs: int = 0
    others: tuple[tuple[tuple[str, ...], int], ...] = ()
    by_key: tuple[Spec, ...] = ()

    @property
    def groups(self) -> tuple[tuple[Candidate, ...], ...]:
        """The layouts found, those of one family together: each group would be a source."""
        order = list(dict.fromkeys(_group(candidate.spec) for candidate in self.chosen))
        ordered = sorted(self.chosen, key=lambda candidate: order.index(_group(candidate.spec)))
        return tuple(tuple(members) for _, members in groupby(ordered, key=lambda candidate: _group(candidate.spec)))

    @property
    def layouts(self) -> tuple[Spec, ...]:
        """The layouts of the first group."""
        return tuple(candidate.spec for candidate in self.groups[0]) if self.chosen else ()

    @property
    def question(self) -> str | None:
        """The first question that is open."""
        return next((candidate.question for candidate in self.chosen if candidate.question is not None), None)


def detect(samples: Sequence[Sample], specs: Iterable[Spec]) -> Detection:
    """Find the layouts that sampled rows are in. Rows with nothing but their key tell nothing and are passed over."""
    telling = [sample for sample in samples if len(sample.image) > len(sample.keys)]
    if not telling:
        return Detection((), (), 0, "a guess")
    rows = weighed(telling)
    # A layout that any row fits says nothing of what its rows look like.
    sought = [spec for spec in specs if not spec.fallback]
    matches = sorted((match(spec, rows) for spec in sought), key=lambda one: one.spec.name)
    search = _Search(rows, matches, set(range(len(rows))))
    search.run(sought)
    chosen = tuple(search.chosen)
    near = sorted(matches, key=lambda one: (-_total(one), -one.mean(range(len(rows))), one.spec.name))
    return Detection(
        chosen=chosen,
        candidates=tuple(_candidate(one, range(len(rows))) for one in near if any(one.fits)),
        sampled=len(telling),
        confidence=chosen[0].confidence if chosen else "a guess",
        doubts=tuple(candidate.question for candidate in chosen if candidate.question is not None),
        stubs=search.stubs,
        others=search.others(),
        by_key=() if chosen else tuple(one.spec for one in matches if has_own_keys(one.spec, telling)),
    )


@dataclass
class _Search:
    """The rows that are left, and what was found in the others.

    `matches` are those that may be chosen.
    """

    rows: tuple[Weighed, ...]
    matches: Sequence[Match]
    left: set[int]

    def __post_init__(self) -> None:
        """Find nothing yet."""
        self.chosen: list[Candidate] = []
        self.stubs = 0
        self.matches = [one for one in self.matches if one.evidence >= EVIDENCE_MIN]
        self._best = [max((one.fits[at] or 0.0 for one in self.matches), default=0.0) for at in range(len(self.rows))]

    def run(self, specs: Sequence[Spec]) -> None:
        """Take layouts until none explains what is left."""
        while self.left and len(self.chosen) < GROUPS_MAX:
            explained = [(self._explains(one), one) for one in self.matches if self._may_come(one)]
            most = max((total for total, _ in explained), default=0.0)
            if not most:
                break
            # Of those that explain about as much, the one that says most of its rows.
            about = [(one.evidence, total, one) for total, one in explained if total >= ABOUT_AS_MUCH * most]
            self._take(max(about, key=lambda each: each[:2])[2])
        self._set_stubs_aside()
        if self.left and (found := self._renamed(specs)) is not None:
            self._take_renamed(found)
            self._set_stubs_aside()

    def others(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Name how the rows are built that are left, the most first."""
        kinds: Counter[tuple[str, ...]] = Counter()
        for at in self.left:
            kinds[tuple(shown_names(self.rows[at].sample.image))] += round(self.rows[at].weight)
        return tuple(kinds.most_common(OTHERS_MAX))

    def _may_come(self, one: Match) -> bool:
        """Whether a layout fits well enough to be another one of the table: stubs of the first fit many a bit."""
        return not self.chosen or one.mean(self._own(one)) >= ANOTHER_SCORE

    def _explains(self, one: Match) -> float:
        return one.mean(self._own(one)) * one.count(self._own(one))

    def _own(self, one: Match) -> list[int]:
        """Find the rows left that a layout explains about as well as any."""
        return [at for at in sorted(self.left) if one.good(at) and (one.fits[at] or 0) >= self._best[at] - NEAR_BEST]

    def _take(self, best: Match) -> None:
        own = self._own(best)
        score = best.mean(own)
        rivals = [one for one in self.matches if one is not best and score - one.mean(own) < SURE_MARGIN]
        # Whose own rules hold on these rows beside the same attributes has the better claim.
        rivals = [one for one in rivals if best.evidence - one.evidence < BETTER_CLAIM or one.mean(own) > score]
        rivals = [one for one in rivals if not units.alike(best.spec, best.read(own), one.spec, one.read(own))]
        judged = [best, *rivals]
        best, sound = _settled(best, rivals, own)
        open_ = [one for one in sound if best.mean(own) - one.mean(own) < AS_WELL]
        asked = [best.spec, *(one.spec for one in open_)]
        confidence = "a guess" if open_ else _confidence(best, best.mean(own), alone=not sound)
        taken = _candidate(best, own, confidence, units.question(asked) if open_ else None, tuple(asked[1:]))
        dropped = [one.spec for one in judged if one is not best and all(one is not kept for kept in sound)]
        self.chosen.append(_doubted(taken, best.read(own), dropped))
        self.left -= set(own)

    def _set_stubs_aside(self) -> None:
        """Count what has no name that a layout found does not know: a touch after the end, a lock on an unknown id."""
        for candidate in self.chosen:
            known = known_names(candidate.spec)
            stubs = {at for at in self.left if all(name in known for name, _ in self.rows[at].kind)}
            self.stubs += round(sum(self.rows[at].weight for at in stubs))
            self.left -= stubs

    def _renamed(self, specs: Sequence[Spec]) -> Renamed | None:
        weights: Counter[frozenset[tuple[str, str]]] = Counter()
        for at in self.left:
            weights[self.rows[at].kind] += round(self.rows[at].weight)
        ((most, _),) = weights.most_common(1)
        return renamed(specs, tuple(self.rows[at] for at in sorted(self.left) if self.rows[at].kind == most))

    def _take_renamed(self, found: Renamed) -> None:
        again = match(found.spec, self.rows)
        own = [at for at in sorted(self.left) if again.good(at)]
        candidate = _candidate(again, own, "likely" if found.near >= FIT_MIN else "a guess", None, (), found)
        self.chosen.append(candidate)
        self.left -= set(own)


def _settled(best: Match, rivals: Sequence[Match], rows: Sequence[int]) -> tuple[Match, list[Match]]:
    """Let values decide between layouts that differ in a unit: all that give absurd leases and deadlines drop out."""
    told = {id(one): units.plausible(one.read(rows)) for one in (best, *rivals)}
    judged = [share for share in told.values() if share is not None]
    if not judged:
        return best, list(rivals)
    sound = [one for one in (best, *rivals) if (share := told[id(one)]) is None or share > max(judged) - SETTLED]
    return sound[0], sound[1:]


def _doubted(taken: Candidate, rows: Sequence[Row], dropped: Sequence[Spec]) -> Candidate:
    """Lower the confidence of what rests on the length of leases: a long one is rare and legal."""
    share = units.plausible(rows)
    if share is not None and share < SETTLED:
        against = (*taken.reasons_against, "its leases or deadlines, read so, are none that people store")
        return replace(taken, confidence="a guess", reasons_against=against)
    if not dropped or units.dated(rows):
        return taken
    told = f"by the length of its leases alone, not {' or '.join(spec.name for spec in dropped)}"
    confidence: Confidence = "likely" if taken.confidence == "sure" else taken.confidence
    return replace(taken, confidence=confidence, reasons_for=(*taken.reasons_for, told))


def _confidence(found: Match, score: float, *, alone: bool) -> Confidence:
    if score >= SURE_SCORE and alone and found.evidence >= SURE_EVIDENCE:
        return "sure"
    # Sessions often have attributes of their users' own, so those say nothing there.
    thin = found.spec.traits.kind == "lock" and found.evidence <= SURE_EVIDENCE
    if thin and (score < THIN_SCORE or found.strange() > THIN_STRANGE_MAX):
        return "a guess"
    return "likely" if score >= LIKELY_SCORE else "a guess"


def _total(one: Match) -> float:
    return sum(row.weight * (one.fits[at] or 0.0) for at, row in enumerate(one.rows) if one.good(at))


def _group(spec: Spec) -> tuple[str, str]:
    return spec.traits.kind, spec.family


def _candidate(  # noqa: PLR0913, PLR0917 - all that is told of one
    one: Match,
    rows: Sequence[int],
    confidence: Confidence = "a guess",
    question: str | None = None,
    instead: tuple[Spec, ...] = (),
    names: Renamed | None = None,
) -> Candidate:
    spec, claimed = one.spec, round(one.claimed)
    shown = [name for name, _ in spec.signature if one.missing.get(name, 0) < one.claimed]
    reasons = [f"rows have {', '.join(shown)}"] if shown else []
    if names is not None:
        reasons += [f"{name} is called {other} here" for name, other in names.names.items()]
    against = [
        f"{round(count)} of {claimed} rows have no {name} as it should be" for name, count in one.missing.items()
    ]
    against += [f"a value gave {fault}" for fault in one.faults]
    good = [at for at in rows if one.good(at)]
    return Candidate(
        spec=spec,
        score=round(one.mean(good), 2),
        rows=one.count(good),
        reasons_for=tuple(reasons),
        reasons_against=tuple(against),
        confidence=confidence,
        question=question,
        instead=instead,
        attributes=tuple(names.names.items()) if names is not None else (),
    )
