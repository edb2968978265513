"""A layout, compiled from its data: what `lockside.core.row.Layout` asks for.

All names, paths and rules are worked out once, when the layout is loaded; a record costs only the attributes that the
layout names.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

import rfc8785

from lockside.core.attributes import Image
from lockside.core.entity import EntityKey
from lockside.core.row import LeaseClock, Row, Traits
from lockside.layouts import schema
from lockside.layouts.claim import KeyRule, RowRule
from lockside.layouts.field import Deadline, Field, Lease
from lockside.layouts.lock import LockReader, Release
from lockside.layouts.overriding import overridden
from lockside.layouts.path import compile_path
from lockside.layouts.pulse import LockPulse, pulse_of
from lockside.layouts.session import Ended, PayloadReader, Principal, SessionReader


@dataclass(frozen=True, slots=True)
class About:
    """What people want to know of a layout; it decides nothing."""

    client: str
    language: str
    docs: str
    notes: str


@dataclass(frozen=True, slots=True)
class Spec:
    """One layout. `signature` is what a full row shows: attribute names with the types they have, for detection.

    `carries` is what a row may have besides, and of which types.

    `secrets` names attributes that hold what must not leave the table: no user's name may repeat them, and a scan may
    look for them.
    """

    name: str
    traits: Traits
    digest: str
    default_sort: str | None
    key_names: tuple[str, ...]
    family: str
    aliases: tuple[str, ...]
    secrets: tuple[str, ...]
    ttl_attr: str | None
    needs_lease: bool
    fallback: bool
    about: About
    signature: tuple[tuple[str, frozenset[str]], ...]
    carries: tuple[tuple[str, frozenset[str]], ...]
    rows: RowRule
    reader: LockReader | SessionReader
    pulse: LockPulse | None = field(compare=False)
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def knows_principal(self) -> bool:
        """Whether the layout has a place for a session's user; without one the source's settings must name it."""
        return isinstance(self.reader, SessionReader) and bool(self.reader.principals)

    def claims(self, key: EntityKey, image: Image) -> bool:
        """Whether an image is a row of this layout.

        A lock's row names an owner (or whatever stands for one). A session table is all sessions unless the layout
        says otherwise, so a stub, a row with nothing but its key, belongs to it.
        """
        return self.rows.holds(key, image)

    def read(self, image: Image) -> Row:
        """Read a claimed image. Never raises: what is unreadable becomes a fault."""
        return self.reader.read(image)

    def with_overrides(self, overrides: Mapping[str, Any]) -> "Spec":
        """Return this layout with attributes renamed, for clients whose users may: the layout's name = the table's.

        `principal` is a list of paths to a session's user, tried before the layout's own. Raises LayoutError.
        """
        if not overrides:
            return self
        return load(overridden(self.document, overrides, self.name), f"overrides of layout {self.name!r}")

    def within(self, rows: RowRule) -> "Spec":
        """Return this layout for those of its rows that a source's filter lets through."""
        rule = replace(self.rows, within=rows)
        pulse = pulse_of(rule, self.reader, self.traits.clock) if isinstance(self.reader, LockReader) else None
        return replace(self, rows=rule, pulse=pulse)


def load(document: Mapping[str, Any], origin: str) -> Spec:
    """Check and compile one layout's data. `origin` names its file in errors. Raises LayoutError."""
    data = schema.parse(document, origin)
    reader = _lock_reader(data) if isinstance(data, schema.LockData) else _session_reader(data)
    rows, traits = _row_rule(data), _traits(data)
    return Spec(
        name=data.name,
        traits=traits,
        digest=hashlib.sha256(rfc8785.dumps(schema.meaning(data))).hexdigest(),
        default_sort=data.keys.default_sort,
        key_names=tuple(data.keys.names),
        family=data.family or data.name,
        aliases=tuple(data.aliases),
        secrets=tuple(data.secrets),
        ttl_attr=data.ttl.attr if data.ttl else None,
        needs_lease=isinstance(data, schema.LockData) and data.lease_configured,
        fallback=data.fallback,
        about=About(data.client, data.language, data.docs, data.notes),
        signature=_signature(data),
        carries=tuple((name, frozenset(types)) for name, types in data.carries.items()),
        rows=rows,
        reader=reader,
        pulse=pulse_of(rows, reader, traits.clock) if isinstance(reader, LockReader) else None,
        document=dict(document),
    )


