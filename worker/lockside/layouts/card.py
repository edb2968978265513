"""A layout told to people: what it reads, and what a stream of its rows can and cannot tell.

All of it follows from the layout's data, so that `lockside layouts` and docs/layouts.md say what the worker does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lockside.core.entity import Kind
from lockside.core.row import LeaseClock
from lockside.layouts import schema
from lockside.layouts.session import SessionReader
from lockside.layouts.spec import About, Spec

LAPSES: Final = {"relative": "last write + lease", "absolute": "stored deadline", "none": "never"}
"""When a lock or session lapses, by the layout's clock."""

ENDS: Final = {
    "delete": "row deleted",
    "mark": "row marked free",
    "both": "row deleted, or marked free",
    "set_deadline": "deadline moved up",
    "never": "nothing; the row stays",
}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that a layout reads: its role, its types, and in which unit or codec it is read."""

    role: str
    name: str
    types: tuple[str, ...]
    read_as: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """One layout. `actor` is where the owner or the user stands, `release` how a row says that it is over.

    `inferred` are the events that are never certain. `limits` are whole sentences.
    """

    name: str
    kind: Kind
    family: str
    aliases: tuple[str, ...]
    about: About
    keys: tuple[str, ...]
    rows: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    clock: LeaseClock
    actor: str | None
    version: str | None
    release: str
    inferred: tuple[str, ...]
    secrets: tuple[str, ...]
    settings: tuple[str, ...]
    limits: tuple[str, ...]

    @property
    def lapses(self) -> str:
        """When its locks or sessions lapse."""
        return LAPSES[self.clock]


def card_of(spec: Spec) -> Card:
    """Tell a layout."""
    data = schema.parse(spec.document, spec.name)
    return Card(
        name=spec.name,
        kind=spec.traits.kind,
        family=spec.family,
        aliases=spec.aliases,
        about=spec.about,
        keys=spec.key_names,
        rows=tuple(_rows(data.rows)),
        attributes=tuple(_attributes(data)),
        clock=spec.traits.clock,
        actor=_actor(data),
        version=data.version.attr if isinstance(data, schema.LockData) and data.version else None,
        release=_release(data),
        inferred=tuple(_inferred(spec)),
        secrets=spec.secrets,
        settings=tuple(_settings(spec)),
        limits=tuple(_limits(spec)),
    )


def _attributes(data: schema.LayoutData) -> Iterator[Attribute]:
    """Take every table of the data that names an attribute: its role is the table's own name."""
    for role, value in data:
        attr = getattr(value, "attr", None)
        if isinstance(value, schema.Table) and attr:
            yield Attribute(role, attr, _types(value), _read_as(value), bool(getattr(value, "optional", False)))


def _types(table: schema.Table) -> tuple[str, ...]:
    return tuple(getattr(table, "types", ()))


def _read_as(table: schema.Table) -> str:
    match table:
        case schema.PayloadData():
            return ", ".join(table.codecs) or "opaque"
        case schema.Progress() if table.beside:
            return f"with {', '.join(table.beside)}"
        case schema.Ttl():
            return "the deadline itself" if table.is_deadline else "cleanup only"
        case schema.ReleaseEquals():
            return f"free while it is {table.value!r}"
        case schema.ReleaseAttribute():
            return "free while it is there" if table.rule == "exists" else "free while it is not there"
        case _:
            return ", ".join(_told(table))


def _told(table: schema.Table) -> Iterator[str]:
    """Spell a unit, a path, and whatever else the data says of an attribute, by the field's own name."""
    said = table.model_dump(exclude_defaults=True, exclude={"attr", "types", "optional"})
    if unit := said.pop("unit", None):
        yield unit
    if path := said.pop("path", None):
        yield f"JSON at {'.'.join(path)}"
    for name, value in said.items():
        inner = value.get("attr") if isinstance(value, dict) else None
        yield f"{name} {inner} in {value.get('unit')}" if inner else f"{name} {_listed(value)}"


def _actor(data: schema.LayoutData) -> str | None:
    if isinstance(data, schema.LockData):
        return ".".join((data.owner.attr, *(data.owner.path or ()))) if data.owner else None
    return ", ".join(".".join(one.path) for one in data.principals) or None


def _release(data: schema.LayoutData) -> str:
    if isinstance(data, schema.SessionData):
        return "row deleted, or emptied"
    told = ENDS[data.release.mode]
    rule = data.release
    if isinstance(rule, schema.ReleaseLease):
        return f"{told} (lease = {rule.value} ms)"
    return f"{told} ({rule.attr})" if isinstance(rule, schema.ReleaseAttribute | schema.ReleaseEquals) else told


