"""How well one layout fits sampled rows, row by row.

Strategy: a row that a layout claims fits it as far as the row shows the layout's signature (the attributes a full row
has, with their types), is read without a fault, and has nothing that the layout does not know. Rows built alike are
read only up to a few; each then counts for more than one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from lockside.core.attributes import Image
from lockside.core.entity import EntityKey
from lockside.core.row import Row
from lockside.layouts.claim import KeyRule, has_type, tag_of
from lockside.layouts.overriding import attribute_names
from lockside.layouts.session import SessionReader
from lockside.layouts.spec import Spec

T = TypeVar("T")

FIT_MIN: Final = 0.65
KEY_WEIGHT: Final = 0.5
"""Renamable, so a key's name counts half of what an attribute counts."""

FAULT_COST: Final = 0.3
EXTRA_COST: Final = 0.04
EXTRAS_MAX: Final = 5
"""Many clients let their users add attributes, so a few that nobody knows say little."""

ROWS_OF_A_KIND_MAX: Final = 24
ROWS_MAX: Final = 4_000
"""Rows compared with every layout. Where names are data each row is a kind of its own, and some stand for all."""

COMMON_NAMES: Final = frozenset(
    {"created", "createdat", "created_at", "data", "expires", "expires_at", "id", "key", "name", "owner", "pk", "sk"}
    | {"status", "ttl", "type", "updated_at", "value", "version"}
)
"""Names that any application's rows may have: each tells half of what another name tells."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row: its key and its image. `in_order`: the key's names stand in the table's own order."""

    keys: Image
    image: Image
    in_order: bool = False


Kind = frozenset[tuple[str, str]]
"""What rows built alike share: attribute names with their types."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """One sampled row and how many rows it stands for."""

    sample: Sample
    kind: Kind
    weight: float


def weighed(samples: Iterable[Sample]) -> tuple[Weighed, ...]:
    """Thin rows that are built alike, in the order in which their kinds were met."""
    kinds: dict[Kind, list[Sample]] = defaultdict(list)
    for sample in samples:
        kinds[kind_of(sample)].append(sample)
    thinned: list[Weighed] = []
    for kind, rows in kinds.items():
        kept = _spread(rows, ROWS_OF_A_KIND_MAX)
        thinned += [Weighed(row, kind, len(rows) / len(kept)) for row in kept]
    some = _spread(thinned, ROWS_MAX)
    more = len(thinned) / len(some) if some else 1.0
    return tuple(replace(row, weight=row.weight * more) for row in some) if more > 1.0 else tuple(thinned)


def _spread(rows: Sequence[T], count_max: int) -> Sequence[T]:
    """Take so many rows at most, from all over."""
    return rows[:: max(1, -(-len(rows) // count_max))]


def kind_of(sample: Sample) -> Kind:
    """Tell how a row is built, besides its key."""
    return frozenset(
        (name, tag_of(wire) or "?") for name, wire in sample.image.items() if name not in sample.keys and name
    )


@dataclass(frozen=True, slots=True)
class Match:
    """One layout against all rows: each row's fit (None: not claimed), and what claimed rows lacked how often."""

    spec: Spec
    rows: tuple[Weighed, ...]
    fits: tuple[float | None, ...]
    missing: Mapping[str, float]
    faults: tuple[str, ...]
    evidence: float

    @property
    def claimed(self) -> float:
        """How many rows the layout claims."""
        return sum(row.weight for row, fit in zip(self.rows, self.fits, strict=True) if fit is not None)

    def good(self, at: int) -> bool:
        """Whether a row fits."""
        fit = self.fits[at]
        return fit is not None and fit >= FIT_MIN

    def strange(self) -> float:
        """Return the share of the rows that fit which have an attribute that the layout does not know."""
        known = known_names(self.spec)
        fitting = [row for at, row in enumerate(self.rows) if self.good(at)]
        odd = sum(row.weight for row in fitting if any(name not in known for name, _ in row.kind))
        return 0.0 if is_flat(self.spec) or not fitting else odd / sum(row.weight for row in fitting)

    def mean(self, rows: Iterable[int]) -> float:
        """Return the mean fit over some rows; a row that is not claimed fits with 0."""
        whole = total = 0.0
        for at in rows:
            whole += self.rows[at].weight
            total += self.rows[at].weight * (self.fits[at] or 0.0)
        return total / whole if whole else 0.0

    def count(self, rows: Iterable[int]) -> int:
        """Count what rows stand for."""
        return round(sum(self.rows[at].weight for at in rows))

    def read(self, rows: Iterable[int]) -> list[Row]:
        """Read rows by the layout."""
        return [self.spec.read(self.rows[at].sample.image) for at in rows]


