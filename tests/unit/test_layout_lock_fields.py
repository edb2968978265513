"""What a lock layout's data can say beside owner, version and lease, each by example."""

from typing import Any, Final

import pytest

from lockside.core.entity import EntityKey
from lockside.core.row import LockRow
from lockside.errors import LayoutError
from lockside.layouts.registry import builtin
from lockside.layouts.spec import Spec, load

KEY: Final = EntityKey((("S", "job"),))
LOCK: Final[dict[str, Any]] = {
    "name": "mine",
    "kind": "lock",
    "keys": {"names": ["id"]},
    "owner": {"attr": "who"},
    "release": {"rule": "none", "mode": "delete"},
}
DIGESTS: Final = {
    "awslabs": "97381fed852c1fccaceb45485aecfee8b3edc8b5b9755aa25afec0ee323ac9f5",
    "iceberg": "71e74162b2c7e866e043290dc26f229f3dd54e6a70f9e10cc0f3e2b7103b5773",
    "pydynlock": "aa9a8b2879a4b433d7700b36ab613276bb479bfca59cc7bc8dcebe2290ad8405",
    "tristanls-closed": "2807683500e256cb8927ebb974d6288f662bcf54e56cc50d09c06188ca4a9a61",
    "tristanls-open": "fb29878d82b2cdd639fd2faaef286034903e6ccb9e15c12240476929c1859612",
}


def made(**fields: Any) -> Spec:
    """Make a layout for a test."""
    return load({**LOCK, **fields}, "test")


def read(spec: Spec, **image: Any) -> LockRow:
    """Read a row of alpha's."""
    row = spec.read({"who": {"S": "alpha"}, **image})
    assert isinstance(row, LockRow)
    return row


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_a_layout_that_is_in_use_keeps_its_digest(name: str) -> None:
    """Another digest seals every log that was written with it: change one only with a reason for that."""
    (spec,) = builtin().find(name)
    assert spec.digest == DIGESTS[name]


SHARED: Final = {
    "lease": {"attr": "l", "types": ["S"], "unit": "s"},
    "deadline": {"attr": "l", "types": ["N"], "unit": "s", "optional": True},
}


@pytest.mark.parametrize(
    ("wire", "lease_ms", "deadline_ms", "faults"),
    [
        ({"S": "20"}, 20_000, None, ()),
        ({"N": "1795421420"}, None, 1_795_421_420_000, ()),
        ({"S": "20s"}, None, None, ("lease_unreadable",)),
        ({"N": "1e30"}, None, None, ("deadline_absurd",)),
        ({"B": "AAE="}, None, None, ("lease_unreadable", "deadline_unreadable")),
        (None, None, None, ("lease_missing",)),
    ],
)
def test_a_type_tells_a_lease_from_a_deadline(
    wire: Any, lease_ms: int | None, deadline_ms: int | None, faults: tuple[str, ...]
) -> None:
    """One attribute may hold the one in old rows and the other in new ones."""
    row = read(made(**SHARED), **({} if wire is None else {"l": wire}))
    assert (row.lease_ms, row.deadline_ms, row.faults) == (lease_ms, deadline_ms, faults)


@pytest.mark.parametrize(
    "deadline", [{"attr": "l", "types": ["S", "N"], "unit": "s"}, {"attr": "other", "types": ["N"], "unit": "s"}]
)
def test_a_lease_and_a_deadline_that_no_type_tells_apart_are_refused(deadline: dict[str, Any]) -> None:
    """Else a row would have both, and two instants at which it lapses."""
    with pytest.raises(LayoutError, match="only one of them"):
        made(**{**SHARED, "deadline": deadline})


def test_contenders_may_wait_for_more_than_one_lease() -> None:
    """What counts is when another may enter."""
    row = read(made(lease={"attr": "l", "unit": "ms", "times": 3}), l={"N": "20000"})
    assert row.lease_ms == 60_000


OTHERWISE: Final = {"attr": "soon", "unit": "ms", "otherwise": {"attr": "later", "unit": "s"}}


@pytest.mark.parametrize(
    ("image", "deadline_ms", "faults"),
    [
        ({"soon": {"N": "5"}, "later": {"N": "9"}}, 5, ()),
        ({"later": {"N": "9"}}, 9_000, ()),
        ({"soon": {"NULL": True}, "later": {"N": "9"}}, 9_000, ()),
        ({"soon": {"S": "x"}, "later": {"N": "9"}}, None, ("deadline_unreadable",)),
        ({}, None, ("deadline_missing",)),
    ],
)
def test_a_deadline_may_stand_elsewhere(
    image: dict[str, Any], deadline_ms: int | None, faults: tuple[str, ...]
) -> None:
    """Only where the first place is empty; what is there and unreadable is a fault, and no reason to look on."""
    row = read(made(deadline=OTHERWISE), **image)
    assert (row.deadline_ms, row.faults) == (deadline_ms, faults)