def _rows(rows: schema.Rows) -> Iterator[str]:
    for part, rule in (("partition key", rows.partition), ("sort key", rows.sort)):
        if rule is not None:
            asked = rule.model_dump(exclude_defaults=True)
            yield from (f"{part}: {name.replace('_', ' ')} {_listed(values)}" for name, values in asked.items())
    for name, types in rows.required.items():
        yield f"has {name}{f' of type {_listed(types)}' if types else ''}"
    if rows.absent:
        yield f"has no {_listed(rows.absent)}"
    for name, values in rows.equals.items():
        yield f"{name} is {_listed(values)}"
    for name, values in rows.if_present.items():
        yield f"{name} is {_listed(values)} or not there"


def _listed(values: Any) -> str:
    return " or ".join(str(value) for value in values) if isinstance(values, list) else str(values)


def _inferred(spec: Spec) -> Iterator[str]:
    traits = spec.traits
    if traits.kind == "session":
        yield "session.ended after the deadline" if traits.clock != "none" else "session.ended"
        return
    if _renewals_are_inferred(spec):
        yield "lock.renewed"
    if traits.releases in {"delete", "both"}:
        yield "lock.released by delete"
    if traits.releases == "set_deadline":
        yield from ("lock.acquired of a row that is there", "lock.released")
    if traits.prunes:
        yield "lock.released after the deadline"
    if _is_nameless(spec):
        yield from ("lock.renewed", "lock.taken_over")


def _is_nameless(spec: Spec) -> bool:
    """Whether only the deadline tells a renewal from a takeover (core/locks.py, rule 9 nameless)."""
    traits = spec.traits
    return not traits.names_owner and traits.renews and traits.clock == "absolute"


def _renewals_are_inferred(spec: Spec) -> bool:
    """Whether a heartbeat and the same owner's new acquisition look the same (core/locks.py, rule 10)."""
    traits = spec.traits
    return traits.renews and traits.names_owner and not traits.acquire_signature and traits.clock != "none"


def _settings(spec: Spec) -> Iterator[str]:
    """Name what a source of this layout must, or may have to, set."""
    if spec.needs_lease:
        yield "lease_ms (the rows hold no lease)"
    if spec.traits.kind == "lock" and spec.traits.clock == "none":
        yield "stale_after_seconds, to hear of locks that stay (lock.stale)"
    if spec.traits.releases == "both":
        yield "releases, if its clients never delete a row, or never mark one"
    if spec.traits.kind == "session" and not spec.knows_principal:
        yield "principal, if the payload names a user"


def _limits(spec: Spec) -> Sequence[str]:
    return _lock_limits(spec) if spec.traits.kind == "lock" else _session_limits(spec)


def _lock_limits(spec: Spec) -> list[str]:
    traits, limits = spec.traits, list[str]()
    match traits.clock:
        case "relative":
            limits.append(
                "No instant is stored. A lease runs from the receipt of the last version; one read proves a lapse."
            )
        case "absolute":
            limits.append("The deadline is by the writer's clock: a lapse is as exact as that clock.")
        case "none":
            limits.append("No lease is stored: a lapse is never declared, however long the holder is dead.")
    if _renewals_are_inferred(spec):
        limits.append("A heartbeat and the same owner's name taking the lock again look the same.")
    if traits.releases in {"delete", "both"}:
        limits.append("A release and a delete by hand look the same.")
    if traits.owner_change == "transferred":
        limits.append(
            "Another owner is told as a transfer: this client balances, and a new owner need not mean a lapse."
        )
    if traits.acquire_signature:
        limits.append("The row itself tells an acquisition from a renewal.")
    if not traits.names_owner:
        limits.append("Rows name no owner: who held it is not told.")
    if _is_nameless(spec):
        limits.append("A new version is told as a renewal before the deadline, as a takeover from then on.")
    if traits.releases == "never":
        limits.append("No client lets go: a row stays until somebody deletes it.")
    if traits.prunes:
        limits.append("Contenders mark a lapsed lock free themselves, which looks like a late release.")
    return limits


def _session_limits(spec: Spec) -> list[str]:
    reader, limits = spec.reader, list[str]()
    if not isinstance(reader, SessionReader):
        return limits
    if reader.payload.opaque:
        limits.append("The payload is opaque: who is logged in is unknown, and a change is known only to be one.")
    elif not reader.principals:
        limits.append("The layout knows no place for a user: logins are seen once the source's `principal` names one.")
    payload = spec.document.get("payload", {})
    if payload.get("codecs", [])[1:] and payload["codecs"][-1] == "opaque":
        limits.append("A payload in another codec is opaque: who is logged in is unknown then.")
    if payload.get("churns"):
        limits.append("An opaque payload is rewritten at every request: that it changed tells nothing.")
    if spec.document.get("absent_user") == "unknown":
        limits.append("Where no user is found, one may stand elsewhere: whether somebody is logged in is unknown.")
    if spec.traits.clock == "none":
        limits.append("No deadline is stored: nothing lapses, and a removal may be a logout or a clean-up.")
    else:
        limits.append("A removal after the deadline may be a logout, a reaper or a replicated TTL removal.")
    if spec.traits.ttl_is_deadline:
        limits.append(
            "DynamoDB's TTL removes rows by the deadline itself, days late at times; the lapse is told at the deadline."
        )
    return limits
