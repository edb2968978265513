"""Detection: which layout rows are in, how sure, and why."""

from typing import Any

import pytest

from lockside.layouts.detect import Detection, Sample, detect
from lockside.layouts.registry import builtin
from lockside.layouts.spec import Spec, load

OPEN = {
    "owner": {"S": "a"},
    "guid": {"B": "AAEC"},
    "fencingToken": {"N": "1"},
    "leaseDurationMs": {"N": "4000"},
}
CLOSED = {"owner": {"S": "a"}, "guid": {"B": "AAEC"}}
AWSLABS = {"ownerName": {"S": "a"}, "recordVersionNumber": {"S": "v"}, "leaseDuration": {"S": "20000"}}


DYNAMOLOCK = {**AWSLABS, "leaseDuration": {"S": "20s"}}
AWSLABS_DATA: dict[str, Any] = {**builtin().find("awslabs")[0].document, "aliases": []}
ABSOLUTE: dict[str, Any] = {
    "kind": "lock",
    "keys": {"names": ["id"]},
    "owner": {"attr": "lock_owner"},
    "release": {"rule": "none", "mode": "delete"},
}


def units_of(role: str, releases: tuple[str, str] = ("delete", "delete")) -> list[Spec]:
    """Make two layouts that differ in a unit, and in how they release."""
    made: list[Spec] = []
    for (name, unit), mode in zip((("milliseconds", "ms"), ("seconds", "s")), releases, strict=True):
        if role == "lease":
            made.append(load({**AWSLABS_DATA, "name": name, "lease": {**AWSLABS_DATA["lease"], "unit": unit}}, "test"))
        else:
            release = {"rule": "none", "mode": mode}
            deadline = {"attr": "lock_until", "unit": unit}
            made.append(load({**ABSOLUTE, "name": name, "deadline": deadline, "release": release}, "test"))
    return made


def detected(rows: list[dict[str, Any]], *specs: Spec) -> Detection:
    """Detect among a few layouts."""
    key = specs[0].key_names[0]
    return detect([Sample({key: {"S": "x"}}, {key: {"S": "x"}, **row}) for row in rows], specs)


def found(*rows: dict[str, Any], key: str = "id") -> Detection:
    """Detect the layout of rows with one key attribute."""
    keys = {key: {"S": "x"}}
    return detect([Sample(keys, {**keys, **row}) for row in rows], builtin())


def names(detection: Detection) -> list[str]:
    """Name what was chosen."""
    return [candidate.spec.name for candidate in detection.chosen]


def test_one_family_may_share_a_table() -> None:
    """Open and closed locks in one table are both found, the more common first."""
    detection = found(OPEN, OPEN, CLOSED)
    assert names(detection) == ["tristanls-open", "tristanls-closed"]
    assert detection.confidence == "sure"
    assert [candidate.rows for candidate in detection.chosen] == [2, 1]


def test_renamed_key_costs_little() -> None:
    """A key may have another name: the attributes tell."""
    detection = found(AWSLABS, key="lockName")
    assert names(detection) == ["awslabs"]
    assert detection.confidence == "likely"


def test_faults_count_against_a_layout() -> None:
    """A lease that is no number of milliseconds (dynamolock's `20s`) tells against awslabs, and is named."""
    detection = detect([Sample({"key": {"S": "x"}}, {"key": {"S": "x"}, **DYNAMOLOCK})], builtin())
    assert names(detection) == ["dynamolock"]
    against = {candidate.spec.name: candidate.reasons_against for candidate in detection.candidates}
    assert "a value gave lease_unreadable" in against["awslabs"]


def test_foreign_rows_are_no_layout() -> None:
    """Rows of no layout give none, and the nearest say what is missing."""
    detection = found({"total": {"N": "5"}}, {"val": {"B": "AA=="}})
    assert (detection.chosen, detection.sampled) == ((), 2)
    reasons = {candidate.spec.name: candidate.reasons_against for candidate in detection.candidates}
    assert "2 of 2 rows have no expiration as it should be" in reasons["flask-session"]


def test_rows_of_keys_only_tell_nothing() -> None:
    """Stubs are passed over, and nothing at all is detected without rows."""
    assert found({}).sampled == 0
    assert detect([], builtin()).chosen == ()
    assert names(found({}, {"val": {"B": "gA=="}, "expiration": {"N": "5"}})) == ["flask-session"]


def test_twins_that_read_alike_do_not_matter() -> None:
    """Two layouts that read the same rows to the same facts are no question: either is right."""
    twin = load({**AWSLABS_DATA, "name": "twin", "aliases": []}, "test")
    assert detected([AWSLABS], *builtin().find("awslabs"), twin).question is None