def test_one_grace_counts_for_both_places() -> None:
    """Two would leave open which of them a hold has."""
    with pytest.raises(LayoutError, match="otherwise has no grace_ms"):
        made(deadline={**OTHERWISE, "otherwise": {"attr": "later", "unit": "s", "grace_ms": 5}})


@pytest.mark.parametrize(
    ("raw", "owner", "faults"),
    [
        (b"0f0a-12", "0f0a-12", ()),
        ("MGYwYQ==", "0f0a", ()),
        (b"\xff\xfe", None, ("owner_unreadable",)),
        (b"", None, ("owner_empty",)),
    ],
)
def test_text_in_bytes_is_read_as_text(raw: Any, owner: str | None, faults: tuple[str, ...]) -> None:
    """Where the client says so; what is no text then is a fault."""
    spec = made(owner={"attr": "who", "types": ["B"], "binary": "utf-8"})
    row = read(spec, who={"B": raw})
    assert (row.owner, row.faults) == (owner, faults)


@pytest.mark.parametrize(
    ("image", "claimed"),
    [
        ({}, True),
        ({"kind": {"S": "LEASE"}}, True),
        ({"kind": {"S": "LEADER"}}, False),
        ({"kind": {"NULL": True}}, False),
        ({"kind": {"L": []}}, False),
    ],
)
def test_an_attribute_may_be_missing_but_not_another(image: dict[str, Any], *, claimed: bool) -> None:
    """Old clients do not write it, and other kinds of rows have another value."""
    spec = made(rows={"if_present": {"kind": ["LEASE"]}})
    assert spec.claims(KEY, {"who": {"S": "alpha"}, **image}) is claimed


def test_a_deadline_that_is_moved_to_let_go_needs_to_be_told_from_an_acquisition() -> None:
    """Else each unlock would look like a renewal."""
    with pytest.raises(LayoutError, match="set_deadline needs a deadline, and acquired_at"):
        made(release={"rule": "none", "mode": "set_deadline"}, deadline={"attr": "d", "unit": "iso", "types": ["S"]})


@pytest.mark.parametrize(
    ("layout", "renamed", "image"),
    [
        ("kcl", {"leaseOwner": "o", "checkpointOwner": "h", "entityType": "t"}, {"o": {"S": "a"}, "h": {"S": "b"}}),
        (
            "kcl",
            {"checkpoint": "c", "checkpointSubSequenceNumber": "n", "checkpointOwner": "h"},
            {"c": {"S": "9"}, "n": {"N": "3"}, "h": {"S": "b"}},
        ),
        ("powertools", {"in_progress_expiration": "p", "expiration": "e"}, {"e": {"N": "7"}}),
        ("deltalock", {"leaseDuration": "l", "isNonAcquirable": "x"}, {"l": {"N": "7"}, "x": {"S": "1"}}),
    ],
)
def test_every_role_can_be_renamed(layout: str, renamed: dict[str, str], image: dict[str, Any]) -> None:
    """Wherever the layout names the attribute."""
    spec = builtin().find(layout)[0]
    other = spec.with_overrides(renamed)
    row = other.read(image)
    assert isinstance(row, LockRow)
    back = {was: image[new] for was, new in renamed.items() if new in image}
    assert row == spec.read(back)
    assert (row.handoff, row.deadline_ms, row.blocked) != (None, None, False)


def test_clients_that_only_mark_make_a_removal_a_deletion() -> None:
    """What a source's clients do may be narrower than what their library can."""
    (spec,) = builtin().find("awslabs")
    marking = spec.with_overrides({"releases": "mark"})
    assert (spec.traits.releases, marking.traits.releases) == ("both", "mark")
    assert marking.digest != spec.digest


@pytest.mark.parametrize("layout", ["iceberg", "shedlock", "arrow"])
def test_a_way_of_letting_go_that_a_client_does_not_have_is_refused(layout: str) -> None:
    """There is nothing to choose then."""
    (spec,) = builtin().find(layout)
    with pytest.raises(LayoutError, match="releases = 'mark': there is only one way"):
        spec.with_overrides({"releases": "mark"})
