"""The demo's real clients write, the worker watches beside them, and the trail is what truly happened."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from lockside.app import demo
from lockside.app.demo import Stage, event_name
from lockside.aws.clients import connect
from lockside.emulators.clients.crew import QUICK
from lockside.state import keys_file
from tests.fakes.truth import expected

if TYPE_CHECKING:
    from lockside.emulators.emulator import Kind

DELAY_SECONDS_MAX = 5.0


@dataclass
class Played:
    """A demo that has been played, and every record in its audit table."""

    stage: Stage
    heard: list[Any]
    stored: list[Any]


@pytest.fixture(scope="module", params=["moto", "dynamodb-local"])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Play the demo once on each backend."""
    kind: Kind = request.param
    heard: list[Any] = []
    stop = threading.Event()
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with demo.staged(kind, folder, stop, lambda _line: None, heard.extend, script=QUICK) as stage:
            demo.play(stage, stop, None)
            assert not stage.problems
            yield Played(stage, heard, list(records_of(stage)))


def records_of(stage: Stage) -> Iterator[Any]:
    """Read all records that the audit table holds."""
    client = connect(stage.settings.aws).dynamodb
    for page in client.get_paginator("scan").paginate(TableName=stage.settings.audit.table, ConsistentRead=True):
        for item in page["Items"]:
            if item["pk"]["S"].startswith("E#"):
                yield json.loads(item["ce"]["S"])


def by_entity(events: list[Any]) -> dict[str, list[Any]]:
    """Order events by entity, as they were heard."""
    entities: dict[str, list[Any]] = defaultdict(list)
    for event in events:
        if "entity" in event["data"]:
            entities[event["data"]["entity"]["name"]].append(event)
    return entities


def test_the_trail_is_the_truth(played: Played) -> None:
    """Each lock and each session has the events of its truth, expiries included, each once."""
    keys = keys_file.load(played.stage.settings.keys.file)
    truth = expected(played.stage.truth, keys.entity, expiries=True)
    heard = by_entity(played.heard)
    assert heard.keys() == truth.keys()
    for name, steps in truth.items():
        told = [(event_name(event), event["data"].get("actor")) for event in heard[name]]
        assert sorted(told, key=str) == sorted([(step[0], step[1]) for step in steps], key=str), name
        # A lapse is told when it is known: at its due time, or by the takeover that proves it.
        changes = [event for event in told if not event[0].endswith(".expired")]
        assert changes == [(step[0], step[1]) for step in steps if not step[0].endswith(".expired")], name


def test_flags_are_those_of_the_truth(played: Played) -> None:
    """A login on a living session and a switch of users are marked as what they are."""
    keys = keys_file.load(played.stage.settings.keys.file)
    heard = by_entity(played.heard)
    for name, steps in expected(played.stage.truth, keys.entity, expiries=True).items():
        changes = [event["data"] for event in heard[name] if not event_name(event).endswith(".expired")]
        for data, (_, _, more) in zip(changes, [s for s in steps if not s[0].endswith(".expired")], strict=True):
            assert more is None or more == data.get("authenticated") or more in data["flags"], (name, more, data)


def test_what_was_told_is_what_is_stored(played: Played) -> None:
    """Every record heard is in the table once, with its id, and nothing else is."""
    told = [(event["type"], event["subject"], event["time"]) for event in played.heard]
    kept = [(event["type"], event["subject"], event["time"]) for event in played.stored]
    assert sorted(told) == sorted(kept)
    assert len({event["id"] for event in played.stored}) == len(played.stored)


def test_lapses_are_known_soon_after_they_are_due(played: Played) -> None:
    """A killed holder's lock lapses at its last sign of life plus its lease, and a session past its margin."""
    due = {step["lock"]: step["t"] for step in played.stage.crew.truth if step["step"] == "expired" and "lock" in step}
    lapses = [event for event in played.stored if event["type"].endswith("lock.expired.v1")]
    assert {event["data"]["entity"]["name"] for event in lapses} == due.keys()
    for event in lapses:
        assert event["data"]["lease_ms"] == "2000"
        late_seconds = demo.instant_ms(event["time"]) / 1000 - due[event["data"]["entity"]["name"]]
        assert -1.0 <= late_seconds <= DELAY_SECONDS_MAX


def test_no_secret_of_the_clients_is_stored(played: Played) -> None:
    """No session id, and nothing of what users put beside a lock, is in any record."""
    text = json.dumps(played.stored)
    ids = {step[name] for step in played.stage.crew.truth for name in ("session", "old") if name in step}
    tokens = played.stage.second_act.tokens
    assert ids
    assert tokens
    for secret in {*ids, *tokens, *(each.removeprefix("session:") for each in ids), "made-up-token", "invoices"}:
        assert secret not in text


def test_summary_counts_what_was_written(played: Played) -> None:
    """The demo's summary agrees with the table."""
    assert sum(played.stage.summary.events.values()) == len(played.stored)
    assert played.stage.summary.renewals > 0
