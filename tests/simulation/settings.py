"""What is watched in a world, and the two configurations that its workers may have."""

from dataclasses import replace
from typing import Any, Final

from lockside.core.recipe import Source
from tests.fakes.sources import source

LOCK_STYLES: Final = ("pydynlock", "awslabs")


def locks(style: str) -> Source:
    """Return a source of locks as one client library lays them out."""
    return source(style, source_id="locks")


def sessions() -> Source:
    """Return a source of login sessions."""
    return replace(source("flask-session", source_id="sessions"), table="sessions")


def configured(base: Source, *, other: bool) -> Source:
    """Return a source as one of the two configurations has it."""
    if not other:
        return base
    return replace(base, recipe=replace(base.recipe, pseudonymise=("owner", "principal"), refresh_bucket_ms=20_000))


def definition(watched: Source) -> dict[str, Any]:
    """Return the parameters of CreateTable for a watched table."""
    kinds = ("HASH", "RANGE")
    schema = [
        {"AttributeName": name, "KeyType": kind} for name, kind in zip(watched.key_schema.names, kinds, strict=False)
    ]
    return {"TableName": watched.table, "KeySchema": schema}