def _traits(data: schema.LayoutData) -> Traits:
    ttl_is_deadline = data.ttl is not None and data.ttl.is_deadline
    grace_ms = data.deadline.grace_ms if data.deadline else 0
    match data:
        case schema.LockData():
            return Traits(
                kind="lock",
                clock=_clock(data),
                releases=data.release.mode,
                acquire_signature=data.fence is not None or data.acquired_at is not None,
                owner_change=data.owner_change,
                ttl_is_deadline=ttl_is_deadline,
                grace_ms=grace_ms,
                names_owner=data.owner is not None,
                renews=data.renews,
                prunes=data.prunes,
                writes_once=data.writes_once,
                retires=data.retires,
            )
        case schema.SessionData():
            return Traits(
                kind="session",
                clock=_clock(data),
                ttl_is_deadline=ttl_is_deadline,
                grace_ms=grace_ms,
                lifetime_max_ms=data.lifetime_max_ms,
            )
        case _:
            assert_never(data)


def _clock(data: schema.LayoutData) -> LeaseClock:
    if isinstance(data, schema.LockData) and (data.lease is not None or data.lease_configured):
        return "relative"
    return "absolute" if data.deadline is not None else "none"


def row_rule(rows: schema.Rows) -> RowRule:
    """Compile which rows are meant: a layout's own, or those that a source's filter lets through."""
    return RowRule(
        keys=tuple(_key_rule(rule) for rule in (rows.partition, rows.sort)),
        required=tuple(sorted((name, frozenset(types)) for name, types in rows.required.items())),
        absent=tuple(rows.absent),
        equals=_values(rows.equals),
        if_present=_values(rows.if_present),
    )


def _row_rule(data: schema.LayoutData) -> RowRule:
    rule = row_rule(data.rows)
    if isinstance(data, schema.LockData) and data.owner and not _free_without_owner(data):
        # Of any type: a row whose owner is unreadable is still a lock's row, with a fault.
        required = {data.owner.attr: frozenset[str](), **dict(rule.required)}
        return replace(rule, required=tuple(sorted(required.items())))
    return rule


def _values(rules: Mapping[str, list[str | int | bool]]) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((name, frozenset(map(_text, values))) for name, values in sorted(rules.items()))


def _free_without_owner(data: schema.LockData) -> bool:
    rule = data.release
    return rule.rule == "absent" and data.owner is not None and rule.attr == data.owner.attr


def _key_rule(rule: schema.KeyRuleData | None) -> KeyRule | None:
    return None if rule is None else KeyRule(**{name: tuple(value) for name, value in rule})


def _text(value: str | int | bool) -> str:  # noqa: FBT001 - a value from the file, no switch
    return str(value).lower() if isinstance(value, bool) else str(value)


def _field(role: str, data: schema.Text | schema.LeaseData | schema.DeadlineData | schema.InstantData) -> Field:
    types = frozenset(data.types)
    if isinstance(data, schema.InstantData):
        return Field(role, data.attr, types, optional=True)
    if not isinstance(data, schema.Text):
        return Field(role, data.attr, types, data.optional)
    path = None if data.path is None else compile_path(data.path)
    return Field(role, data.attr, types, data.optional, path, data.binary)


def _lock_reader(data: schema.LockData) -> LockReader:
    def text(role: str, spelled: schema.Text | None) -> Field | None:
        return None if spelled is None else _field(role, spelled)

    shared = data.lease is not None and data.deadline is not None
    return LockReader(
        release=_release(data),
        owner=text("owner", data.owner),
        version=text("version", data.version),
        lease=_lease(data.lease, data.deadline if shared else None),
        deadline=_deadline(data.deadline, data.lease if shared else None),
        fence=text("fence", data.fence),
        acquired_at=text("acquired_at", data.acquired_at),
        handoff=text("handoff", data.handoff),
        progress=tuple(_progress(data.progress)),
        blocked=data.blocked.attr if data.blocked else None,
        lets_go_by_deadline=data.release.mode == "set_deadline",
        renews=data.renews,
    )


def _progress(data: schema.Progress | None) -> Iterable[Field]:
    if data is not None:
        yield _field("progress", data)
        for name, types in data.beside.items():
            yield Field("progress", name, frozenset(types), optional=True)


def _release(data: schema.LockData) -> Release:
    match data.release:
        case schema.ReleaseNone():
            return Release("none")
        case schema.ReleaseAttribute(rule=rule, attr=attr):
            return Release(rule, attr)
        case schema.ReleaseEquals(attr=attr, value=value):
            return Release("equals", attr, _text(value))
        case schema.ReleaseLease(value=value):
            return Release("lease_equals", value=str(value))
        case _:
            assert_never(data.release)


