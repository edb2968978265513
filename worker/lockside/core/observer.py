"""Observer records: what no single change can tell, with an identity that makes each one and the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

from lockside.core.change import ShardRef, padded
from lockside.core.deadlines import Declared
from lockside.core.entity import EntityKey, Keys, Kind
from lockside.core.event import Hold, ObserverType
from lockside.core.gap import Gap
from lockside.core.lately import Notice, Reused, Rotated
from lockside.core.log import LogHead
from lockside.core.ports import ObserverRecord, Undecodable
from lockside.core.recipe import Source
from lockside.core.records import TYPE_PREFIX, TYPE_SUFFIX, Naming, rfc3339
from lockside.core.redriven import Reading

OBSERVER_LOG: Final = "observer"


def shard_observer_log(shard: ShardRef) -> str:
    """Name the observer log of a stream shard."""
    return f"{shard.origin}/{OBSERVER_LOG}"


def application_log(application: str) -> str:
    """Name the observer log of an application: its worker's and its operators' acts."""
    return f"application/{application}"


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where an observer stands: the shard it watches, the source, the last position known to it."""

    shard: ShardRef
    source: Source
    keys: Keys
    after: int | None


def lapse_record(seen: Sighting, lapse: Declared, via: str, declared_ms: int) -> ObserverRecord:
    """Declare a lapse. Neither `via` nor any time is part of its identity: the hold's version or deadline is."""
    type_: ObserverType = "lock.expired" if lapse.hold.kind == "lock" else "session.expired"
    facts = {"via": via, "certainty": "certain", **_known(lapse, declared_ms)}
    return _of_hold(type_, seen, lapse.hold, lapse.legal_ms, facts)


def stale_record(seen: Sighting, stale: Declared, declared_ms: int) -> ObserverRecord:
    """Tell that a lock without any lease is held for longer than its source's policy. Nobody may take it for that.

    One for each acquisition: neither the policy nor any time is part of its identity.
    """
    hold = stale.hold
    facts = {
        "via": "read",
        "certainty": "certain",
        "stale_after_ms": None if hold.stale_ms is None else str(hold.stale_ms),
        "held_since": rfc3339(hold.created_ms),
        "declared_at": rfc3339(declared_ms),
    }
    return _of_hold("lock.stale", seen, hold, stale.legal_ms, facts)


def revival_record(seen: Sighting, lapse: Declared, written_ms: int) -> ObserverRecord:
    """Tell of a write by the same owner after its lapse: renewed late, or taken again under the same name."""
    type_: ObserverType = "lock.revived" if lapse.hold.kind == "lock" else "session.revived"
    facts = {"certainty": "inferred", "lapsed_at": rfc3339(lapse.legal_ms)}
    return _of_hold(type_, seen, lapse.hold, max(written_ms, lapse.legal_ms), facts)


def notice_record(seen: Sighting, notice: Notice) -> ObserverRecord:
    """Tell of an id that took another's place, or is in use again. One for each two changes that tell it."""
    naming = Naming.of(seen.source, seen.keys)
    type_, facts = _noticed(notice, naming)
    facts |= {
        "ended": _end(notice.old.position, notice.old.created_ms),
        "started": _end(notice.new.position, notice.new.created_ms),
    }
    identity = f"{padded(notice.old.position)}|{padded(notice.new.position)}"
    about = _About("session", notice.new.key, notice.user, notice.new.created_ms, identity)
    return _of_entity(type_, seen, about, facts)


def _noticed(notice: Notice, naming: Naming) -> tuple[ObserverType, dict[str, Any]]:
    match notice:
        case Rotated():
            previous = naming.entity("session", notice.old.key)
            return "session.rotated", {"certainty": "inferred", "previous_entity": previous}
        case Reused():
            return "session.revived", {"certainty": "certain", "via": "reused_id"}
        case _:
            assert_never(notice)


def redriven_record(
    reading: Reading, kept: Undecodable, shard: ShardRef, application: str, at_ms: int
) -> ObserverRecord:
    """Tell what an undecodable change says when read again. One for each recipe that could read it."""
    type_: ObserverType = "stream.redriven"
    data = {**reading.data, "record": kept.record_id, "was": kept.code}
    event = _cloud_event(type_, reading.entity_id, reading.subject, shard.stream_arn, at_ms)
    return ObserverRecord(
        type=type_,
        pk=f"E#{reading.entity_id}",
        identity=f"{type_}|{kept.record_id}|{reading.recipe}",
        log=application_log(application),
        event={**event, "data": data},
        actor=data.get("actor") or None,
        time_ms=at_ms,
        after=None,
    )


