"""Foreign clients, as they are published, write to DynamoDB Local; the trail beside them is what happened."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from lockside.app.demo import event_name
from lockside.app.detection import examine
from lockside.emulators.emulator import Emulator
from lockside.state import keys_file
from tests.clients.packages import PACKAGES
from tests.fakes.foreign import CLIENTS, Play, played
from tests.fakes.truth import Told, expected

ANYWHERE = {"session.refreshed", "session.rotated"}
"""A deadline that enters another bucket, and the link that an observer sees between an end and a beginning."""


def _param(name: str) -> Any:
    tools = PACKAGES[CLIENTS[name].packages].tools
    return pytest.param(name, marks=[pytest.mark.foreign_clients(*tools)] if tools else [])


@pytest.mark.parametrize("name", [_param(name) for name in CLIENTS])
def test_the_trail_is_the_truth(name: str, dynamodb_local: Emulator, tmp_path: Path) -> None:
    """Each lock and session has the events of its truth, in order, each once; and `detect` finds the very layout."""
    with played(name, dynamodb_local, tmp_path) as play:
        keys = keys_file.load(play.settings.keys.file)
        truth = expected(play.truth, keys.entity, expiries=True)
        heard = _by_entity(play)
        assert heard.keys() == truth.keys()
        for entity, steps in truth.items():
            _compare(entity, steps, heard[entity])
        text = json.dumps(play.heard)
        assert not [secret for secret in (*play.client.secrets, *_session_ids(play)) if secret in text]
        _detects(play)


def _by_entity(play: Play) -> dict[str, list[Any]]:
    entities: dict[str, list[Any]] = defaultdict(list)
    for event in play.heard:
        if "entity" in event["data"] and event_name(event) not in ANYWHERE:
            entities[event["data"]["entity"]["name"]].append(event)
    return entities


def _compare(entity: str, steps: list[Told], heard: list[Any]) -> None:
    told = [(event_name(event), event["data"].get("actor")) for event in heard]
    assert sorted(told, key=str) == sorted([step[:2] for step in steps], key=str), entity
    # A lapse is told when it is known: at its due time, or by the takeover that proves it.
    changes = [event for event in heard if not event_name(event).endswith(".expired")]
    wanted = [step for step in steps if not step[0].endswith(".expired")]
    assert [event_name(event) for event in changes] == [step[0] for step in wanted], entity
    for event, (_, _, more) in zip(changes, wanted, strict=True):
        data = event["data"]
        assert more is None or more == data.get("authenticated") or more in data["flags"], (entity, more, data)


def _session_ids(play: Play) -> list[str]:
    ids = [line["session"] for line in play.truth if "session" in line]
    return [part.removeprefix("SESSION#") for one in ids for part in ([one["sk"]] if isinstance(one, dict) else [one])]


def _detects(play: Play) -> None:
    """Hold `lockside detect` against the rows that real clients left behind."""
    table = play.settings.source[0].table
    answer = examine(play.settings, play.clients, table, 100, lambda _count: None)
    (proposal,) = answer.proposals
    assert answer.settled
    assert play.client.layout in {proposal.layout, *(one.spec.family for one in proposal.candidates)}
    assert proposal.candidates[0].confidence != "a guess"
