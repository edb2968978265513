"""The lock layouts: what each reads of a row, and what it makes of a row that is not as it should be."""

from typing import Any

import pytest

from lockside.core.entity import EntityKey
from lockside.core.row import LockRow
from lockside.layouts.registry import builtin
from lockside.layouts.spec import load

KEY = EntityKey((("S", "job"),))
AWSLABS = {
    "key": {"S": "job"},
    "ownerName": {"S": "alpha"},
    "recordVersionNumber": {"S": "v1"},
    "leaseDuration": {"S": "20000"},
}
TRISTANLS = {
    "id": {"S": "job"},
    "owner": {"S": "alpha"},
    "guid": {"B": "AAEC"},
    "fencingToken": {"N": "7"},
    "leaseDurationMs": {"N": "4000"},
}


def read(layout: str, image: dict[str, Any], **changes: Any) -> LockRow:
    """Read a row with some attributes changed (None: taken away)."""
    changed = {name: wire for name, wire in {**image, **changes}.items() if wire is not None}
    (spec,) = builtin().find(layout)
    row = spec.read(changed)
    assert isinstance(row, LockRow)
    return row


def claims(layout: str, image: dict[str, Any], key: EntityKey = KEY) -> bool:
    """Whether a layout claims a row."""
    (spec,) = builtin().find(layout)
    return spec.claims(key, image)


def test_awslabs_row_is_read() -> None:
    """A held row has owner, version and lease, and no fault."""
    assert read("awslabs", AWSLABS) == LockRow("alpha", "v1", 20_000, None, released=False)


def test_awslabs_is_free_while_is_released_is_there() -> None:
    """Any value of isReleased frees the lock, as the client only asks whether it is there."""
    assert read("awslabs", AWSLABS, isReleased={"S": "1"}).released
    assert read("awslabs", AWSLABS, isReleased={"S": "0"}).released


def test_pydynlock_lease_is_in_seconds_and_its_ttl_no_deadline() -> None:
    """The lease of seconds becomes milliseconds; expiry_time is cleanup and no deadline."""
    image = {
        "owner_name": {"S": "a"},
        "record_version_number": {"S": "v"},
        "lease_duration": {"N": "4"},
        "expiry_time": {"N": "1795425026"},
    }
    assert read("pydynlock", image) == LockRow("a", "v", 4_000, None, released=False)


def test_tristanls_open_reads_binary_version_and_fence() -> None:
    """The guid is binary and stands as base64; the token is the fence."""
    assert read("tristanls-open", TRISTANLS) == LockRow("alpha", "AAEC", 4_000, None, released=False, fence="7")
    assert read("tristanls-open", TRISTANLS, guid={"B": b"\x00\x01\x02"}).version == "AAEC"


def test_tristanls_open_is_free_at_a_lease_of_one() -> None:
    """A lease of 1 ms, however it is spelled, is a release."""
    assert read("tristanls-open", TRISTANLS, leaseDurationMs={"N": "1"}).released
    assert read("tristanls-open", TRISTANLS, leaseDurationMs={"N": "1.0"}).released
    assert not read("tristanls-open", TRISTANLS, leaseDurationMs={"N": "0"}).released


def test_tristanls_kinds_share_a_table() -> None:
    """Rows with a lease are open, rows without are closed, and no row is both."""
    closed = {name: TRISTANLS[name] for name in ("id", "owner", "guid")}
    assert [claims("tristanls-open", image) for image in (TRISTANLS, closed)] == [True, False]
    assert [claims("tristanls-closed", image) for image in (TRISTANLS, closed)] == [False, True]
    assert read("tristanls-closed", closed) == LockRow("alpha", "AAEC", None, None, released=False)


def test_iceberg_row_is_read() -> None:
    """Iceberg's row has owner, version and a lease in milliseconds."""
    image = {"ownerId": {"S": "a"}, "version": {"S": "v"}, "leaseDurationMs": {"N": "15000"}}
    assert read("iceberg", image) == LockRow("a", "v", 15_000, None, released=False)


