"""Changes and recipes for tests of the core, made of rows rather than of wire records."""

from typing import Any, Final

from lockside.core.change import Change, Operation, ShardRef
from lockside.core.entity import EntityKey
from lockside.core.recipe import Recipe

SHARD: Final = ShardRef("arn:aws:dynamodb:us-east-1:123456789012:table/T/stream/2026-01-01T00:00:00.000", "shardId-1")
KEY: Final = EntityKey((("S", "job"),))
CREATED_MS: Final = 1_795_421_400_000


def recipe(**changes: Any) -> Recipe:
    """Build a recipe of one-second precision and two seconds' margin."""
    facts: dict[str, Any] = {
        "source_id": "src",
        "kind": "lock",
        "layouts": (("fake", "0"),),
        "key_names": ("id",),
        "pseudonymise": (),
        "entity_key_id": "public",
        "image_key_id": "public",
        "precision_ms": 1_000,
        "clock_margin_ms": 2_000,
        "refresh_bucket_ms": 3_600_000,
    }
    return Recipe(**(facts | changes))


def change(
    old: object, new: object, *, by_ttl: bool = False, created_ms: int = CREATED_MS, position: int = 1
) -> Change:
    """Build a change whose operation follows from which of the two rows are there."""
    operation: Operation = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    return Change(
        shard=SHARD,
        sequence_number=position,
        operation=operation,
        created_ms=created_ms,
        key=KEY,
        old=None if old is None else {},
        new=None if new is None else {},
        by_ttl=by_ttl,
    )
