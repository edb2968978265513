"""What an undecodable change says when it is read again: by a newer version, or with a corrected source.

Its event is spelled by the code that spells change records, so names, pseudonyms and flags follow one set of rules.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockside.core import decode, defect, interpret, records
from lockside.core.change import Change, ShardRef
from lockside.core.entity import Keys
from lockside.core.event import EventType
from lockside.core.ports import Undecodable
from lockside.core.recipe import Source
from lockside.core.records import Naming, rfc3339
from lockside.errors import WireFaultError


@dataclass(frozen=True, slots=True)
class Reading:
    """What a change says today. `event` is None where it gives none, or no source claims it; `reason` says why."""

    event: EventType | None
    reason: str
    recipe: str
    entity_id: str
    subject: str
    data: Mapping[str, Any]


def read_again(kept: Undecodable, shard: ShardRef, sources: tuple[Source, ...], keys: Keys) -> Reading:
    """Read a kept change with today's code and sources. Raises WireFaultError, as decoding does, if it still cannot."""
    first = sources[0]
    try:
        change = decode.decode_record(kept.raw, shard, first.key_schema, first.recipe.precision_ms)
        source, told = interpret.interpret_for(change, sources)
        if source is None:
            return _of_stream(change, first, told.reason)
        if told.event is None:
            return _of_entity(change, source, told.reason, keys)
        would_be = json.loads(records.change_record(told.event, change, source, keys).body)
    except (WireFaultError, MemoryError):
        raise
    except Exception as error:
        raise WireFaultError(defect.CODE) from error
    data = {"event": told.event.type, **would_be["data"], **_when(change)}
    subject, entity_id = would_be["subject"], would_be["partitionkey"]
    return Reading(told.event.type, told.reason, source.recipe.mark, entity_id, subject, data)


def _of_entity(change: Change, source: Source, reason: str, keys: Keys) -> Reading:
    naming = Naming.of(source, keys)
    entity = naming.entity(source.kind, change.key)
    data = {**_without_event(change, source, reason), "entity": entity}
    subject = f"{source.kind}/{entity['name']}"
    return Reading(None, reason, source.recipe.mark, naming.entity_id(change.key), subject, data)


def _of_stream(change: Change, source: Source, reason: str) -> Reading:
    shard = change.shard
    entity_id, subject = f"{source.id}:stream:{shard.shard_id}", f"stream/{shard.table}/{shard.shard_id}"
    return Reading(None, reason, source.recipe.mark, entity_id, subject, _without_event(change, source, reason))


def _without_event(change: Change, source: Source, reason: str) -> dict[str, Any]:
    return {
        "source": source.id,
        "shard": change.shard.shard_id,
        "sequence_number": str(change.sequence_number),
        "recipe": source.recipe.mark,
        "operation": change.operation,
        "reason": reason,
        "certainty": "certain",
        "flags": [],
        **_when(change),
    }


def _when(change: Change) -> dict[str, Any]:
    return {"changed_at": rfc3339(change.created_ms)}
