"""What `lockside explain` makes of records: one after the other, each by the first source that claims it, and counted.

Strategy: most records of a lock's stream are heartbeats, so they are told by the layout's pulse, as in a worker, and
only what differs from one to the next is spelt anew. Whatever is not plainly a heartbeat goes the whole way. A property
test holds both ways to the same words.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lockside.cli.explain_input import Entry
from lockside.cli.explain_output import Explanation, Heartbeat, HeldLock
from lockside.core import decode
from lockside.core.change import Change, ShardRef
from lockside.core.decode import decode_record
from lockside.core.entity import EntityKey, Keys, KeySchema
from lockside.core.event import Interpretation
from lockside.core.heartbeat import RENEWED
from lockside.core.interpret import interpret_for
from lockside.core.recipe import Recipe, Source
from lockside.core.records import Naming
from lockside.core.row import Beat, Pulse
from lockside.errors import FaultyPageError, WireFaultError
from lockside.layouts.spec import Spec

PRECISION_AWS_MS: Final = 1_000
PRECISION_LOCAL_MS: Final = 60_000
LOCAL_REGION: Final = "ddblocal"
UNDECODABLE: Final = "stream.undecodable"
COUNTED: Final = ("recorded", "not recorded", "no event", "undecodable")
LOCKS_REMEMBERED_MAX: Final = 16_384
"""Locks whose heartbeats are spelt from memory; a table with more of them in turn is spelt anew each time."""

NOWHERE: Final = ShardRef("", "")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a source would be: its layouts, and those of its settings that decide what records say."""

    id: str
    specs: tuple[Spec, ...]
    pseudonymise: tuple[str, ...] = ()
    lease_ms: int | None = None
    clock_margin_ms: int = 2_000
    refresh_bucket_ms: int = 3_600_000

    def source(self, schema: KeySchema, keys: Keys, precision_ms: int) -> Source:
        """Make the source, as a worker would for records of this precision."""
        kind = self.specs[0].traits.kind
        recipe = Recipe(
            source_id=self.id,
            kind=kind,
            layouts=tuple((spec.name, spec.digest) for spec in self.specs),
            key_names=schema.names,
            pseudonymise=self.pseudonymise,
            entity_key_id=keys.entity.id,
            image_key_id=keys.image.id,
            precision_ms=precision_ms,
            clock_margin_ms=self.clock_margin_ms,
            refresh_bucket_ms=self.refresh_bucket_ms,
            lease_ms=self.lease_ms,
        )
        return Source(self.id, "", kind, self.specs, schema, recipe)


@dataclass
class Explainer:
    """Explains records one by one, and counts."""

    plans: Sequence[Plan]
    schema: KeySchema
    keys: Keys
    _counts: Counter[str] = field(default_factory=Counter)
    _beats: int = 0
    _sources: dict[int, tuple[Source, ...]] = field(default_factory=dict)
    _namings: dict[str, Naming] = field(default_factory=dict)
    _heartbeats: dict[int, "_Heartbeats | None"] = field(default_factory=dict)

    def explain(self, entry: Entry) -> Explanation | Heartbeat:
        """Say what one record means; one that is broken is told, and the next goes on."""
        raw = entry.raw
        if raw is None:
            return self._broken(entry, f"{entry.fault}: {entry.place}", recorded=False)
        precision_ms = PRECISION_LOCAL_MS if raw.get("awsRegion") == LOCAL_REGION else PRECISION_AWS_MS
        sources = self._sources.get(precision_ms) or self._made(precision_ms)
        quick = self._heartbeats[precision_ms]
        if quick is not None and (heartbeat := quick.take(raw)) is not None:
            self._beats += 1
            return heartbeat
        try:
            change = decode_record(raw, _shard(raw), self.schema, precision_ms)
            source, told = interpret_for(change, sources)
        except FaultyPageError:
            # A worker would read the page again and then halt: it writes no record of this.
            return self._broken(entry, f"sequence_number: {entry.place}", recorded=False)
        except WireFaultError as fault:
            return self._broken(entry, fault.code, recorded=True)
        return self._understood(entry, change, source, told)

    @property
    def counts(self) -> Counter[str]:
        """What the records came to until now, and how many of them a layout claimed."""
        return self._counts + Counter({"not recorded": self._beats, "claimed": self._beats})

    def summary(self) -> str:
        """Say what the records came to."""
        counts = self.counts
        parts = ", ".join(f"{counts[name]} {name}" for name in COUNTED)
        return f"{sum(counts[name] for name in COUNTED)} stream records: {parts}"

    def _understood(self, entry: Entry, change: Change, source: Source | None, told: Interpretation) -> Explanation:
        event = told.event
        naming = self._namings[source.id] if source is not None else None
        self._counts["claimed"] += source is not None
        self._counts["no event" if event is None else "recorded" if event.recorded else "not recorded"] += 1
        return Explanation(
            sequence_number=_sequence(entry.raw),
            event=event.type if event is not None else None,
            recorded=event is not None and event.recorded,
            authenticated=event.authenticated if event is not None else None,
            # A row that no layout claims may be anything, so not even its key is shown.
            entity=naming.entity(naming.kind, change.key) if naming is not None else None,
            actor=naming.actor(event.actor) if naming is not None and event is not None else None,
            previous_actor=naming.actor(event.previous_actor) if naming is not None and event is not None else None,
            flags=event.flags if event is not None else (),
            certainty=event.certainty if event is not None else None,
            reason=(event.reason if event is not None else None) or told.reason,
            created_ms=change.created_ms,
        )

    def _broken(self, entry: Entry, reason: str, *, recorded: bool) -> Explanation:
        self._counts["undecodable"] += 1
        return Explanation(
            sequence_number=_sequence(entry.raw),
            event=UNDECODABLE,
            recorded=recorded,
            authenticated=None,
            entity=None,
            actor=None,
            previous_actor=None,
            flags=(),
            certainty="unknown",
            reason=reason,
        )

    def _made(self, precision_ms: int) -> tuple[Source, ...]:
        made = tuple(plan.source(self.schema, self.keys, precision_ms) for plan in self.plans)
        self._sources[precision_ms] = made
        self._namings |= {source.id: Naming.of(source, self.keys) for source in made}
        self._heartbeats[precision_ms] = _heartbeats_of(made, self._namings)
        return made


