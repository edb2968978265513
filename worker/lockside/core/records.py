"""From an event to the bytes that are kept: RFC 8785 JSON of a CloudEvents 1.0 event.

Nothing here depends on a clock, a host, a batch or what came before (law 2). What may stand in a record is listed here,
never what may not (law 7). Text is bounded, so that a record stays far below 64 KiB.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import rfc8785
from ulid import ULID

from lockside.core import locks, sessions
from lockside.core.change import Change, ShardRef, padded
from lockside.core.entity import EntityKey, Key, Keys, bounded, bounded_canonical, display_name, pseudonym
from lockside.core.event import Event
from lockside.core.recipe import Recipe, Source
from lockside.core.row import LockRow, SessionRow

TYPE_PREFIX: Final = "dev.lockside."
TYPE_SUFFIX: Final = ".v1"
"""Version of the members of `data`. Raised, with a new dataschema, when one changes its meaning."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

HASH_DIGITS: Final = 32
"""128 bits of an HMAC link two images as surely as 256 do, in half the bytes."""


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """The record of one event of one change.

    `pk` is `E#` and the entity id. `sort` is `<stream label>#<sequence number, padded 40>#<ordinal>`; the writer adds
    the log's epoch. `actor` is the actor as the record spells it, None where there is none to index. `body` is hashed.
    """

    pk: str
    sort: str
    id: str
    type: str
    time_ms: int
    position: int
    actor: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Naming:
    """How an entity and the people in it stand in records: in clear where the source allows it, else as pseudonyms."""

    source_id: str
    kind: str
    pseudonymise: tuple[str, ...]
    key: Key
    default_sort: str | None = None

    @classmethod
    def of(cls, source: Source, keys: Keys) -> "Naming":
        """Take what a source says."""
        default_sort = next((each.default_sort for each in source.layouts if each.default_sort is not None), None)
        return cls(source.id, source.kind, source.recipe.pseudonymise, keys.entity, default_sort)

    def entity(self, kind: str, key: EntityKey) -> dict[str, str]:
        """Spell an entity as records hold it."""
        return {"kind": kind, "name": self.name(key)}

    def entity_id(self, key: EntityKey) -> str:
        """Identify an entity across all sources: the source and its canonical key, a session's as its pseudonym."""
        hidden = self.kind == "session" or "name" in self.pseudonymise
        return f"{self.source_id}:{self._pseudonym_of(key) if hidden else bounded_canonical(key)}"

    def name(self, key: EntityKey) -> str:
        """Name an entity for people; a session is always its pseudonym."""
        if self.kind == "session" or "name" in self.pseudonymise:
            return self._pseudonym_of(key)
        return display_name(key, self.default_sort)

    def actor(self, actor: str | None) -> str | None:
        """Spell a lock's owner or a session's user."""
        if actor is None:
            return None
        hidden = "principal" if self.kind == "session" else "owner"
        # Bounded first, as a hold keeps it, so that change and observer records have one pseudonym for one name.
        shown = bounded(actor)
        return pseudonym(self.key, hidden, shown) if hidden in self.pseudonymise else shown

    def version(self, version: str | None) -> str | None:
        """Stand for a lock's version, which lets its bearer act on the lock."""
        return None if version is None else pseudonym(self.key, "version", version)

    def _pseudonym_of(self, key: EntityKey) -> str:
        return pseudonym(self.key, self.kind, key.canonical)


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when in a stream something stands."""

    shard: ShardRef
    position: int
    time_ms: int


def change_record(event: Event, change: Change, source: Source, keys: Keys) -> ChangeRecord:
    """Build the record of a change's event."""
    naming = Naming.of(source, keys)
    actor = naming.actor(event.actor)
    entity = naming.entity(event.kind, event.key)
    place = Place(change.shard, change.sequence_number, change.created_ms)
    data = {
        **_common(place, source.recipe),
        "operation": change.operation,
        "entity": entity,
        "actor": actor,
        "previous_actor": naming.actor(event.previous_actor),
        "flags": list(event.flags),
        "certainty": event.certainty,
        "reason": event.reason,
        "by_ttl": change.by_ttl or None,
        "before_hash": _image_hash(event.before, source.recipe, keys.image),
        "after_hash": _image_hash(event.after, source.recipe, keys.image),
        **_row_facts(event, naming),
    }
    return _record(event.type, naming.entity_id(event.key), f"{event.kind}/{entity['name']}", data, place)


