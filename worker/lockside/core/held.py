"""One armed hold in memory, packed into bytes: objects would cost three times as much, and a shard may hold 100,000.

Strategy: what a timer is made of is the hold and the instant at which its change was received; everything else follows
from them and the recipe. Numbers stand in front, so that a heartbeat packs four of them and two short texts, and the
test of a deadline unpacks the rest only when it is due. The key is packed apart: it finds the hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from lockside.core import instants
from lockside.core.entity import EntityKey
from lockside.core.event import Hold
from lockside.core.instants import Due
from lockside.core.now import Now
from lockside.core.recipe import Recipe

Renewal = tuple[str, str, int, int]
"""A heartbeat: owner, version, lease and creation time."""

_HEAD: Final = Struct("<IBHqqi")
"""Slot, facts, bytes of the actor, received (wall, monotonic), age of the change when received."""

_LEASED: Final = Struct("<IBHqqiI")
"""The same with a lease, where there is one."""

_WIDE: Final = Struct("<qq")
"""Creation time and lease where age or lease are too long to stand in front."""

_AGE_MAX_MS: Final = 2**31 - 1
_LEASE_MAX_MS: Final = 2**32 - 1

_INSTANT: Final = Struct("<q")
"""A deadline, and a grace, where there is one."""

_SLOT: Final = Struct("<I")
_SESSION: Final = 1
_NO_ACTOR: Final = 2
_NO_VERSION: Final = 4
_LEASE: Final = 8
_STORED: Final = 16
_GRACE: Final = 32
_LONG: Final = 64
_STALE: Final = 128
"""What stands in the place of the lease is the age at which the lock is stale."""

_ONE_PART: Final = b"1"
_ONE_TEXT: Final = _ONE_PART + b"S"
_PARTS: Final = b"2"


def pack_renewed(slot: int, renewal: Renewal, now: Now) -> bytes:
    """Pack a lock's hold with a lease, which is what heartbeats renew. Raises UnicodeEncodeError."""
    actor, version, lease_ms, created_ms = renewal
    owner, wall_ms = actor.encode(), now.wall_ms
    age_ms = wall_ms - created_ms
    if -_AGE_MAX_MS <= age_ms <= _AGE_MAX_MS and lease_ms <= _LEASE_MAX_MS:
        head = _LEASED.pack(slot, _LEASE, len(owner), wall_ms, now.mono_ms, age_ms, lease_ms)
    else:
        head = _times(slot, _LEASE, len(owner), (created_ms, lease_ms), now)
    return head + owner + version.encode()


def pack(slot: int, hold: Hold, now: Now) -> bytes:
    """Pack an armed hold whose last change was received now; `slot` is its place in the queue."""
    actor, version = (hold.actor or "").encode(), (hold.version or "").encode()
    facts = _SESSION if hold.kind == "session" else 0
    facts |= _NO_ACTOR if hold.actor is None else 0
    facts |= _NO_VERSION if hold.version is None else 0
    length_ms = hold.lease_ms if hold.stale_ms is None else hold.stale_ms
    facts |= 0 if length_ms is None else _LEASE
    facts |= 0 if hold.stale_ms is None else _STALE
    facts |= 0 if hold.deadline_ms is None else _STORED
    facts |= _GRACE if hold.grace_ms else 0
    times = _times(slot, facts, len(actor), (hold.created_ms, length_ms or 0), now)
    deadline = b"" if hold.deadline_ms is None else _INSTANT.pack(hold.deadline_ms)
    grace = _INSTANT.pack(hold.grace_ms) if hold.grace_ms else b""
    return b"".join((times, deadline, grace, actor, version))


def _times(slot: int, facts: int, actor_bytes: int, times: tuple[int, int], now: Now) -> bytes:
    created_ms, lease_ms = times
    age_ms = now.wall_ms - created_ms
    if -_AGE_MAX_MS <= age_ms <= _AGE_MAX_MS and lease_ms <= _LEASE_MAX_MS:
        if facts & _LEASE:
            return _LEASED.pack(slot, facts, actor_bytes, now.wall_ms, now.mono_ms, age_ms, lease_ms)
        return _HEAD.pack(slot, facts, actor_bytes, now.wall_ms, now.mono_ms, age_ms)
    head = _HEAD.pack(slot, facts | _LONG, actor_bytes, now.wall_ms, now.mono_ms, 0)
    return head + _WIDE.pack(created_ms, lease_ms)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """All of a packed hold but its texts, which begin at `texts`."""

    facts: int
    actor_bytes: int
    received: Now
    created_ms: int
    lease_ms: int
    deadline_ms: int
    grace_ms: int
    texts: int


