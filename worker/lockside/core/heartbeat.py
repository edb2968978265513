"""Heartbeats taken in quickly: most of a lock table's stream, counted and never recorded.

Strategy: a record that is plainly a heartbeat (`layouts/pulse.py`), of a lock that is held and armed in memory, only
moves its deadline. That is done here from the record as it came. Whatever else goes the whole way, through decode and
interpret; a property test holds both ways to the same memory and the same batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lockside.core import decode, held
from lockside.core.attributes import Image
from lockside.core.deadlines import Deadlines
from lockside.core.event import EventType
from lockside.core.lazy_image import opened
from lockside.core.now import Now
from lockside.core.recipe import Source
from lockside.core.row import Beat, Pulse
from lockside.errors import WireFaultError

RENEWED: EventType = "lock.renewed"


@dataclass(slots=True)
class Heartbeats:
    """Takes in the heartbeats of one batch of one source, the only one on its stream."""

    source: Source
    pulses: tuple[Pulse, ...]
    # Equal to no creation time, also not to one that is missing.
    _seconds: Any = field(default_factory=object)
    _created_ms: int = -1

    def take(self, raw: Mapping[str, Any], deadlines: Deadlines, now: Now) -> int | None:
        """Take in a heartbeat and return its creation time; None, and nothing done, if it is not plainly one."""
        body = raw["dynamodb"]
        if raw.get("eventName") != "MODIFY" or type(body) is not dict:
            return None
        try:
            old, new = _image(body, "OldImage"), _image(body, "NewImage")
        except WireFaultError:
            return None
        if old is None or new is None or (beat := self._beat(old, new)) is None:
            return None
        source = self.source
        actor, version, lease_ms = beat
        if lease_ms is None and (lease_ms := source.recipe.lease_ms) is None:
            return None
        try:
            key = _packed_key(body["Keys"], source.key_schema.names)
            created_ms = self._created(body)
            taken = deadlines.renew(source.id, key, (actor, version, lease_ms, created_ms), now)
        except (WireFaultError, UnicodeEncodeError, KeyError, TypeError):
            # The whole way tells what is wrong.
            return None
        return created_ms if taken else None

    def _created(self, body: dict[str, Any]) -> int:
        """Read the creation time; as a whole page may have been written in one second, once for equal ones."""
        seconds = body["ApproximateCreationDateTime"]
        if seconds != self._seconds or type(seconds) is not type(self._seconds):
            self._created_ms = decode.created_ms(body, self.source.recipe.precision_ms)
            self._seconds = seconds
        return self._created_ms

    def _beat(self, old: Image, new: Image) -> Beat | None:
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


def _image(body: dict[str, Any], member: str) -> dict[str, Any] | None:
    image = opened(body.get(member))
    return image if type(image) is dict else None


def _packed_key(keys: Any, names: tuple[str, ...]) -> bytes:
    """Pack a key of texts, as `held.pack_key` does. Raises TypeError or KeyError for another."""
    parts: list[bytes] = []
    for name in names:
        wire = keys[name]
        text = wire["S"]
        if type(text) is not str or len(wire) != 1:
            raise TypeError
        parts.append(text.encode())
    return held.pack_texts(parts)
