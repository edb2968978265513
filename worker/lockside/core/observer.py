"""Observer records: what no single change can tell, with an identity that makes each one and the same."""

from collections.abc import Mapping
from typing import Any, Final

from lockside.core.change import ShardRef, padded
from lockside.core.deadlines import Declared
from lockside.core.entity import Keys
from lockside.core.event import Hold, ObserverType
from lockside.core.ports import ObserverRecord
from lockside.core.recipe import Source
from lockside.core.records import Naming, TYPE_PREFIX, TYPE_SUFFIX, identity_ulid, rfc3339

OBSERVER_LOG: Final = "observer"


def shard_observer_log(shard: ShardRef) -> str:
    """Name the observer log of a stream shard."""
    return f"{shard.origin}/{OBSERVER_LOG}"


def application_log(application: str) -> str:
    """Name the observer log of an application: its worker's and its operators' acts."""
    return f"application/{application}"


def lapse_record(
    shard: ShardRef, lapse: Declared, source: Source, keys: Keys, via: str, declared_ms: int, after: int | None
) -> ObserverRecord:
    """Declare a lapse. Neither `via` nor any time is part of its identity: the hold's version or deadline is."""
    return _of_hold(
        f"{lapse.hold.kind}.expired",  # type: ignore[arg-type]  # both spellings are members of ObserverType
        shard,
        lapse,
        source,
        keys,
        time_ms=lapse.legal_ms,
        after=after,
        facts={"via": via, "certainty": "certain", **_known(lapse, declared_ms)},
    )


def revival_record(
    shard: ShardRef, lapse: Declared, source: Source, keys: Keys, written_ms: int, after: int
) -> ObserverRecord:
    """Tell of a write by the same owner after its lapse: renewed late, or taken again under the same name."""
    return _of_hold(
        f"{lapse.hold.kind}.revived",  # type: ignore[arg-type]  # both spellings are members of ObserverType
        shard,
        lapse,
        source,
        keys,
        time_ms=written_ms,
        after=after,
        facts={"certainty": "inferred", "lapsed_at": rfc3339(lapse.legal_ms)},
    )


def worker_record(type_: ObserverType, application: str, run_id: str, at_ms: int, facts: Mapping[str, Any]) -> ObserverRecord:
    """Tell of the worker itself."""
    return _observer(
        type_=type_,
        entity_id=f"worker:{application}",
        subject=f"worker/{application}",
        source_uri=f"lockside:application/{application}",
        identity=f"{type_}|{application}|{run_id}",
        log=application_log(application),
        data={"run": run_id, "flags": [], "certainty": "certain", **facts},
        actor=None,
        time_ms=at_ms,
        after=None,
    )


def _known(lapse: Declared, declared_ms: int) -> dict[str, Any]:
    late_ms = max(0, declared_ms - lapse.legal_ms)
    return {"legal_instant": rfc3339(lapse.legal_ms), "declared_at": rfc3339(declared_ms), "known_late_ms": str(late_ms)}


def _of_hold(
    type_: ObserverType,
    shard: ShardRef,
    lapse: Declared,
    source: Source,
    keys: Keys,
    *,
    time_ms: int,
    after: int | None,
    facts: Mapping[str, Any],
) -> ObserverRecord:
    hold = lapse.hold
    naming = Naming.of(source, keys)
    entity_id = naming.entity_id(hold.key)
    name = naming.name(hold.key, _default_sort(source))
    actor = naming.actor(hold.actor)
    data = {
        "source": source.id,
        "shard": shard.shard_id,
        "entity": {"kind": hold.kind, "id": entity_id, "name": name},
        "actor": actor,
        "flags": [],
        "lease_ms": None if hold.lease_ms is None else str(hold.lease_ms),
        "deadline": None if hold.deadline_ms is None else rfc3339(hold.deadline_ms),
        "version": naming.version(hold.version),
        "after": None if after is None else str(after),
        "entity_key": keys.entity.id,
        **facts,
    }
    return _observer(
        type_=type_,
        entity_id=entity_id,
        subject=f"{hold.kind}/{name}",
        source_uri=shard.stream_arn,
        identity=hold_identity(type_, entity_id, hold, naming),
        log=shard_observer_log(shard),
        data=data,
        actor=actor,
        time_ms=time_ms,
        after=after,
    )


def hold_identity(type_: str, entity_id: str, hold: Hold, naming: Naming) -> str:
    """Say what makes an observer record of a hold unique. The version stands as its pseudonym: it is a secret."""
    return f"{type_}|{entity_id}|{naming.version(hold.identity)}"


def _default_sort(source: Source) -> str | None:
    return next((layout.default_sort for layout in source.layouts if layout.default_sort is not None), None)


def _observer(
    *,
    type_: ObserverType,
    entity_id: str,
    subject: str,
    source_uri: str,
    identity: str,
    log: str,
    data: Mapping[str, Any],
    actor: str | None,
    time_ms: int,
    after: int | None,
) -> ObserverRecord:
    event = {
        "specversion": "1.0",
        "id": identity_ulid(identity),
        "source": source_uri,
        "type": f"{TYPE_PREFIX}{type_}{TYPE_SUFFIX}",
        "subject": subject,
        "time": rfc3339(time_ms),
        "datacontenttype": "application/json",
        "partitionkey": entity_id,
        "data": dict(data),
    }
    return ObserverRecord(
        type=type_,
        pk=f"E#{entity_id}",
        identity=identity,
        log=log,
        event=event,
        actor=actor or None,
        time_ms=time_ms,
        after=None if after is None else padded(after),
    )