def _lease(data: schema.LeaseData | None, beside: schema.DeadlineData | None) -> Lease | None:
    """Compile a lease; one that shares its attribute with a deadline is told from it by type."""
    if data is None:
        return None
    return Lease(_field("lease", data), data.unit, data.times, frozenset(beside.types if beside else ()))


def _deadline(data: schema.DeadlineData | None, beside: schema.LeaseData | None = None) -> Deadline | None:
    if data is None:
        return None
    elsewhere = frozenset(beside.types if beside else ())
    floor = data.none_until
    return Deadline(
        field=_field("deadline", data),
        unit=data.unit,
        otherwise=_deadline(data.otherwise),
        elsewhere=elsewhere,
        never=frozenset(data.never),
        none_until=None if floor is None else Deadline(_field("none_until", floor), floor.unit),
        within_ms=0 if floor is None else floor.within_ms,
        offset_ms=data.offset_ms,
    )


def _session_reader(data: schema.SessionData) -> SessionReader:
    spelled = data.payload
    beside = {data.deadline.attr} if data.deadline else set()
    beside |= {data.deadline.otherwise.attr} if data.deadline and data.deadline.otherwise else set()
    beside |= {data.ttl.attr} if data.ttl else set()
    return SessionReader(
        payload=PayloadReader(
            attr=spelled.attr,
            codecs=tuple(one for one in spelled.codecs if one != "map" and one != "opaque"),  # noqa: PLR1714 - mypy
            maps="map" in spelled.codecs,
            path=compile_path(spelled.path) if spelled.path else (),
            volatile=tuple(compile_path(path) for path in spelled.volatile),
            ignored=frozenset(data.keys.names) | beside,
            falls_opaque="opaque" in spelled.codecs,
            churns=spelled.churns,
        ),
        principals=tuple(Principal(compile_path(one.path), one.of, one.strip) for one in data.principals),
        deadline=_deadline(data.deadline),
        absent_user=data.absent_user,
        privileges=tuple(compile_path(path) for path in data.privileges),
        ended=_ended(data.ended),
        withheld=_withheld(data),
    )


def _withheld(data: schema.SessionData) -> tuple[str, ...]:
    """Collect the attributes whose text no user's name may repeat: the secrets, and the key unless they name its part.

    Auth.js and Lucia keep the user in the other part of the key, and what a user is read from may be repeated anyway.
    """
    flat = data.payload.attr is None
    read = {one.path[0] for one in data.principals if flat or one.of == "row"} | {data.payload.attr}
    keys = [] if set(data.keys.names) & set(data.secrets) else data.keys.names
    return tuple(name for name in dict.fromkeys([*keys, *data.secrets]) if name not in read)


def _ended(data: schema.EndedData | None) -> Ended | None:
    if data is None:
        return None
    return Ended(compile_path(data.path), frozenset(map(_text, data.equals)), data.below)


def _signature(data: schema.LayoutData) -> tuple[tuple[str, frozenset[str]], ...]:
    """Collect what a full row shows: what is required, what it has besides, and what roles name and is not optional."""
    found: dict[str, frozenset[str]] = {name: frozenset(types) for name, types in data.rows.required.items()}
    found |= {name: frozenset(types) for name, types in data.shows.items()}
    found |= {name: frozenset[str]() for name in data.rows.equals if name not in found}
    for name, types in _role_attributes(data):
        found[name] = found.get(name) or types
    return tuple(found.items())


def _role_attributes(data: schema.LayoutData) -> Iterable[tuple[str, frozenset[str]]]:
    match data:
        case schema.LockData():
            roles: tuple[schema.Text | schema.LeaseData | schema.DeadlineData | None, ...] = (
                None if _free_without_owner(data) else data.owner,
                data.version,
                data.lease,
                data.deadline,
                data.fence,
                data.acquired_at,
                data.handoff,
                data.progress,
            )
        case schema.SessionData():
            roles = (data.deadline,)
            if data.payload.attr is not None:
                yield data.payload.attr, _payload_types(data.payload)
        case _:
            assert_never(data)
    for role in roles:
        if role is not None and not role.optional:
            yield role.attr, frozenset(role.types)


def _payload_types(data: schema.PayloadData) -> frozenset[str]:
    if not data.codecs:
        return frozenset()
    by_codec = {
        "json": ("S", "B"),
        "msgpack": ("B",),
        "map": ("M",),
        "php": ("S", "B"),
        "django": ("S", "B"),
        "opaque": ("S", "B"),
    }
    return frozenset(tag for codec in data.codecs for tag in by_codec[codec])