def match(spec: Spec, rows: tuple[Weighed, ...]) -> Match:
    """Hold a layout against rows."""
    missing: dict[str, float] = {}
    faults: dict[str, None] = {}
    fits: list[float | None] = []
    known = known_names(spec)
    for row in rows:
        sample = row.sample
        if _is_anothers(spec, sample.image) or not spec.claims(key_of(spec, sample), sample.image):
            fits.append(None)
            continue
        absent = [
            name
            for name, types in spec.signature
            if not has_type(sample.image, name, types) and not _stands_elsewhere(spec, sample.image, name)
        ]
        for name in absent:
            missing[name] = missing.get(name, 0.0) + row.weight
        shown = _share_shown(spec, sample, len(absent))
        # What fits badly by its names is not worth reading: with fifty layouts most are such.
        read = spec.read(sample.image).faults if shown >= FIT_MIN else ()
        faults |= dict.fromkeys(read)
        extras = 0 if is_flat(spec) else sum(name not in known for name, _ in row.kind)
        fits.append(max(0.0, shown - FAULT_COST * len(read) - EXTRA_COST * min(extras, EXTRAS_MAX)))
    keys = [row.sample.keys for row, fit in zip(rows, fits, strict=True) if fit is not None][:1]
    return Match(spec, rows, tuple(fits), missing, tuple(faults), evidence(spec, *keys))


def _is_anothers(spec: Spec, image: Image) -> bool:
    """Whether a row has what the layout's client writes too, and of a type in which it never does."""
    return any(name in image and not has_type(image, name, types) for name, types in spec.carries)


def _share_shown(spec: Spec, sample: Sample, absent: int) -> float:
    named = sum(name in sample.keys for name in spec.key_names)
    whole = len(spec.signature) + KEY_WEIGHT * len(spec.key_names)
    return (len(spec.signature) - absent + KEY_WEIGHT * named) / whole


def evidence(spec: Spec, keys: Iterable[str] = ()) -> float:
    """Tell how much it says of a table that its rows have all that a layout names: 1 for each name that is its own.

    `keys` are the table's: an everyday key name says nothing, another as much as an attribute.
    """
    names = sum(0.5 if name.lower() in COMMON_NAMES else 1.0 for name, _ in spec.signature)
    named = sum(name in spec.key_names and name.lower() not in COMMON_NAMES for name in keys)
    values = sum(len(rule.equals) for rule in spec.rows.chain)
    rules = sum(_says_much(rule) for one in spec.rows.chain for rule in one.keys if rule is not None)
    return names + named + values + rules


def _says_much(rule: KeyRule) -> bool:
    return bool(rule.equals or rule.prefix or rule.suffix or rule.contains)


def has_own_keys(spec: Spec, samples: Iterable[Sample]) -> bool:
    """Whether all rows have a layout's key names, and not only such as any table may have."""
    own = set(spec.key_names)
    telling = any(name.lower() not in COMMON_NAMES for name in own)
    return telling and all(set(sample.keys) == own for sample in samples)


def known_names(spec: Spec) -> frozenset[str]:
    """Collect every attribute that a layout has a word for."""
    return attribute_names(spec.document) | {name for name, _ in (*spec.signature, *spec.carries)}


def is_flat(spec: Spec) -> bool:
    """Whether a layout takes all attributes of a row for its payload, so that none of them is strange to it."""
    return isinstance(spec.reader, SessionReader) and spec.reader.payload.attr is None


def key_of(spec: Spec, sample: Sample) -> EntityKey:
    """Read a row's key for rules on its parts: in the table's order, else the layout's own, else by their names."""
    keys = sample.keys
    own = [name for name in spec.key_names if name in keys]
    guessed = own if len(own) == len(spec.key_names) else guess_order(keys)
    names = list(keys) if sample.in_order else guessed
    return EntityKey(tuple((tag_of(keys[name]) or "?", _text(keys[name])) for name in names))


def _text(wire: object) -> str:
    value = next(iter(wire.values())) if isinstance(wire, dict) and wire else ""
    return value if isinstance(value, str) else ""


SORT_KEY_WORDS: Final = ("sk", "sort", "range")


def guess_order(names: Iterable[str]) -> list[str]:
    """Order key names when no table tells: what is named like a sort key comes last."""
    return sorted(names, key=lambda name: (any(word in name.lower() for word in SORT_KEY_WORDS), name))


def _stands_elsewhere(spec: Spec, image: Image, name: str) -> bool:
    """Whether a row has its deadline in the other attribute that the layout knows for it."""
    deadline = spec.reader.deadline
    other = deadline.otherwise if deadline is not None and deadline.field.attr == name else None
    return other is not None and has_type(image, other.field.attr, other.field.types)