@pytest.mark.parametrize(
    ("attribute", "wire", "fault"),
    [
        ("leaseDuration", {"S": "soon"}, "lease_unreadable"),
        ("leaseDuration", {"S": ""}, "lease_unreadable"),
        ("leaseDuration", {"S": "-1"}, "lease_unreadable"),
        ("leaseDuration", {"S": "20s"}, "lease_unreadable"),
        ("leaseDuration", {"S": "١٢٣"}, "lease_unreadable"),
        ("leaseDuration", {"S": "9" * 38}, "lease_unreadable"),
        ("leaseDuration", {"S": "9" * 5_000}, "lease_unreadable"),
        ("leaseDuration", {"S": "1795421440000"}, "lease_unreadable"),
        ("leaseDuration", {"N": "20000"}, "lease_unreadable"),
        ("leaseDuration", {"M": {}}, "lease_unreadable"),
        ("leaseDuration", {"X": "20000"}, "lease_unreadable"),
        ("leaseDuration", "20000", "lease_unreadable"),
        ("leaseDuration", None, "lease_missing"),
        ("leaseDuration", {"NULL": True}, "lease_missing"),
    ],
)
def test_faulty_lease_is_none_and_a_fault(attribute: str, wire: Any, fault: str) -> None:
    """A lease that is no sane number of milliseconds is never guessed at."""
    row = read("awslabs", AWSLABS, **{attribute: wire})
    assert (row.lease_ms, row.faults, row.owner) == (None, (fault,), "alpha")


@pytest.mark.parametrize(
    ("wire", "fault"),
    [
        ({"S": ""}, "owner_empty"),
        ({"N": "5"}, "owner_unreadable"),
        ({"BOOL": True}, "owner_unreadable"),
        ({"L": [{"S": "a"}]}, "owner_unreadable"),
        ({"S": "\ud800"}, "owner_unreadable"),
        ({"S": "a", "N": "1"}, "owner_unreadable"),
        ({"WHAT": 1}, "owner_unreadable"),
        ([], "owner_unreadable"),
    ],
)
def test_faulty_owner_is_none_and_a_fault(wire: Any, fault: str) -> None:
    """A row whose owner cannot be read is still a lock's row."""
    changed = {**AWSLABS, "ownerName": wire}
    assert claims("awslabs", changed)
    row = read("awslabs", changed)
    assert (row.owner, row.faults, row.lease_ms) == (None, (fault,), 20_000)


def test_long_owner_is_kept_and_long_version_bounded() -> None:
    """An owner is bounded where records are made; a version is held for every live lock, so it is bounded here."""
    row = read("awslabs", AWSLABS, ownerName={"S": "o" * 3_000}, recordVersionNumber={"S": "v" * 399_000})
    assert row.owner == "o" * 3_000
    assert row.version is not None
    assert len(row.version) < 600


def test_release_mark_in_place_of_the_owner_is_nobody() -> None:
    """A client that frees a lock by another text where its owner stood has released it, and handed it to no one."""
    spec = load(
        {
            "name": "mutex",
            "kind": "lock",
            "keys": {"names": ["lockname"]},
            "owner": {"attr": "holder"},
            "release": {"rule": "equals", "attr": "holder", "value": "__empty__", "mode": "mark"},
        },
        "test",
    )
    held, free = (spec.read({"lockname": {"S": "a"}, "holder": {"S": name}}) for name in ("alpha", "__empty__"))
    assert (held, free) == (
        LockRow("alpha", None, None, None, released=False),
        LockRow(None, None, None, None, released=True),
    )


def test_free_row_needs_no_owner() -> None:
    """Without an owner a free row is no fault, and with two faults both are told."""
    row = read("awslabs", AWSLABS, ownerName={"S": ""}, isReleased={"S": "1"})
    assert (row.released, row.faults) == (True, ())
    assert read("awslabs", AWSLABS, ownerName={"S": ""}, leaseDuration={"S": "x"}).faults == (
        "lease_unreadable",
        "owner_empty",
    )


def test_row_without_owner_is_not_claimed() -> None:
    """A business item in the same table is no lock."""
    assert not claims("awslabs", {"key": {"S": "job"}, "total": {"N": "3"}})
    assert not claims("awslabs", {})
