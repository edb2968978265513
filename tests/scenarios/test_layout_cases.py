"""Scenarios: every operation of every client, as its rows show it, gives the event that its layout promises."""

from dataclasses import fields
from typing import Any

import pytest

from lockside.layouts.registry import builtin
from tests.fakes.cases import Case, CaseFile, all_cases, case_files

FILES = case_files()


@pytest.mark.parametrize(("file", "case"), all_cases(), ids=str)
def test_case(file: CaseFile, case: Case) -> None:
    """The event, its flags and whatever else the case names are as it says."""
    told = file.told(case)
    event = told.event
    got: dict[str, Any] = {"event": None, "flags": (), "reason": told.reason}
    if event is not None:
        got = {name: getattr(event, name) for name in EVENT_MEMBERS} | {"event": event.type, "flags": event.flags}
    wanted = {name: getattr(case, name) for name in (*EVENT_MEMBERS, "event", "flags")}
    wanted = {name: value for name, value in wanted.items() if value is not None or name == "event"}
    assert {name: got.get(name) for name in wanted} == wanted
    left = {name: None if value == "none" else value for name, value in case.after.items()}
    assert {name: getattr(told.after, name) for name in left} == left


EVENT_MEMBERS = ("recorded", "certainty", "reason", "actor", "previous_actor", "authenticated")


def test_members_of_an_event_are_members_of_a_case() -> None:
    """What is compared can be named in a file."""
    assert set(EVENT_MEMBERS) < {one.name for one in fields(Case)}


@pytest.mark.parametrize("layout", builtin().names)
def test_every_operation_of_a_client_has_a_case(layout: str) -> None:
    """A layout without cases, or a client's operation without one, is unfinished."""
    file = FILES[layout]
    told = {case.operation for case in file.cases}
    assert file.client
    assert told == set(file.operations)
    assert all(case.cite for case in file.cases)


def test_every_case_file_is_a_layout() -> None:
    """A file of another name would be read by no one."""
    assert set(FILES) <= set(builtin().names)
