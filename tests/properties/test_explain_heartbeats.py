"""Explain tells heartbeats quickly, and says the same as by the whole way."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockside.cli.explain_input import Entry
from lockside.cli.explain_output import Heartbeat, as_json, as_lines
from lockside.cli.explain_records import Explainer, Plan
from lockside.core.entity import PUBLIC_KEYS, KeySchema
from lockside.layouts.registry import builtin, of_kind
from tests.fakes.cases import case_files
from tests.fakes.sources import wire
from tests.properties.mutation import Mutator

CAPTURES = Path(__file__).parents[1] / "captures"
LAYOUTS = [spec.name for spec in of_kind(builtin(), "lock") if spec.pulse is not None]


def said(plan: Plan, keys: Sequence[str], records: Sequence[Any], *, quickly: bool) -> tuple[list[str], list[str], Any]:
    """Explain records, for scripts and for people, and count."""
    spelled: list[list[str]] = []
    for by_json in (True, False):
        explainer = Explainer([plan], KeySchema(tuple(keys)), PUBLIC_KEYS)
        if not quickly:
            for precision_ms in (1_000, 60_000):
                explainer._made(precision_ms)
            explainer._heartbeats = dict.fromkeys(explainer._heartbeats)
        told = [explainer.explain(Entry("here", record)) for record in records]
        spelled.append([as_json(one) for one in told] if by_json else list(as_lines(told)))
    return spelled[0], spelled[1], explainer.counts


def told_alike(plan: Plan, keys: Sequence[str], records: Sequence[Any]) -> None:
    """Hold both ways against each other."""
    quick, slow = (said(plan, keys, records, quickly=quickly) for quickly in (True, False))
    assert quick == slow


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cases_of_every_lock_client_are_told_alike(layout: str) -> None:
    """Every operation of every client, in a row long enough that lines are no longer measured."""
    file = case_files()[layout]
    keys = file.source.key_schema.names
    rows = [(case.old, case.new) for case in file.cases]
    records = [
        wire(n + 1, {name: (new or old or {})[name] for name in keys}, old, new)
        for n, (old, new) in enumerate(rows * (560 // len(rows) + 1))
    ]
    specs = tuple(spec for spec in file.source.layouts for spec in builtin().find(spec.name))
    told_alike(Plan("explain", specs, lease_ms=file.source.recipe.lease_ms), keys, records)


@pytest.mark.parametrize("pseudonymise", [(), ("name", "owner")])
def test_captures_are_told_alike(pseudonymise: tuple[str, ...]) -> None:
    """What real clients wrote; and heartbeats do go the quick way."""
    records = [json.loads(line) for line in (CAPTURES / "pydynlock.jsonl").read_text().splitlines()]
    plan = Plan("explain", builtin().find("pydynlock"), pseudonymise)
    told_alike(plan, ("lock_key", "sort_key"), records)
    explainer = Explainer([plan], KeySchema(("lock_key", "sort_key")), PUBLIC_KEYS)
    assert any(isinstance(explainer.explain(Entry("here", record)), Heartbeat) for record in records)


@given(st.randoms(use_true_random=False), st.sampled_from(["awslabs", "pydynlock", "iceberg"]))
def test_broken_records_are_told_alike(random: Random, layout: str) -> None:
    """Whatever is odd about a record, both ways say the same of it."""
    specs = builtin().find(layout)
    told_alike(Plan("explain", specs), specs[0].key_names, Mutator(random).records(layout, 1, 6))
