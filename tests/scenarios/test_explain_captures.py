"""Scenarios: what real clients wrote, explained, is what truly happened."""

import json
from collections import defaultdict
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockside.cli.main import main
from lockside.core.entity import PUBLIC_KEYS
from tests.fakes.captures import CAPTURES, NAMES, read, secrets
from tests.fakes.truth import expected

LAYOUTS = {
    "authjs": ["authjs"],
    "awslabs": ["awslabs"],
    "dynamodb-session-flask": ["dynamodb-session-flask"],
    "flask-session": ["flask-session"],
    "iceberg": ["iceberg"],
    "pydynlock": ["pydynlock"],
    "tristanls": ["tristanls-open", "tristanls-closed"],
}


def run(name: str, *options: str) -> Result:
    """Explain a capture."""
    return CliRunner().invoke(main, ["explain", *options, str(CAPTURES / f"{name}.jsonl")])


def explained(name: str, *options: str) -> list[dict[str, Any]]:
    """Explain a capture as JSON."""
    result = run(name, "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def told(explanations: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Order the events that must be there by entity: without renewals, unless they came after a release."""
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in explanations:
        renewal = one["event"] == "lock.renewed" and "resurrected" not in one["flags"]
        if one["event"] is not None and not renewal and one["event"] != "session.refreshed":
            events[one["entity"]["name"]].append(one)
    return dict(events)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [False, True], ids=["detected", "given"])
def test_events_are_those_of_the_truth(name: str, *, given: bool) -> None:
    """Each lock and each session has the events of its truth, in order, whether the layout is detected or given."""
    options = [part for layout in LAYOUTS[name] for part in ("--layout", layout)] if given else []
    events = told(explained(name, *options))
    truth = expected(read(CAPTURES / f"{name}.truth.jsonl"), PUBLIC_KEYS.entity)
    assert {key: [one["event"] for one in ones] for key, ones in events.items()} == {
        key: [step[0] for step in steps] for key, steps in truth.items()
    }
    for key, steps in truth.items():
        for one, (event, actor, more) in zip(events[key], steps, strict=True):
            assert actor is None or one["actor"] == actor, (key, event)
            assert more is None or more == one["authenticated"] or more in one["flags"], (key, event, more, one)


@pytest.mark.parametrize("name", NAMES)
def test_all_that_must_be_recorded_is(name: str) -> None:
    """What the truth tells is recorded, and ordinary heartbeats are not."""
    explanations = explained(name)
    assert all(one["recorded"] for ones in told(explanations).values() for one in ones)
    heartbeats = [one for one in explanations if one["event"] == "lock.renewed" and "resurrected" not in one["flags"]]
    assert not any(one["recorded"] for one in heartbeats)


def test_same_owner_again_is_called_inferred() -> None:
    """A takeover under the same owner's name looks like a late renewal, and explain says no more than that."""
    one = [one for one in explained("awslabs") if one["entity"]["name"] == "job-e"][1]
    assert (one["event"], one["recorded"], one["certainty"]) == ("lock.renewed", False, "inferred")


@pytest.mark.parametrize("name", NAMES)
def test_layout_is_detected_surely(name: str) -> None:
    """Every capture's layout is detected surely, and explain says why, beside the answer and never in it."""
    result = run(name, "--json")
    assert "(sure, from" in result.stderr
    assert "for: rows have" in result.stderr
    assert all(line.startswith("{") for line in result.stdout.splitlines())
    assert "(sure, from" in run(name).stdout


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["people", "json"])
def test_no_secret_comes_out(name: str, options: tuple[str, ...]) -> None:
    """No session id, token, payload or version of a capture is in any output of explain."""
    result = run(name, *options)
    kept = secrets(name)
    assert kept or name == "iceberg"
    assert not [secret for secret in kept if secret in result.output]
