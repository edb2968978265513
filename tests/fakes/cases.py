"""Cases of layouts: one operation of a client each, as records, and the event they must give.

`tests/cases/<layout>.toml` names the client's source, its operations, and rows by name. A row of a case is a name, or a
list of names and changes laid over each other, in which an attribute that becomes an empty table is taken away.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lockside.core import interpret
from lockside.core.attributes import Image
from lockside.core.decode import decode_record
from lockside.core.entity import KeySchema
from lockside.core.event import Interpretation
from lockside.core.recipe import Source
from lockside.layouts.registry import builtin
from tests.fakes.changes import recipe
from tests.fakes.sources import CREATED_SECONDS, SHARD, wire

FOLDER: Final = Path(__file__).parents[1] / "cases"
MEMBERS: Final = frozenset({"client", "operations", "keys", "settings", "attributes", "rows", "case", "also"})


@dataclass(frozen=True, slots=True)
class Case:
    """One operation as the stream shows it, and what it must give.

    `event` is None where there must be none. What a file does not name is not compared, but for `flags`: none are
    expected then. `after` names members of the hold that is left; "none" stands for nothing there.
    """

    layout: str
    operation: str
    cite: str
    old: Image | None
    new: Image | None
    event: str | None
    at: float = CREATED_SECONDS
    ttl: bool = False
    recorded: bool | None = None
    flags: tuple[str, ...] = ()
    certainty: str | None = None
    reason: str | None = None
    actor: str | None = None
    previous_actor: str | None = None
    authenticated: str | None = None
    after: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        """Name the case in the test's report."""
        return f"{self.operation}{f' ({self.note})' if self.note else ''}"


@dataclass(frozen=True, slots=True)
class CaseFile:
    """All cases of one layout. `operations` are those of the client, by its own words."""

    layout: str
    client: str
    operations: tuple[str, ...]
    source: Source = field(repr=False)
    cases: tuple[Case, ...] = field(repr=False)

    def __str__(self) -> str:
        """Name the file in the test's report."""
        return self.layout

    def raw(self, case: Case, position: int = 1) -> dict[str, Any]:
        """Make a case's record as the stream has it."""
        image = case.new if case.new is not None else case.old or {}
        keys = {name: image[name] for name in self.source.key_schema.names}
        return wire(position, keys, case.old, case.new, at=case.at, ttl=case.ttl)

    def told(self, case: Case) -> Interpretation:
        """Interpret a case's record."""
        change = decode_record(self.raw(case), SHARD, self.source.key_schema, self.source.recipe.precision_ms)
        return interpret.interpret_for(change, (self.source,))[1]


def case_files() -> dict[str, CaseFile]:
    """Read all case files, by layout."""
    return {path.stem: _file(path.stem, path) for path in sorted(FOLDER.glob("*.toml"))}


def all_cases() -> list[tuple[CaseFile, Case]]:
    """List every case with its file."""
    return [(file, case) for file in case_files().values() for case in file.cases]


def _file(layout: str, path: Path) -> CaseFile:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    if unknown := document.keys() - MEMBERS:
        raise ValueError(f"{path.name}: no such member: {', '.join(sorted(unknown))}")
    return CaseFile(
        layout=layout,
        client=document["client"],
        operations=tuple(document["operations"]),
        source=_source(layout, document),
        cases=tuple(cases_of(layout, document)),
    )


def _source(layout: str, document: Mapping[str, Any]) -> Source:
    """Make the source: `also` names layouts that share the table, `attributes` what its users renamed."""
    specs = builtin().resolve([layout, *document.get("also", ())])
    specs = tuple(spec.with_overrides(document.get("attributes", {})) for spec in specs)
    schema = KeySchema(tuple(document.get("keys", specs[0].key_names)))
    kind = specs[0].traits.kind
    made = recipe(
        source_id="src",
        kind=kind,
        layouts=tuple((spec.name, spec.digest) for spec in specs),
        key_names=schema.names,
        **document.get("settings", {}),
    )
    return Source("src", "table", kind, specs, schema, made)


def cases_of(layout: str, document: Mapping[str, Any]) -> Iterator[Case]:
    """Read the cases of a file."""
    for spelled in document["case"]:
        members = dict(spelled)
        rows = document.get("rows", {})
        old, new = (_row(members.pop(side, None), rows) for side in ("old", "new"))
        event = members.pop("event")
        flags = tuple(members.pop("flags", ()))
        yield Case(layout=layout, old=old, new=new, event=None if event == "none" else event, flags=flags, **members)


def _row(spelled: Any, rows: Mapping[str, Any]) -> Image | None:
    if spelled is None:
        return None
    return {name: wired for name, wired in _laid(spelled, rows).items() if wired != {}}


def _laid(spelled: Any, rows: Mapping[str, Any]) -> dict[str, Any]:
    match spelled:
        case str():
            return _laid(rows[spelled], rows)
        case list():
            row: dict[str, Any] = {}
            for part in spelled:
                row |= _laid(part, rows)
            return row
        case _:
            return dict(spelled)