def gap_record(
    shard: ShardRef, sources: tuple[Source, ...], gap: Gap, sealed: LogHead, found_ms: int
) -> ObserverRecord:
    """Tell what the stream lost before it was read, with both ends where they are known. One for each sealed log.

    What was lost cannot be counted, nor whether it was anything: between the two ends there may have been no change.
    """
    type_: ObserverType = "stream.gap"
    last = "start" if sealed.last_position is None else padded(sealed.last_position)
    entity_id = f"stream:{shard.table}"
    data = {
        "sources": [source.id for source in sources],
        "shard": shard.shard_id,
        "loss": gap.loss,
        "after": _end(gap.after, gap.after_ms),
        "until": _end(gap.until, gap.until_ms),
        "sealed": {"log": sealed.log, "size": str(sealed.size)},
        "flags": [],
        "certainty": "inferred",
    }
    event = _cloud_event(type_, entity_id, f"stream/{shard.table}/{shard.shard_id}", shard.stream_arn, found_ms)
    return ObserverRecord(
        type=type_,
        pk=f"E#{entity_id}",
        identity=f"{type_}|{sealed.log}|{last}",
        log=shard_observer_log(shard),
        event={**event, "data": {name: value for name, value in data.items() if value is not None}},
        actor=None,
        time_ms=found_ms,
        after=None if gap.after is None else padded(gap.after),
    )


def worker_record(
    type_: ObserverType, application: str, run_id: str, at_ms: int, facts: Mapping[str, Any]
) -> ObserverRecord:
    """Tell of the worker itself."""
    event = _cloud_event(
        type_, f"worker:{application}", f"worker/{application}", f"lockside:application/{application}", at_ms
    )
    return ObserverRecord(
        type=type_,
        pk=f"E#worker:{application}",
        identity=f"{type_}|{application}|{run_id}",
        log=application_log(application),
        event={**event, "data": {"run": run_id, "flags": [], "certainty": "certain", **facts}},
        actor=None,
        time_ms=at_ms,
        after=None,
    )


def _end(position: int | None, at_ms: int | None) -> dict[str, str] | None:
    known = {
        "sequence_number": None if position is None else str(position),
        "time": None if at_ms is None else rfc3339(at_ms),
    }
    return {name: value for name, value in known.items() if value is not None} or None


def _known(lapse: Declared, declared_ms: int) -> dict[str, Any]:
    # What is declared has passed: a clock that says otherwise is behind.
    declared_ms = max(declared_ms, lapse.legal_ms)
    return {
        "legal_instant": rfc3339(lapse.legal_ms),
        "declared_at": rfc3339(declared_ms),
        "known_late_ms": str(declared_ms - lapse.legal_ms),
    }


def _of_hold(type_: ObserverType, seen: Sighting, hold: Hold, time_ms: int, facts: Mapping[str, Any]) -> ObserverRecord:
    naming = Naming.of(seen.source, seen.keys)
    known = {
        "lease_ms": None if hold.lease_ms is None else str(hold.lease_ms),
        "deadline": None if hold.deadline_ms is None else rfc3339(hold.deadline_ms),
        "version": naming.version(hold.version),
    }
    # The hold's identity may be its version, which is a secret: its pseudonym stands for it.
    about = _About(hold.kind, hold.key, hold.actor, time_ms, naming.version(hold.identity) or "")
    return _of_entity(type_, seen, about, {**known, **facts})


@dataclass(frozen=True, slots=True)
class _About:
    """What an observer record is about, in clear, and what makes it one and the same."""

    kind: Kind
    key: EntityKey
    actor: str | None
    time_ms: int
    identity: str


def _of_entity(type_: ObserverType, seen: Sighting, about: _About, facts: Mapping[str, Any]) -> ObserverRecord:
    naming = Naming.of(seen.source, seen.keys)
    entity, entity_id = naming.entity(about.kind, about.key), naming.entity_id(about.key)
    actor = naming.actor(about.actor)
    data = {
        "source": seen.source.id,
        "shard": seen.shard.shard_id,
        "entity": entity,
        "actor": actor,
        "flags": [],
        "after": None if seen.after is None else str(seen.after),
        "recipe": seen.source.recipe.mark,
        **facts,
    }
    event = _cloud_event(type_, entity_id, f"{about.kind}/{entity['name']}", seen.shard.stream_arn, about.time_ms)
    return ObserverRecord(
        type=type_,
        pk=f"E#{entity_id}",
        identity=f"{type_}|{entity_id}|{about.identity}",
        log=shard_observer_log(seen.shard),
        event={**event, "data": {name: value for name, value in data.items() if value is not None}},
        actor=actor or None,
        time_ms=about.time_ms,
        after=None if seen.after is None else padded(seen.after),
    )


def _cloud_event(type_: ObserverType, entity_id: str, subject: str, source: str, time_ms: int) -> dict[str, Any]:
    """Begin a CloudEvent. Its id is made of the identity by whoever writes it."""
    return {
        "specversion": "1.0",
        "source": source,
        "type": f"{TYPE_PREFIX}{type_}{TYPE_SUFFIX}",
        "subject": subject,
        "time": rfc3339(time_ms),
        "partitionkey": entity_id,
    }
