"""What was truly held, from when until when: read off the rows themselves, beside everything the worker does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockside.core.change import ShardRef
from lockside.core.entity import PUBLIC_KEYS, EntityKey
from lockside.core.recipe import Source
from lockside.core.records import Naming, rfc3339
from tests.simulation.table import Accepted

Name = tuple[str, str, str]
"""One hold as records name it: event type of its lapse, partition key of its entity, version or deadline."""


@dataclass(slots=True)
class Span:
    """One hold: unchanged from its beginning until `ended_ms`; its lease runs out at `legal_ms`.

    `last` is the last change that left it as it is.
    """

    name: Name
    facts: tuple[Any, ...]
    legal_ms: int
    last: Accepted
    ended_ms: int | None = None

    @property
    def lapsed(self) -> bool:
        """Whether its lease ran out while it stood unchanged, as far as its end is known."""
        return self.ended_ms is None or self.ended_ms >= self.legal_ms


class Truth:
    """All holds of all tables."""

    def __init__(self) -> None:
        """Start with nothing held."""
        self.spans: dict[Name, list[Span]] = {}
        self.held: dict[tuple[str, EntityKey], Span] = {}

    def accept(self, source: Source, change: Accepted, after: Mapping[str, Any] | None) -> None:
        """Take in what a row has become."""
        entity = (source.id, change.key)
        facts = _facts(after)
        old = self.held.get(entity)
        if old is not None and facts is not None and old.facts == facts:
            old.last = change
            return
        if old is not None:
            old.ended_ms = change.at_ms
            del self.held[entity]
        if facts is not None:
            span = Span(_name(source, change.key, facts), facts, change.at_ms + _left_ms(facts, change), change)
            self.held[entity] = span
            self.spans.setdefault(span.name, []).append(span)


def name_of(event: Mapping[str, Any]) -> Name:
    """Name the hold that an observer record tells of."""
    data = event["data"]
    type_ = event["type"].removeprefix("dev.lockside.").removesuffix(".v1")
    return type_, f"E#{event['partitionkey']}", data["version"] if type_.startswith("lock.") else data["deadline"]


def _facts(row: Mapping[str, Any] | None) -> tuple[Any, ...] | None:
    """Read what makes a hold one and the same: owner, version, lease, deadline; None for a row that holds nothing."""
    match row:
        case {"record_version_number": {"S": version}, "owner_name": {"S": owner}, "lease_duration": {"N": seconds}}:
            return "lock", owner, version, int(seconds) * 1000
        case {"isReleased": _}:
            return None
        case {"recordVersionNumber": {"S": version}, "ownerName": {"S": owner}, "leaseDuration": {"S": milliseconds}}:
            return "lock", owner, version, int(milliseconds)
        case {"expiration": {"N": seconds}, "val": _}:
            return "session", None, None, round(float(seconds) * 1000)
        case _:
            return None


def _left_ms(facts: tuple[Any, ...], change: Accepted) -> int:
    kind, _, _, until = facts
    return int(until) if kind == "lock" else int(until) - change.at_ms


def _name(source: Source, key: EntityKey, facts: tuple[Any, ...]) -> Name:
    naming = Naming.of(source, PUBLIC_KEYS)
    kind, _, version, until = facts
    mark = naming.version(version) if kind == "lock" else rfc3339(until)
    assert mark is not None
    return f"{kind}.expired", f"E#{naming.entity_id(key)}", mark


def undecodable(change: Accepted) -> bool:
    """Whether a change cannot be understood by anybody."""
    return bool(change.raw["eventName"] == "MUTATE")


def label(shard: ShardRef) -> str:
    """Name a shard shortly."""
    return f"{shard.table}/{shard.shard_id[-4:]}"
