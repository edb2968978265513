"""The thing that changed: its typed key, its names, and the pseudonyms that stand for what must not be in clear."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from lockside.core import attributes
from lockside.errors import WireFaultError

Kind = Literal["lock", "session"]

TEXT_BYTES_MAX: Final = 512
"""Longer text becomes its first bytes and a digest: a sort key may hold 1,024 bytes, a record 64 KiB."""

HEAD_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class KeySchema:
    """A table's primary key: attribute names in the table's order, partition key first."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EntityKey:
    """An item's typed key, in the order of the table's key schema: ((type tag, canonical text), …)."""

    parts: tuple[tuple[str, str], ...]

    @property
    def canonical(self) -> str:
        """Type tag and byte length before each part, so that no two keys share a spelling."""
        return ",".join(f"{tag}{len(part.encode())}:{part}" for tag, part in self.parts)


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A secret key and the id that names it in records."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        """Name the key, never its secret."""
        return f"Key({self.id})"


@dataclass(frozen=True, slots=True)
class Keys:
    """`entity` makes pseudonyms and identities, `image` the before and after hashes, `seal` what is kept unreadable."""

    entity: Key
    image: Key
    seal: Key


PUBLIC_KEYS: Final = Keys(
    Key("public", b"lockside public entity key"), Key("public", b"lockside public image key"), Key("public", bytes(32))
)
"""For `explain`, where no keys file is at hand: stable, and no secret."""


def entity_key(keys: object, schema: KeySchema) -> EntityKey:
    """Read an item's key by the table's key schema, never from the whole map.

    A TTL removal on a table with an index carries the index's keys too (seen on DynamoDB Local).
    Raises WireFaultError `key_missing`, `key_type` or a code of the codec.
    """
    if not isinstance(keys, Mapping):
        raise WireFaultError("key_missing")
    return EntityKey(tuple(_key_part(keys, name) for name in schema.names))


def _key_part(keys: Mapping[str, Any], name: str) -> tuple[str, str]:
    if name not in keys:
        raise WireFaultError("key_missing")
    value = attributes.decode(keys[name])
    match value:
        case str():
            return "S", value
        case Decimal():
            return "N", attributes.number_text(value)
        case bytes():
            return "B", base64.b64encode(value).decode()
        case _:
            raise WireFaultError("key_type")


def wire_key(key: EntityKey, schema: KeySchema) -> dict[str, dict[str, Any]]:
    """Spell a key for a boto3 call."""
    return {
        name: {tag: base64.b64decode(part) if tag == "B" else part}
        for name, (tag, part) in zip(schema.names, key.parts, strict=True)
    }


def bounded(value: str) -> str:
    """Return text as it is, or its first 64 bytes and a digest if it is longer than 512 bytes."""
    raw = value.encode()
    if len(raw) <= TEXT_BYTES_MAX:
        return value
    head = raw[:HEAD_BYTES].decode(errors="ignore")
    return f"{head}…sha256:{hashlib.sha256(raw).hexdigest()}"


def bounded_canonical(key: EntityKey) -> str:
    """Spell a key canonically with each long part bounded; a bounded part keeps its true length."""
    return ",".join(f"{tag}{len(part.encode())}:{bounded(part)}" for tag, part in key.parts)


def pseudonym(key: Key, domain: str, value: str) -> str:
    """Stand for a value under a key: 32 hex digits of HMAC-SHA-256 over the domain and the value."""
    return hmac.new(key.secret, f"{domain}\0{value}".encode(), hashlib.sha256).hexdigest()[:32]


def display_name(key: EntityKey, default_sort: str | None) -> str:
    """Name an entity for people: its key's parts, without a sort key that only holds the client's default."""
    parts = [part for _, part in key.parts]
    if len(parts) > 1 and parts[-1] == default_sort:
        parts.pop()
    return bounded("/".join(parts))
