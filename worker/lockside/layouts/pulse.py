"""A heartbeat read quickly: most of what a lock table's stream holds, and never recorded.

Strategy: a change is a plain heartbeat if everything the layout reads of both images is the same, as it came, but for
the version, and the lock is held. Then its meaning is known without reading either row: `lock.renewed`, for counting
only. What is new is read from three texts. Whatever else, or whatever needs a second look, is None: the layout's own
reading decides. A property test holds both to the same answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lockside.core.attributes import Image
from lockside.core.row import Beat, LeaseClock
from lockside.layouts.claim import RowRule
from lockside.layouts.field import Field, Lease
from lockside.layouts.lock import LockReader, Release

TEXT_MAX: Final = 128
"""Longer names and versions are bounded by their bytes, which is not looked at here."""

LEASES_MAX: Final = 1_024
"""Spellings of leases remembered; a table has a handful."""


@dataclass(frozen=True, slots=True)
class LockPulse:
    """What tells a heartbeat of one lock layout. Both are asked of every record: one call each, none around it.

    `claims`: whether an image is a row of the layout, whatever its key. `read`: a claimed row's heartbeat, None if it
    is not plainly one.
    """

    claims: Callable[[Image], bool]
    read: Callable[[Image, Image], Beat | None]


@dataclass(frozen=True, slots=True)
class Beating:
    """How the heartbeats of a layout are read: `still` are the attributes that do not move in one.

    `flags` are those of them that may be a truth value, as true and 1 are equal in Python and not on the wire.
    """

    still: tuple[str, ...]
    flags: tuple[str, ...]
    owner: str
    version: str
    lease: Lease | None
    release: Release

    def reader(self) -> Callable[[Image, Image], Beat | None]:
        """Make what reads a heartbeat: owner, version and lease. What it looks up is bound beforehand, once."""
        still, flags, version_at, owner_at, release = self.still, self.flags, self.version, self.owner, self.release
        lease_of = None if self.lease is None else _lease_reader(self.lease)
        mark = release.attr if release.rule == "exists" else None
        asks = release.rule not in {"exists", "none"}

        def read(old: Image, new: Image) -> Beat | None:
            was_at, is_at = old.get, new.get
            for name in still:
                if was_at(name) != is_at(name):
                    return None
            try:
                was, now, who = old[version_at], new[version_at], new[owner_at]
                before, after, owner = was["S"], now["S"], who["S"]
                if before == after or not (len(was) == len(now) == len(who) == 1 and _are_short(before, after, owner)):
                    return None
                lease_ms = None
                if lease_of is not None and (lease_ms := lease_of(new)) is None:
                    return None
            except (KeyError, TypeError, ValueError, AttributeError):
                return None
            for name in flags:
                if repr(was_at(name)) != repr(is_at(name)):
                    return None
            if mark in new or (asks and release.holds(new, lease_ms, [])):
                return None
            return owner, after, lease_ms

        return read


def _lease_reader(lease: Lease) -> Callable[[Image], int | None]:
    """Make what reads a lease, each spelling once; it raises what a wire value of no legal shape leads to."""
    attr = lease.field.attr
    known: dict[tuple[str, str], int] = {}

    def read(new: Image) -> int | None:
        [spelled] = new[attr].items()
        lease_ms = known.get(spelled)
        if lease_ms is None and type(spelled[1]) is str and (lease_ms := lease.read(new, [])) is not None:
            if len(known) >= LEASES_MAX:
                known.clear()
            known[spelled] = lease_ms
        return lease_ms

    return read


def _are_short(before: Any, after: Any, owner: Any) -> bool:
    """Whether the members of three wire values are short texts."""
    return (
        type(before) is type(after) is type(owner) is str
        and 0 < len(before) <= TEXT_MAX
        and 0 < len(after) <= TEXT_MAX
        and 0 < len(owner) <= TEXT_MAX
        and ((before.isascii() and after.isascii() and owner.isascii()) or _encodes(before + after + owner))
    )


def _encodes(text: str) -> bool:
    """Whether UTF-8 can hold a text: half of a surrogate pair is a fault that the layout's own reading tells."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def pulse_of(rows: RowRule, reader: LockReader, clock: LeaseClock) -> LockPulse | None:
    """Work out a lock layout's pulse; None where the key has a say in which rows are the layout's."""
    if rows.asks_keys:
        return None
    # A heartbeat that moves a stored deadline has flags.
    beating = _beating(rows, reader) if clock == "relative" else None
    return LockPulse(rows.fits, _none if beating is None else beating.reader())


def _none(_old: Image, _new: Image) -> Beat | None:
    """Find no plain heartbeat: only a full reading can tell."""
    return None


def _beating(rows: RowRule, reader: LockReader) -> Beating | None:
    owner, version = reader.owner, reader.version
    if owner is None or version is None or reader.deadline is not None or not (_plain(owner) and _plain(version)):
        return None
    if not reader.renews:
        # Its new version is another holder.
        return None
    roles = (owner, reader.lease.field if reader.lease else None, reader.fence, reader.acquired_at, reader.handoff)
    # Both versions are texts by then, so a rule that asks for one of a type is met by both or by neither.
    still = {name for rule in rows.chain for name, _ in rule.required} - {version.attr}
    still |= {one.attr for one in roles if one is not None} | {reader.release.attr} - {""}
    still |= set() if reader.blocked is None else {reader.blocked}
    flags = {name for rule in rows.chain for name, _ in (*rule.equals, *rule.if_present)}
    flags |= {reader.release.attr} if reader.release.rule == "equals" else set()
    still |= {name for rule in rows.chain for name in rule.absent} | flags
    return Beating(tuple(sorted(still)), tuple(sorted(flags)), owner.attr, version.attr, reader.lease, reader.release)


def _plain(field_: Field) -> bool:
    return "S" in field_.types and field_.path is None