@dataclass
class _Heartbeats:
    """Tells the heartbeats of one source, the only one."""

    source: Source
    naming: Naming
    pulses: tuple[Pulse, ...]
    _locks: dict[tuple[Any, ...], HeldLock] = field(default_factory=dict)
    _seconds: Any = field(default_factory=object)
    _created_ms: int = -1

    def take(self, raw: Mapping[str, Any]) -> Heartbeat | None:
        """Tell a heartbeat; None if it is not plainly one, or if anything of it is odd."""
        if raw.get("eventName") != "MODIFY":
            return None
        try:
            body = raw["dynamodb"]
            old, new, keys = body["OldImage"], body["NewImage"], body["Keys"]
            if not (type(old) is dict and type(new) is dict and type(body) is dict):
                return None
            found = self._beat(old, new)
            if found is None:
                return None
            at, (owner, _version, _lease_ms) = found
            parts = [keys[name]["S"] for name in self.source.key_schema.names if len(keys[name]) == 1]
            held = self._locks.get((at, owner, *parts)) or self._remember(at, owner, parts)
            position = body["SequenceNumber"]
            if not _is_position(position):
                return None
            return Heartbeat(position, self._created(body), held)
        except (WireFaultError, UnicodeEncodeError, KeyError, TypeError):
            # The whole way tells what is wrong.
            return None

    def _beat(self, old: dict[str, Any], new: dict[str, Any]) -> tuple[int, Beat] | None:
        for at, pulse in enumerate(self.pulses):
            if pulse.claims(new):
                beat = pulse.read(old, new)
                return None if beat is None else (at, beat)
        return None

    def _created(self, body: Mapping[str, Any]) -> int:
        seconds = body["ApproximateCreationDateTime"]
        if seconds != self._seconds or type(seconds) is not type(self._seconds):
            self._created_ms = decode.created_ms(body, self.source.recipe.precision_ms)
            self._seconds = seconds
        return self._created_ms

    def _remember(self, at: int, owner: str, parts: Sequence[Any]) -> HeldLock:
        """Spell a lock and its owner. Raises TypeError for a key that is no text."""
        if len(parts) != len(self.source.key_schema.names) or any(type(part) is not str for part in parts):
            raise TypeError
        traits = self.source.layouts[at].traits
        plain = traits.acquire_signature or traits.clock == "none"
        naming = self.naming
        held = HeldLock(
            Explanation(
                sequence_number=None,
                event=RENEWED,
                recorded=False,
                authenticated=None,
                entity=naming.entity(naming.kind, EntityKey(tuple(("S", part) for part in parts))),
                actor=naming.actor(owner),
                previous_actor=None,
                flags=(),
                certainty="certain" if plain else "inferred",
                reason="heartbeat" if plain else "heartbeat_or_same_owner_again",
            )
        )
        if len(self._locks) >= LOCKS_REMEMBERED_MAX:
            self._locks.clear()
        self._locks[at, owner, *parts] = held
        return held


def _heartbeats_of(sources: tuple[Source, ...], namings: Mapping[str, Naming]) -> _Heartbeats | None:
    """Find what tells the heartbeats; None where each change has to be looked into."""
    if len(sources) != 1:
        return None
    [source] = sources
    pulses = [layout.pulse for layout in source.layouts]
    sound = tuple(pulse for pulse in pulses if pulse is not None)
    return _Heartbeats(source, namings[source.id], sound) if len(sound) == len(pulses) else None


def _is_position(value: Any) -> bool:
    """Whether a sequence number is one, as `decode.sequence_number` has it."""
    return type(value) is str and 0 < len(value) <= decode.SEQUENCE_DIGITS_MAX and value.isascii() and value.isdigit()


def _shard(raw: Mapping[str, Any]) -> ShardRef:
    arn = raw.get("eventSourceARN")
    return ShardRef(arn, "") if isinstance(arn, str) else NOWHERE


def _sequence(raw: Mapping[str, Any] | None) -> str | None:
    """Spell the sequence number as it came, if it is one: text of any other kind is not repeated."""
    body = raw.get("dynamodb") if raw is not None else None
    value = body.get("SequenceNumber") if isinstance(body, Mapping) else None
    return value if isinstance(value, str) and value.isascii() and value.isdigit() else None