@pytest.mark.parametrize(
    ("lease", "layout"),
    [("20000", "milliseconds"), ("20", "seconds"), ("2000", None)],
    ids=["20 s", "20 s in s", "open"],
)
def test_a_lease_settles_its_unit_where_only_one_is_sane(lease: str, layout: str | None) -> None:
    """20 ms is no lease and 5 hours is none; 2000 may be two seconds or half an hour, and is a question to a person."""
    detection = detected([{**AWSLABS, "leaseDuration": {"S": lease}}], *units_of("lease"))
    (one,) = detection.chosen
    assert (detection.question is None) == (layout is not None)
    if layout is None:
        assert {one.spec.name, *(spec.name for spec in one.instead)} == {"milliseconds", "seconds"}
        assert "is leaseDuration, the lease, in milliseconds (milliseconds), or seconds (seconds)?" in str(one.question)
        assert (detection.confidence, lease in str(one.question)) == ("a guess", False)
    else:
        assert (one.spec.name, one.confidence) == (layout, "likely")
        assert any("by the length of its leases alone" in reason for reason in one.reasons_for)


def test_a_type_that_only_one_client_writes_tells() -> None:
    """Java's `data` is bytes and Rust's is text, so which of the two it is needs no look at the lease."""
    java, rust = ({**AWSLABS, "data": wire} for wire in ({"B": "AAEC"}, {"S": "{}"}))
    assert [(names(one), one.confidence) for one in (found(java, key="key"), found(rust, key="key"))] == [
        (["awslabs"], "sure"),
        (["deltalock"], "a guess"),
    ]


@pytest.mark.parametrize("lease", ["20", "99999999999"])
def test_a_lone_layout_that_reads_absurd_leases_is_a_guess(lease: str) -> None:
    """Even where no other layout explains the rows: the unit may be another one."""
    detection = detected([{**AWSLABS, "leaseDuration": {"S": lease}}], *builtin().find("awslabs"))
    assert (names(detection), detection.confidence) == (["awslabs"], "a guess")
    assert any("none that people store" in reason for reason in detection.chosen[0].reasons_against)


@pytest.mark.parametrize(("expires", "layout"), [("1795421916", "seconds"), ("1795421916123", "milliseconds")])
def test_a_deadline_settles_its_unit(expires: str, layout: str) -> None:
    """No deadline of DynamoDB's lifetime is before 2012 or after 2100, so the other unit drops out."""
    row = {"lock_owner": {"S": "a"}, "lock_until": {"N": expires}}
    detection = detected([row], *units_of("deadline"))
    assert (names(detection), detection.question) == ([layout], None)
    assert not any("alone" in reason for reason in detection.chosen[0].reasons_for)


def test_a_deadline_of_nothing_settles_nothing() -> None:
    """0 is a mark in every unit: it is asked."""
    row = {"lock_owner": {"S": "a"}, "lock_until": {"N": "0"}}
    detection = detected([row], *units_of("deadline", releases=("delete", "never")))
    assert detection.question is not None


def test_several_kinds_of_rows_are_several_layouts() -> None:
    """Locks beside sessions, stubs of sessions, and rows of an application's own are told apart and counted."""
    key = {"id": {"S": "x"}}
    session = {"val": {"B": "gA=="}, "expiration": {"N": "1795421916"}}
    rows = [*[session] * 30, *[OPEN] * 9, {"expiration": {"N": "1795421916"}}, *[{"total": {"N": "1"}}] * 3]
    detection = detect([Sample(key, {**key, **row}) for row in rows], builtin())
    assert [(one.spec.name, one.rows) for one in detection.chosen] == [("flask-session", 30), ("tristanls-open", 9)]
    assert (detection.stubs, detection.others, detection.sampled) == (1, ((("id", "total"), 3),), 43)
    assert [[one.spec.name for one in group] for group in detection.groups] == [["flask-session"], ["tristanls-open"]]


def test_rows_that_are_each_a_kind_of_their_own_are_thinned_too() -> None:
    """Names that are data make as many kinds as rows: what they come to is estimated from some."""
    rows = [{**OPEN, f"user-{n}": {"S": "x"}} for n in range(6_000)]
    detection = found(*rows)
    assert names(detection) == ["tristanls-open"]
    assert detection.chosen[0].rows == pytest.approx(6_000)


def test_many_rows_built_alike_count_in_full() -> None:
    """Rows are thinned before they are read, and still counted: a few of another kind are not lost."""
    detection = found(*[OPEN] * 5_000, CLOSED)
    assert [candidate.rows for candidate in detection.chosen] == [5_000, 1]
    assert detection.sampled == 5_001


