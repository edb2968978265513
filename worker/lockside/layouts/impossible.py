"""What a well written layout says that can never come true: every row would be unreadable, or no lock ever free.

Found once a layout's data has its shape; each is told by its field, with what would work instead.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockside.layouts import schema


def never_true(data: "schema.LayoutData") -> Iterator[str]:
    """Tell each contradiction in one line."""
    if len(set(data.keys.names)) < len(data.keys.names):
        yield f"keys.names: {data.keys.names!r} names one attribute twice: a table's two key attributes differ"
    if both := sorted(set(data.rows.absent) & {*data.rows.required, *data.rows.equals}):
        yield f"rows.absent: {both!r} must be there by rows.required or rows.equals: no row would be the layout's"
    yield from _instants("deadline", data.deadline)
    if data.kind == "lock":
        yield from _clocks(data)
        yield from _releases(data)


def _instants(field: str, data: "schema.DeadlineData | None") -> Iterator[str]:
    if data is None:
        return
    for name, one in ((field, data), (f"{field}.none_until", data.none_until)):
        if one is not None and one.unit == "iso" and "S" not in one.types:
            yield f'{name}.types: {one.types!r} with unit "iso": such an instant is text; add types = ["S"]'
    yield from _instants(f"{field}.otherwise", data.otherwise)


def _clocks(data: "schema.LockData") -> Iterator[str]:
    if data.lease is not None and data.lease.unit == "go-duration" and "S" not in data.lease.types:
        yield f'lease.types: {data.lease.types!r} with unit "go-duration": such a lease is text; add types = ["S"]'
    if data.prunes and data.deadline is None:
        yield "prunes: a contender's clearing is told by the deadline it waited for: name the deadline, or leave it out"


def _releases(data: "schema.LockData") -> Iterator[str]:
    release = data.release
    if release.rule == "none" and release.mode in {"mark", "both"}:
        yield (
            f'release.mode: "{release.mode}" with rule "none": a mark that no rule tells is never seen; name the rule, '
            'or use mode "delete", "set_deadline" or "never"'
        )
    if release.rule == "lease_equals" and data.lease is None:
        yield 'release.rule: "lease_equals" without a lease: no row would ever be free; name the lease'
    if release.rule == "exists" or release.rule == "absent":  # noqa: PLR1714 - mypy narrows by it
        yield from _presence(data, release.rule, release.attr)


def _presence(data: "schema.LockData", rule: str, attr: str) -> Iterator[str]:
    """Tell of a release by an attribute that all rows of the layout have, or that none has."""
    always = {*data.rows.required, *data.rows.equals}
    if data.owner is not None and rule == "exists":
        # Where it is absent that frees, the layout claims rows without an owner too.
        always.add(data.owner.attr)
    if attr in always:
        told = "free" if rule == "exists" else "held"
        yield f'release.attr: "{attr}" is in every row of the layout, so all would be {told} for ever'
    if attr in data.rows.absent:
        told = "held" if rule == "exists" else "free"
        yield f'release.attr: "{attr}" is in no row of the layout (rows.absent), so all would be {told} for ever'