def undecodable_record(place: Place, code: str, key: EntityKey | None, source: Source, keys: Keys) -> ChangeRecord:
    """Build the record of a change that could not be understood: its place, the reason, a keyed digest of its key."""
    shard = place.shard
    data = {
        **_common(place, source.recipe),
        "reason": code,
        "key_digest": None if key is None else pseudonym(keys.entity, source.kind, key.canonical),
        "certainty": "unknown",
        "flags": [],
    }
    entity_id = f"{source.id}:stream:{shard.shard_id}"
    return _record("stream.undecodable", entity_id, f"stream/{shard.table}/{shard.shard_id}", data, place)


def rfc3339(epoch_ms: int) -> str:
    """Spell an instant in UTC with milliseconds."""
    try:
        # By addition: a float of seconds loses a millisecond here and there from the year 2242 on.
        moment = _EPOCH + timedelta(milliseconds=epoch_ms)
    except OverflowError:
        return f"epoch-ms:{epoch_ms}"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def identity_ulid(identity: str) -> str:
    """Make an id of an observer record's identity: the same whoever declares it."""
    return str(ULID.from_bytes(hashlib.sha256(identity.encode()).digest()[:16]))


def _record(type_: str, entity_id: str, subject: str, data: dict[str, Any], place: Place) -> ChangeRecord:
    """Spell a CloudEvent, without members that say nothing: an item of 1 KB costs half of one that is a byte larger.

    A change gives one event, so the ordinal in its key is always 0 for now.
    """
    shard, position, ordinal = place.shard, place.position, 0
    record_id = change_ulid(shard.stream_arn, position, ordinal, place.time_ms)
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": record_id,
        "source": shard.stream_arn,
        "type": f"{TYPE_PREFIX}{type_}{TYPE_SUFFIX}",
        "subject": subject,
        "time": rfc3339(place.time_ms),
        "partitionkey": entity_id,
        "data": {name: value for name, value in data.items() if value is not None},
    }
    return ChangeRecord(
        pk=f"E#{entity_id}",
        sort=f"{shard.label}#{padded(position)}#{ordinal}",
        id=record_id,
        type=type_,
        time_ms=place.time_ms,
        position=position,
        actor=data.get("actor") or None,
        body=rfc8785.dumps(event),
    )


def change_ulid(stream_arn: str, position: int, ordinal: int, created_ms: int) -> str:
    """Make a change record's id: time-sortable, and the same on every replay."""
    digest = hashlib.sha256(f"{stream_arn}|{position}|{ordinal}".encode()).digest()[:10]
    return str(ULID.from_bytes(created_ms.to_bytes(6, "big") + digest))


def _common(place: Place, recipe: Recipe) -> dict[str, Any]:
    return {
        "source": recipe.source_id,
        "shard": place.shard.shard_id,
        "sequence_number": str(place.position),
        "recipe": recipe.mark,
    }


def _row_facts(event: Event, naming: Naming) -> dict[str, Any]:
    row = event.after if event.after is not None else event.before
    match row:
        case LockRow():
            return {
                "lease_ms": None if row.lease_ms is None else str(row.lease_ms),
                "deadline": None if row.deadline_ms is None else rfc3339(row.deadline_ms),
                "fence": None if row.fence is None else bounded(row.fence),
                "version": naming.version(row.version),
            }
        case SessionRow():
            return {
                "authenticated": event.authenticated,
                "deadline": None if row.deadline_ms is None else rfc3339(row.deadline_ms),
            }
        case None:
            return {}


def _image_hash(row: LockRow | SessionRow | None, recipe: Recipe, key: Key) -> str | None:
    projected: dict[str, Any] | None = None
    match row:
        case LockRow():
            projected = {**(locks.projection(row) or {})}
        case SessionRow() if row.payload is not None:
            projected = {**(sessions.projection(row, recipe) or {})}
        case _:
            return None
    return hmac.new(key.secret, rfc8785.dumps(projected), hashlib.sha256).hexdigest()[:HASH_DIGITS]