@pytest.mark.parametrize(
    ("renames", "confidence"),
    [
        ({"ownerName": "owner_name"}, "likely"),
        ({"leaseDuration": "lease-duration", "recordVersionNumber": "record_version"}, "likely"),
        ({"ownerName": "zz"}, "a guess"),
    ],
)
def test_renamed_attributes_are_found(renames: dict[str, str], confidence: str) -> None:
    """What rows have under other names is found by type and nearness, and never called sure."""
    row = {renames.get(name, name): wire for name, wire in AWSLABS.items()}
    (one,) = found(row, row, key="key").chosen
    assert (one.spec.name, dict(one.attributes), one.confidence) == ("awslabs", renames, confidence)


def test_a_rename_that_reads_badly_is_none() -> None:
    """A text that is no lease does not become one by being the only attribute left."""
    row = {"ownerName": {"S": "a"}, "recordVersionNumber": {"S": "v"}, "comment": {"S": "for tea"}}
    assert found(row, key="key").chosen == ()


def test_everyday_names_alone_are_no_layout() -> None:
    """A table with `id` and `data` may be anything."""
    assert found({"data": {"B": "AA=="}}, {"data": {"S": "x"}}).chosen == ()


def test_hostile_rows_do_not_break_detection() -> None:
    """Rows with illegal wire shapes are samples like others."""
    keys: dict[str, Any] = {"id": "text", "sk": {"S": 5}}
    image: dict[str, Any] = {**keys, "owner": 5, "guid": {"B": 1}, "expires": []}
    detection = detect([Sample(keys, image)], builtin())
    assert detection.sampled == 1


LEASE: dict[str, Any] = {
    "leaseCounter": {"N": "0"},
    "ownerSwitchesSinceCheckpoint": {"N": "0"},
    "checkpoint": {"S": "LATEST"},
    "checkpointSubSequenceNumber": {"N": "0"},
}


@pytest.mark.parametrize(
    "rows",
    [[LEASE], [LEASE, {**LEASE, "leaseOwner": {"S": "w1"}}], [LEASE, LEASE, {**LEASE, "leaseOwner": {"S": "w1"}}]],
)
def test_leases_that_nobody_owns_are_leases(rows: list[dict[str, Any]]) -> None:
    """KCL creates its rows without an owner, and an eviction takes it away: so a full row need not have one."""
    detection = found(*rows, key="leaseKey")
    assert names(detection) == ["kcl"]
    assert (detection.chosen[0].rows, detection.others, detection.confidence) == (len(rows), (), "sure")


def test_an_idle_table_is_known_by_its_key() -> None:
    """Terraform's digests are no locks and fit no layout: its key says whose table it may be. `id` says nothing."""
    keys = {"LockID": {"S": "bucket/state-md5"}}
    idle = detect([Sample(keys, {**keys, "Digest": {"S": "ab"}})], builtin())
    assert (idle.chosen, [spec.name for spec in idle.by_key]) == ((), ["terraform"])
    assert found({"Digest": {"S": "ab"}}).by_key == ()
    assert found(OPEN).by_key == ()


@pytest.mark.parametrize(
    ("row", "key", "confidence"),
    [
        (CLOSED, "id", "likely"),
        ({**CLOSED, "name": {"S": "n"}}, "id", "a guess"),
        ({"owner": {"S": "o"}, "leasedUntil": {"S": "2026-11-23T08:10:30Z"}}, "key", "a guess"),
        (
            {"owner": {"S": "o"}, "leasedUntil": {"S": "2026-11-23T08:10:30Z"}, "ttl": {"S": "2026-11-25T08:10:30Z"}},
            "key",
            "sure",
        ),
    ],
)
def test_a_few_everyday_names_beside_others_are_a_guess(row: dict[str, Any], key: str, confidence: str) -> None:
    """Any application may have an `owner` and a `guid`, or a `leasedUntil`: a lock's row has all of it and no more."""
    assert found(row, row, key=key).confidence == confidence


def test_what_a_row_only_shows_has_no_other_name() -> None:
    """Nothing reads such an attribute (`Locked`), so none is taken for it, and detection goes on."""
    row = {
        "Expires": {"S": "2026-11-23T09:10:00.000Z"},
        "ExpirationTime": {"N": "1795511400"},
        "CreateDate": {"S": "2026-11-23T08:10:00.000Z"},
        "LockDate": {"S": "2026-11-23T08:10:00.000Z"},
        "Flags": {"N": "0"},
        "Ver": {"S": "1"},
        "SessionItems": {"S": "AQAAAAAAAAAA"},
    }
    assert all(not candidate.attributes for candidate in found(row, key="identifier").chosen)
