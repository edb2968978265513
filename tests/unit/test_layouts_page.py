"""docs/layouts.md is what the layouts' data says, and its example is one that works."""

import tomllib
from typing import Any

from lockside.core.entity import KeySchema
from lockside.core.recipe import Source
from lockside.layouts.card import card_of
from lockside.layouts.registry import builtin
from lockside.layouts.spec import load
from lockside.settings import Settings
from tests.docs.layouts_page import EXAMPLE, PAGE, page
from tests.fakes.cases import CaseFile, cases_of
from tests.fakes.changes import recipe


def test_the_page_is_not_stale() -> None:
    """A changed layout, field or limit has to be written into the page: run `make docs`."""
    assert PAGE.read_text(encoding="utf-8") == page(), "docs/layouts.md is stale; run `make docs` and commit it"


def test_the_page_tells_of_every_layout() -> None:
    """Each layout has its line and its section."""
    text = page()
    for spec in builtin():
        assert f"[`{spec.name}`](#{spec.name})" in text
        assert f"### {spec.name}\n" in text


def test_the_example_is_a_layout_whose_cases_hold() -> None:
    """What the page shows as one more layout loads, in the settings too, and gives the events that it shows."""
    document: dict[str, Any] = tomllib.loads(EXAMPLE.joinpath("layout.toml").read_text(encoding="utf-8"))
    cases: dict[str, Any] = tomllib.loads(EXAMPLE.joinpath("case.toml").read_text(encoding="utf-8"))
    spec = load(document, "example")
    assert Settings(layout=(document,)).layouts.find("acme-jobs") == (spec,)
    made = recipe(source_id="src", layouts=((spec.name, spec.digest),), key_names=spec.key_names)
    source = Source("src", "table", "lock", (spec,), KeySchema(spec.key_names), made)
    file = CaseFile(
        "acme-jobs", cases["client"], tuple(cases["operations"]), source, tuple(cases_of("acme-jobs", cases))
    )
    assert {case.operation for case in file.cases} == set(file.operations)
    for case in file.cases:
        event = file.told(case).event
        assert event is not None
        assert event.type == case.event


def test_a_card_tells_every_attribute_that_a_layout_reads() -> None:
    """A role that a later layout brings shows without being listed anywhere else."""
    for spec in builtin():
        told = {one.name for one in card_of(spec).attributes}
        rules = {name for rule in spec.rows.chain for name, _ in (*rule.required, *rule.equals)}
        assert {name for name, _ in spec.signature} - rules <= told | {*spec.document.get("shows", ())}, spec.name
