"""Everything besides the change that decides a change record's bytes (law 2).

The recipe stands in its log's genesis. A worker with another recipe seals the log and opens the next epoch.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import rfc8785

from lockside.core.entity import EntityKey, KeySchema, Kind
from lockside.core.row import Layout

INTERPRET_REVISION: Final = 1
"""Raised by hand whenever interpret or the record bytes change for any change; golden bytes guard it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings that decide record bytes for one source. `rows` is its filter as RFC 8785 JSON, None for none."""

    source_id: str
    kind: Kind
    layouts: tuple[tuple[str, str], ...]
    key_names: tuple[str, ...]
    pseudonymise: tuple[str, ...]
    entity_key_id: str
    image_key_id: str
    precision_ms: int
    clock_margin_ms: int
    refresh_bucket_ms: int
    lease_ms: int | None = None
    revision: int = INTERPRET_REVISION
    rows: str | None = None

    @property
    def mark(self) -> str:
        """Return what names this recipe in its records: the first 16 hex digits of its digest."""
        return _mark(self)

    def as_json(self) -> dict[str, Any]:
        """Return the recipe as genesis keeps it; numbers are small, so JSON holds them exactly."""
        return {
            "source": self.source_id,
            "kind": self.kind,
            "layouts": [list(pair) for pair in self.layouts],
            "key_names": list(self.key_names),
            "pseudonymise": list(self.pseudonymise),
            "entity_key": self.entity_key_id,
            "image_key": self.image_key_id,
            "precision_ms": self.precision_ms,
            "clock_margin_ms": self.clock_margin_ms,
            "refresh_bucket_ms": self.refresh_bucket_ms,
            "lease_ms": self.lease_ms,
            "revision": self.revision,
            # Only where there is one: a source without a filter keeps the recipe it had before there were filters.
            **({} if self.rows is None else {"rows": self.rows}),
        }


@cache
def _mark(recipe: Recipe) -> str:
    return recipe_digest(recipe.as_json())[:16]


@dataclass(frozen=True, slots=True)
class Source:
    """One watched table and what it holds: rows of one kind, in one or more layouts of one family.

    `stale_ms` is the age at which a held lock without any lease is told as stale, None for never. It is no part of the
    recipe: no change record depends on it.
    """

    id: str
    table: str
    kind: Kind
    layouts: tuple[Layout, ...]
    key_schema: KeySchema
    recipe: Recipe
    stale_ms: int | None = None

    def layout_for(self, key: EntityKey, image: Any) -> Layout | None:
        """Find the layout that claims an image."""
        return next((layout for layout in self.layouts if layout.claims(key, image)), None)


def recipe_json(sources: tuple[Source, ...]) -> dict[str, Any]:
    """Return the recipe of a whole log: those of all sources on its stream, in order."""
    return {"sources": [source.recipe.as_json() for source in sources]}


def recipe_digest(document: dict[str, Any]) -> str:
    """Digest a recipe: SHA-256 over its RFC 8785 bytes, in hex."""
    return hashlib.sha256(rfc8785.dumps(document)).hexdigest()
