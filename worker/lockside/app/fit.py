"""Whether a table's rows are what its sources say: sampled rows held against their layouts and filters."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockside.app.finding import Finding
from lockside.app.sample import samples
from lockside.core.attributes import Image, shown_names
from lockside.core.entity import EntityKey, KeySchema, entity_key
from lockside.errors import WireFaultError
from lockside.layouts import units
from lockside.layouts.detect import Detection, detect
from lockside.layouts.schema import Rows

if TYPE_CHECKING:
    from lockside.core.row import Row
    from lockside.layouts.registry import Registry
    from lockside.layouts.spec import Spec
    from lockside.settings import SourceSettings

KINDS_SHOWN_MAX: Final = 3
IMPLAUSIBLE_BELOW: Final = 0.5


@dataclass(frozen=True, slots=True)
class Watcher:
    """One source of a table: its number in the settings, and its layouts."""

    number: int
    source: "SourceSettings"
    specs: tuple["Spec", ...]

    @property
    def setting(self) -> str:
        """The setting that a misfit is told of."""
        return f"source[{self.number}].layout"

    @property
    def named(self) -> str:
        """The layout as the settings name it."""
        return f"layout {self.source.layout}"

    def claims(self, key: EntityKey, row: Image) -> bool:
        """Whether a row is the source's, if no source before it has it."""
        return any(spec.claims(key, row) for spec in self.specs)


def findings(
    watchers: Sequence[Watcher], schema: KeySchema, rows: Sequence[Image], known: "Registry"
) -> Iterator[Finding]:
    """Compare a table's rows with its sources; rows are counted, and named by their attributes only."""
    if len(watchers) == 1 and watchers[0].source.rows == Rows():
        yield _alone(watchers[0], schema, rows, known)
        return
    table = watchers[0].source.table
    owners = [_owners(watchers, schema, row) for row in rows]
    for watcher in watchers:
        own = sum(bool(found) and found[0] is watcher for found in owners)
        if own:
            yield Finding("good", table, watcher.setting, f"{watcher.named} has {own} of {len(rows)} sampled rows")
        else:
            what = f"{watcher.named} has none of the {len(rows)} sampled rows"
            yield Finding("warning", table, watcher.setting, what, "look at its rows = { ... }, and at the order")
    shared = sum(len(found) > 1 for found in owners)
    if shared:
        what = f"{shared} of {len(rows)} sampled rows are claimed by several sources; the first in the file has them"
        yield Finding("warning", table, "source.rows", what, "part them with rows = { ... } if that is not meant")
    yield from _unclaimed(table, [row for row, found in zip(rows, owners, strict=True) if not found], len(rows))


def _owners(watchers: Sequence[Watcher], schema: KeySchema, row: Image) -> list[Watcher]:
    try:
        key = entity_key(row, schema)
    except WireFaultError:
        return []
    return [watcher for watcher in watchers if watcher.claims(key, row)]


def _unclaimed(table: str, rows: Sequence[Image], sampled: int) -> Iterator[Finding]:
    if not rows:
        return
    kinds = Counter(tuple(shown_names(row)) for row in rows).most_common(KINDS_SHOWN_MAX)
    told = "; ".join(", ".join(names) for names, _ in kinds)
    what = f"{len(rows)} of {sampled} sampled rows belong to no source; they have {told}"
    yield Finding("note", table, "source.rows", what, "they are counted (lockside_unclaimed_total) and not recorded")


def _alone(watcher: Watcher, schema: KeySchema, rows: Sequence[Image], known: "Registry") -> Finding:
    table, setting, named = watcher.source.table, watcher.setting, watcher.named
    if not rows:
        return Finding("warning", table, setting, f"the table is empty; {named} could not be compared")
    found = _detected(watcher.specs, schema, rows, known)
    names = [candidate.spec.name for candidate in found.chosen]
    looks = f"they look like {' and '.join(names)} ({found.confidence})"
    fitting = sum(bool(_owners([watcher], schema, row)) for row in rows)
    if found.confidence == "sure" and not {spec.name for spec in watcher.specs} & set(names):
        # A session layout may take every row of its table, so that it does is no sign that it fits.
        return Finding("fault", table, setting, f"{named} is not that of the {len(rows)} sampled rows", looks)
    share = units.plausible(list(_read(watcher, schema, rows)))
    if share is not None and share < IMPLAUSIBLE_BELOW:
        what = f"leases or deadlines of the {len(rows)} sampled rows, read by {named}, are none that people store"
        return Finding("warning", table, setting, what, looks if names else "is its unit right?")
    if fitting == len(rows):
        return Finding("good", table, setting, f"{named} fits all {len(rows)} sampled rows")
    what = f"{named} fits {fitting} of {len(rows)} sampled rows"
    fix = looks if names else "see what they are: lockside explain on records of its stream"
    return Finding("warning" if fitting else "fault", table, setting, what, fix)


def _read(watcher: Watcher, schema: KeySchema, rows: Sequence[Image]) -> "Iterator[Row]":
    for row in rows:
        try:
            key = entity_key(row, schema)
        except WireFaultError:
            continue
        yield from (spec.read(row) for spec in watcher.specs if spec.claims(key, row))


def _detected(own: Sequence["Spec"], schema: KeySchema, rows: Sequence[Image], known: "Registry") -> Detection:
    """Detect the rows' layout among all, the source's own with its overrides."""
    names = {layout.name for layout in own}
    return detect(samples(rows, schema), (*own, *(layout for layout in known if layout.name not in names)))


def by_table(watchers: Sequence[Watcher]) -> Mapping[str, list[Watcher]]:
    """Group sources by their table."""
    grouped: dict[str, list[Watcher]] = {}
    for watcher in watchers:
        grouped.setdefault(watcher.source.table, []).append(watcher)
    return grouped