def _numbers(packed: bytes) -> _Numbers:
    _slot, facts, actor_bytes, wall_ms, mono_ms, age_ms = _HEAD.unpack_from(packed)
    created_ms, texts, lease_ms, deadline_ms, grace_ms = wall_ms - age_ms, _HEAD.size, 0, 0, 0
    if facts & _LONG:
        created_ms, lease_ms = _WIDE.unpack_from(packed, texts)
        texts += _WIDE.size
    elif facts & _LEASE:
        lease_ms, texts = _LEASED.unpack_from(packed)[-1], _LEASED.size
    if facts & _STORED:
        [deadline_ms] = _INSTANT.unpack_from(packed, texts)
        texts += _INSTANT.size
    if facts & _GRACE:
        [grace_ms] = _INSTANT.unpack_from(packed, texts)
        texts += _INSTANT.size
    received = Now(wall_ms, mono_ms)
    return _Numbers(facts, actor_bytes, received, created_ms, lease_ms, deadline_ms, grace_ms, texts)


def unpack(key: EntityKey, packed: bytes) -> tuple[Hold, Now]:
    """Return a hold and when its last change was received."""
    numbers = _numbers(packed)
    facts, texts = numbers.facts, numbers.texts
    names = texts + numbers.actor_bytes
    hold = Hold(
        kind="session" if facts & _SESSION else "lock",
        key=key,
        actor=None if facts & _NO_ACTOR else packed[texts:names].decode(),
        version=None if facts & _NO_VERSION else packed[names:].decode(),
        lease_ms=numbers.lease_ms if facts & (_LEASE | _STALE) == _LEASE else None,
        deadline_ms=numbers.deadline_ms if facts & _STORED else None,
        grace_ms=numbers.grace_ms,
        created_ms=numbers.created_ms,
        armed=True,
        stale_ms=numbers.lease_ms if facts & _STALE else None,
    )
    return hold, numbers.received


def due(packed: bytes, recipe: Recipe) -> Due:
    """Work out when a hold is due, without the hold."""
    numbers = _numbers(packed)
    if numbers.facts & _STORED:
        honoured_ms = numbers.deadline_ms + numbers.grace_ms
        return instants.stored_due(honoured_ms, numbers.created_ms, recipe, numbers.received)
    if numbers.facts & _STALE:
        return instants.stale_due(numbers.lease_ms, numbers.created_ms, recipe, numbers.received)
    return instants.leased_due(numbers.lease_ms, numbers.created_ms, recipe, numbers.received)


def slot_of(packed: bytes) -> int:
    """Return a hold's place in the queue."""
    [slot] = _SLOT.unpack_from(packed)
    return slot  # type: ignore[no-any-return] # the format says that it is an integer


def pack_key(key: EntityKey) -> bytes:
    """Pack a key; no two keys look alike."""
    match key.parts:
        case ((tag, part),):
            return _ONE_PART + tag.encode() + part.encode()
        case _:
            return _PARTS + key.canonical.encode()


def pack_texts(parts: Sequence[bytes]) -> bytes:
    """Pack a key of one text or two, as every key has, from their bytes."""
    if len(parts) == 1:
        return _ONE_TEXT + parts[0]
    first, second = parts
    return b"2S%d:%s,S%d:%s" % (len(first), first, len(second), second)


def unpack_key(packed: bytes) -> EntityKey:
    """Return the key."""
    if packed[:1] == _ONE_PART:
        return EntityKey(((packed[1:2].decode(), packed[2:].decode()),))
    parts: list[tuple[str, str]] = []
    place = 1
    while place < len(packed):
        colon = packed.index(b":", place)
        end = colon + 1 + int(packed[place + 1 : colon])
        parts.append((packed[place : place + 1].decode(), packed[colon + 1 : end].decode()))
        place = end + 1
    return EntityKey(tuple(parts))
