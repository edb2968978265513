"""Scenarios: the rows of every client, as its cases have them, are detected among all layouts as that client's."""

from collections.abc import Iterable

import pytest

from lockside.layouts.detect import Detection, Sample, detect
from lockside.layouts.registry import builtin
from tests.fakes.cases import CaseFile, case_files

FILES = case_files()
TELL_TOO_LITTLE = {
    "clj": "id and data alone: any application may have them",
    "generic": "for what no other layout describes, so any row fits",
}


def found(file: CaseFile, *, own: bool = False) -> Detection:
    """Detect the layout of all rows that a client's cases show: stubs and foreign rows too, unless only `own`."""
    names = file.source.key_schema.names
    cases = [case for case in file.cases if not (own and case.reason == "unclaimed")]
    rows = [row for case in cases for row in (case.old, case.new) if row]
    return detect([Sample({name: row[name] for name in names}, row, in_order=True) for row in rows], builtin())


@pytest.mark.parametrize("file", [file for name, file in FILES.items() if name not in TELL_TOO_LITTLE], ids=str)
def test_rows_are_detected_as_their_clients(file: CaseFile) -> None:
    """The layout comes first, without a question, likely at least; whoever stands beside it has few of the rows."""
    detection = found(file)
    first, *others = detection.chosen
    assert first.spec.name == file.layout
    assert (first.question, first.confidence != "a guess") == (None, True)
    assert sum(one.rows for one in others) <= 1
    assert _rest(detection.others) <= max(1, detection.sampled // 2), detection.others


@pytest.mark.parametrize("layout", TELL_TOO_LITTLE)
def test_what_tells_too_little_is_not_guessed(layout: str) -> None:
    """Rows that anybody's could be are of no layout, and their attributes are named."""
    detection = found(FILES[layout], own=True)
    assert detection.chosen == ()
    assert _rest(detection.others) == detection.sampled


def _rest(others: Iterable[tuple[tuple[str, ...], int]]) -> int:
    return sum(count for _, count in others)
