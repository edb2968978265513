"""Detection: which layout rows are in, how sure, and why."""

from typing import Any

from lockside.layouts.detect import Detection, Sample, detect
from lockside.layouts.registry import builtin
from lockside.layouts.spec import load

OPEN = {
    "owner": {"S": "a"},
    "guid": {"B": "AAEC"},
    "fencingToken": {"N": "1"},
    "leaseDurationMs": {"N": "4000"},
}
CLOSED = {"owner": {"S": "a"}, "guid": {"B": "AAEC"}}
AWSLABS = {"ownerName": {"S": "a"}, "recordVersionNumber": {"S": "v"}, "leaseDuration": {"S": "20000"}}


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
    detection = found({**AWSLABS, "leaseDuration": {"S": "20s"}}, key="key")
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


def test_rivals_make_it_a_guess() -> None:
    """Two layouts that names alone cannot tell apart are told as a doubt."""
    (spec,) = builtin().find("awslabs")
    twin = load({**spec.document, "name": "twin", "aliases": []}, "test")
    keys = {"key": {"S": "x"}}
    detection = detect([Sample(keys, {**keys, **AWSLABS})], [spec, twin])
    assert detection.confidence == "a guess"
    assert detection.doubts == ("twin fits as well",)


def test_hostile_rows_do_not_break_detection() -> None:
    """Rows with illegal wire shapes are samples like others."""
    keys: dict[str, Any] = {"id": "text", "sk": {"S": 5}}
    image: dict[str, Any] = {**keys, "owner": 5, "guid": {"B": 1}, "expires": []}
    detection = detect([Sample(keys, image)], builtin())
    assert detection.sampled == 1
