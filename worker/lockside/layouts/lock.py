"""Reading a lock's row."""

from dataclasses import dataclass
from typing import Literal, assert_never

from lockside.core import attributes
from lockside.core.attributes import Image
from lockside.core.entity import bounded
from lockside.core.row import LockRow
from lockside.errors import WireFaultError
from lockside.layouts.claim import has_type, scalar_text
from lockside.layouts.field import NULL, Deadline, Field, Lease, read_text

ReleaseRule = Literal["exists", "absent", "equals", "lease_equals", "none"]


@dataclass(frozen=True, slots=True)
class Release:
    """How a row that is still there says that nobody holds the lock.

    `value` is the canonical text of the attribute (`equals`), or the lease in milliseconds (`lease_equals`).
    """

    rule: ReleaseRule
    attr: str = ""
    value: str = ""

    def holds(self, image: Image, lease_ms: int | None, faults: list[str]) -> bool:
        """Whether the row is free. What cannot be read is held: a lock is never called free on a guess."""
        match self.rule:
            case "exists":
                return self.attr in image
            case "absent":
                # NULL counts as absent, as in every other field.
                return self.attr not in image or has_type(image, self.attr, NULL)
            case "equals":
                return self._equals(image, faults)
            case "lease_equals":
                return str(lease_ms) == self.value
            case "none":
                return False
            case _:
                assert_never(self.rule)

    def _equals(self, image: Image, faults: list[str]) -> bool:
        wire = image.get(self.attr)
        if wire is None:
            return False
        try:
            return scalar_text(attributes.decode(wire)) == self.value
        except WireFaultError:
            faults.append("release_unreadable")
            return False


@dataclass(frozen=True, slots=True)
class LockReader:
    """Reads the rows of one lock layout.

    `blocked` is the attribute that keeps everybody out. `lets_go_by_deadline`: a holder lets go by moving its deadline.
    `renews`: a new version may be the same holder's.
    """

    release: Release
    owner: Field | None = None
    version: Field | None = None
    lease: Lease | None = None
    deadline: Deadline | None = None
    fence: Field | None = None
    acquired_at: Field | None = None
    handoff: Field | None = None
    progress: tuple[Field, ...] = ()
    blocked: str | None = None
    lets_go_by_deadline: bool = False
    renews: bool = True

    def read(self, image: Image) -> LockRow:
        """Read a row; what is not as it should be becomes a fault."""
        faults: list[str] = []
        lease_ms = self.lease.read(image, faults) if self.lease else None
        free = self.release.holds(image, lease_ms, faults)
        deadline_ms = self.deadline.read(image, faults) if self.deadline else None
        return LockRow(
            owner=self._owner(image, free, faults),
            version=_bounded(read_text(self.version, image, faults)),
            lease_ms=lease_ms,
            deadline_ms=deadline_ms,
            released=free,
            fence=_bounded(read_text(self.fence, image, faults)),
            acquired_at=_bounded(read_text(self.acquired_at, image, faults)),
            handoff=_bounded(read_text(self.handoff, image, faults)),
            progress=_bounded(self._progress(image, faults)),
            blocked=self.blocked is not None and self.blocked in image,
            until_ms=deadline_ms if self.lets_go_by_deadline else None,
            faults=tuple(faults),
        )

    def _progress(self, image: Image, faults: list[str]) -> str | None:
        """Read what a renewal reports, as one text: it is only ever compared."""
        told = [read_text(one, image, faults) for one in self.progress]
        return None if all(one is None for one in told) else "\n".join(one or "" for one in told)

    def _owner(self, image: Image, free: bool, faults: list[str]) -> str | None:  # noqa: FBT001 - a fact, no switch
        # A free row need not name an owner (KCL removes the attribute), so it is no fault there.
        if free and self.owner is not None and self.release.attr == self.owner.attr:
            # What stands there is the release mark (dyndb-mutex: "__empty__"), and nobody's name.
            return None
        return read_text(self.owner, image, [] if free else faults)


def _bounded(value: str | None) -> str | None:
    # Held in memory for every live lock, so a 400 KB "version" must not be.
    return None if value is None else bounded(value)
