"""The alerting rules: PromQL that parses, over metrics and labels that there are, and all the operator's page asks."""

import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from lockside.ops.metrics import COUNTERS, GAUGES, NAMESPACE, Described
from tests.deploy import DEPLOY

RULES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "alerts" / "lockside.rules.yaml").read_text(encoding="utf-8"))[
    "groups"
][0]["rules"]
DESCRIBED: dict[str, Described] = {
    **{f"{NAMESPACE}_{name}_total": described for name, described in COUNTERS.items()},
    **{f"{NAMESPACE}_{name}": described for name, described in GAUGES.items()},
}
PARTS = ("lhs", "rhs", "expr", "args", "vector_selector")


def parts(node: Any) -> Iterator[Any]:
    """Walk through a parsed expression."""
    yield node
    for name in PARTS:
        found = getattr(node, name, None)
        for part in found if isinstance(found, list | tuple) else [found]:
            if part is not None:
                yield from parts(part)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_a_worker_tells(rule: dict[str, Any]) -> None:
    """A misspelt metric or label would never fire."""
    tree = list(parts(promql_parser.parse(rule["expr"])))
    asked = [str(node.name) for node in tree if isinstance(node, promql_parser.VectorSelector)]
    assert asked
    known = {label for name in asked for label in DESCRIBED[name].labels}
    grouped = {label for node in tree for label in getattr(getattr(node, "modifier", None), "labels", None) or ()}
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))
    assert grouped | shown <= known
    assert shown <= grouped
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"page", "look"}
    assert rule.keys() & {"for"} == set() or re.fullmatch(r"\d+[smh]", rule["for"])


def test_each_alarm_of_the_operators_page_is_a_rule() -> None:
    """Those that are written as PromQL there stand here word for word."""
    page = (DEPLOY.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("## Alarms")[2].partition("\n## ")[0]
    wanted = re.findall(r"^\| `([^`]*lockside_[^`]*)`", table, re.MULTILINE)
    assert len(wanted) >= 3
    assert set(wanted) <= {rule["expr"] for rule in RULES}
