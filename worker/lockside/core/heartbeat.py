"""Heartbeats taken in quickly: most of a lock table's stream, counted and never recorded.

Strategy: a record that is plainly a heartbeat (`layouts/pulse.py`), of a lock that is held and armed in memory, only
moves its deadline. That is done here from the record as it came. Whatever else goes the whole way, through decode and
interpret; a property test holds both ways to the same memory and the same batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lockside.core import decode, held
from lockside.core.deadlines import Deadlines
from lockside.core.event import EventType
from lockside.core.lazy_image import UNREADABLE, opened, read_text
from lockside.core.lazy_record import LazyRecord
from lockside.core.now import Now
from lockside.core.recipe import Source
from lockside.core.row import Beat, Pulse
from lockside.errors import WireFaultError

RENEWED: EventType = "lock.renewed"

_TOLD_BY_THE_WHOLE_WAY: Final = (WireFaultError, UnicodeEncodeError, KeyError, TypeError, *UNREADABLE)


@dataclass(slots=True)
class Heartbeats:
    """Takes in the heartbeats of one batch of one source, the only one on its stream."""

    source: Source
    pulses: tuple[Pulse, ...]
    # Equal to no creation time, also not to one that is missing.
    _moment: Any = field(default_factory=object)
    _created_ms: int = -1

    def take(self, raw: Mapping[str, Any] | LazyRecord, deadlines: Deadlines, now: Now) -> int | None:
        """Take in a heartbeat and return its creation time; None, and nothing done, if it is not plainly one."""
        try:
            if type(raw) is LazyRecord:
                name, body = raw.eventName, raw.dynamodb
                keys, created = body.Keys, body.ApproximateCreationDateTime
                # By another name, or with an image missing, it fails here or below.
                old, new = read_text(body.OldImage), read_text(body.NewImage)
            else:
                name, (keys, created, old, new) = raw["eventName"], _members(raw["dynamodb"])
            if name != "MODIFY" or (beat := self._beat(old, new)) is None:
                return None
            source = self.source
            actor, version, lease_ms = beat
            if lease_ms is None and (lease_ms := source.recipe.lease_ms) is None:
                return None
            key = _packed_key(keys, source.key_schema.names)
            created_ms = self._created(created)
            taken = deadlines.renew(source.id, key, (actor, version, lease_ms, created_ms), now)
        except _TOLD_BY_THE_WHOLE_WAY:
            return None
        return created_ms if taken else None

    def _created(self, moment: Any) -> int:
        """Read the creation time; as a whole page may have been written in one second, once for equal ones."""
        if moment != self._moment or type(moment) is not type(self._moment):
            self._created_ms = decode.moment_ms(moment, self.source.recipe.precision_ms)
            self._moment = moment
        return self._created_ms

    def _beat(self, old: Any, new: Any) -> Beat | None:
        if type(old) is not dict or type(new) is not dict:
            return None
        for pulse in self.pulses:
            if pulse.claims(new):
                return pulse.read(old, new)
        return None


def heartbeats_of(sources: tuple[Source, ...]) -> Heartbeats | None:
    """Find what takes in a stream's heartbeats; None where each change has to be looked into."""
    if len(sources) != 1:
        return None
    [source] = sources
    pulses = [layout.pulse for layout in source.layouts]
    sound = tuple(pulse for pulse in pulses if pulse is not None)
    return Heartbeats(source, sound) if len(sound) == len(pulses) else None


def _members(body: Mapping[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Return what a heartbeat is told by. Raises KeyError and WireFaultError."""
    moment = body["ApproximateCreationDateTime"]
    return body["Keys"], moment, opened(body["OldImage"]), opened(body["NewImage"])


def _packed_key(keys: Any, names: tuple[str, ...]) -> bytes:
    """Pack a key of texts, as `held.pack_key` does. Raises TypeError or KeyError for another."""
    parts: list[bytes] = []
    for name in names:
        wire = keys[name]
        if len(wire) != 1:
            raise TypeError
        # Raises TypeError for what is no text.
        parts.append(str.encode(wire["S"]))
    return held.pack_texts(parts)
