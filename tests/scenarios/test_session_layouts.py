"""Scenarios: sessions as their clients use them, several writes long, in every layout that can tell of them."""

from typing import Any

import pytest

from lockside.layouts.registry import builtin, of_kind
from lockside.layouts.session import SessionReader
from lockside.layouts.spec import Spec
from tests.fakes.cases import Case, CaseFile, case_files

FILES = case_files()
SESSIONS = sorted(spec.name for spec in of_kind(builtin(), "session"))


@pytest.mark.parametrize("name", SESSIONS)
def test_every_session_layout_names_its_secrets(name: str) -> None:
    """The payload's attribute, and a part of the key at least, are secrets of every layout."""
    (spec,) = builtin().find(name)[:1]
    assert isinstance(spec.reader, SessionReader)
    assert set(spec.secrets) & set(spec.key_names)
    assert spec.reader.payload.attr is None or spec.reader.payload.attr in spec.secrets


@pytest.mark.parametrize("name", SESSIONS)
def test_the_same_row_again_is_no_event(name: str) -> None:
    """A write that changes nothing, which only moto tells of, means nothing in any layout and any row."""
    file = FILES[name]
    for row in rows_of(file):
        told = file.told(Case(name, "again", "", row, row, None))
        assert told.event is None, row
        assert told.before == told.after


@pytest.mark.parametrize("name", SESSIONS)
def test_a_logout_is_told_once(name: str) -> None:
    """After an event that ended a session in place, the removal of what is left is no event."""
    file = FILES[name]
    for case in file.cases:
        if case.event == "session.ended" and case.new is not None:
            assert file.told(Case(name, "removal", "", case.new, None, None)).event is None
            assert file.told(Case(name, "ttl", "", case.new, None, None, ttl=True)).event is None


@pytest.mark.parametrize("name", SESSIONS)
def test_a_ghost_row_is_no_session(name: str) -> None:
    """A row with nothing but its key and its deadline, as a late touch leaves it, never begins or ends a session."""
    file = FILES[name]
    for row in rows_of(file):
        ghost = {attr: wire for attr, wire in row.items() if attr in kept_by_a_touch(file)}
        for old, new in ((None, ghost), (ghost, ghost), (ghost, None)):
            told = file.told(Case(name, "touch", "", old, new, None))
            assert (told.event, told.after) == (None, None)


def rows_of(file: CaseFile) -> list[dict[str, Any]]:
    """List every row that stands in a layout's cases."""
    return [dict(row) for case in file.cases for row in (case.old, case.new) if row is not None]


def kept_by_a_touch(file: CaseFile) -> set[str]:
    """Name the attributes that a touch writes: the key, the deadline and what it is measured against."""
    (spec,) = file.source.layouts[:1]
    assert isinstance(spec, Spec)
    assert isinstance(spec.reader, SessionReader)
    deadline = spec.reader.deadline
    moving = (
        {one.field.attr for one in (deadline, deadline.otherwise, deadline.none_until) if one} if deadline else set()
    )
    return {*file.source.key_schema.names, *moving}
