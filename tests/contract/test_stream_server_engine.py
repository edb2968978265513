"""The embedded engine against the fake server over a socket: shards roll, calls fail, and every record comes once."""

import itertools
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from lockside.emulators.emulator import Emulator
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.pace import BackOff, Idle
from lockside.engines.embedded.plan import Settings
from lockside.engines.stream import StreamPlan
from lockside.ops.clock import SystemClock
from tests.fakes.rig import Rig
from tests.fakes.state_table import dynamodb
from tests.fakes.stream_faults import Faults
from tests.fakes.stream_rig import ServerRig, check_lineages, streams_client
from tests.fakes.stream_server import StreamServer

QUICK = Settings(
    idle=Idle(0.01, 0.05),
    back_off=BackOff(0.01, 0.05),
    discovery_interval_seconds=0.2,
    child_interval_seconds=0.02,
    shutdown_seconds=10,
)
BEARABLE = dict.fromkeys(
    ("throttled", "limit_exceeded", "server_error", "dropped", "truncated", "slow", "empty_page", "hole", "reopened"),
    0.04,
)
NAMES = itertools.count()


@pytest.fixture
def rig(moto: Emulator) -> Iterator[ServerRig]:
    """Return an engine over a stream of two shards that share the items out."""
    with ServerRig.over(moto, shards=2) as made:
        yield made


def keys_in_order(rig: ServerRig) -> dict[str, list[int]]:
    """Return, for each item, the numbers of its changes in the order they were consumed."""
    keys = {
        number: record["dynamodb"]["Keys"]["id"]["S"]
        for shard in rig.shards().values()
        for number, record in zip(shard.numbers, shard.records, strict=True)
    }
    seen: dict[str, list[int]] = defaultdict(list)
    for number in rig.recorder.consumed():
        seen[keys[number]].append(number)
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_every_record_comes_once_while_shards_roll_and_split(rig: ServerRig, seed: int) -> None:
    """Rolls every few seconds, children that show up late: lineages in order, parents first, no key out of order."""
    rig.server.control({"life": {"roll_seconds": 3, "split": 0.3, "late_seconds": 2, "seed": seed}})
    written: dict[str, list[int]] = defaultdict(list)
    for round_ in range(12):
        for number in range(10):
            key = f"key{number}"
            made = rig.order("put", keys=[key])["numbers"]
            written[key] += map(int, made)
        rig.clock.advance(round_ % 3)
        rig.run_once()
    assert len(rig.shards()) > 8
    check_lineages(rig.recorder, rig.shards())
    assert keys_in_order(rig) == written


@pytest.mark.parametrize("seed", range(3))
def test_every_record_comes_once_though_calls_fail(rig: ServerRig, seed: int) -> None:
    """Throttling, server errors, dropped connections and empty pages beside the rolls change nothing of that."""
    rig.settings = replace(rig.settings, tip_pages=8, page_records=7)
    rig.server.control({"life": {"roll_seconds": 30, "split": 0.3, "late_seconds": 2, "seed": seed}})
    rig.server.control({"chaos": {**BEARABLE, "slow_seconds": 0.01, "expired_iterator": 0.1, "seed": seed}})
    for _ in range(4):
        rig.clock.advance(20)
        rig.order("put", keys=[f"key{number}" for number in range(20)])
        rig.run_once()
    rig.server.control({"chaos": {}})
    rig.clock.advance(10)
    rig.run_once()
    check_lineages(rig.recorder, rig.shards())


@pytest.mark.parametrize("backing", ["moto", "dynamodb_local"])
def test_what_real_clients_write_comes_out_of_rolling_shards(
    request: pytest.FixtureRequest, moto: Emulator, backing: str
) -> None:
    """In front of an emulator: writes through the same endpoint, read by the engine's threads on the real clock."""
    emulator: Emulator = request.getfixturevalue(backing)
    rig, stop = Rig.on(moto), threading.Event()
    rig.settings = QUICK
    with StreamServer(backing_url=emulator.endpoint_url) as server:
        server.control({"life": {"roll_seconds": 0.15, "split": 0.2, "late_seconds": 0.05}})
        tables, name = dynamodb(server.emulator), f"front-{next(NAMES)}"
        arn = make_table(tables, name)
        client = streams_client(server)
        services = replace(rig.services(), clock=SystemClock(), streams=client)
        engine = EmbeddedEngine([StreamPlan(name, arn, precision_ms=1_000)], rig.recorder, services)
        handed, wanted, all_seen = set[int](), set[int](), threading.Event()

        def note(number: int) -> None:
            handed.add(number)
            if wanted and wanted <= handed:
                all_seen.set()

        rig.recorder.on_record = note
        thread = threading.Thread(target=engine.run, args=(stop,))
        thread.start()
        for number in range(60):
            if number == 30:
                server.control({"roll": {"table": name}})
            tables.put_item(TableName=name, Item={"id": {"S": f"key{number % 7}"}, "n": {"N": str(number)}})
        server.control({"state": {}})
        shards = server.service.model.streams[arn].shards
        wanted.update(number for shard in list(shards.values()) for number in shard.numbers)
        assert wanted <= handed or all_seen.wait(30)
        stop.set()
        thread.join(30)
        client.close()
        assert sum(len(shard.numbers) for shard in shards.values()) == 60
        assert len(shards) > 1
        check_lineages(rig.recorder, {shard_id: shard for shard_id, shard in shards.items() if shard.numbers})


def make_table(tables: Any, name: str) -> str:
    """Make a table with a stream; return the stream's ARN."""
    arn: str = tables.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]["LatestStreamArn"]
    return arn


def test_chaos_of_one_probability_makes_every_kind_of_trouble() -> None:
    """The shorthand leaves out only what no waiting mends."""
    faults = Faults.all_at(0.1)
    assert faults.throttled > 0
    assert faults.truncated > 0
    assert faults.denied == 0
