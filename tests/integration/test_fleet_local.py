"""One worker of a fleet on DynamoDB Local's own streams, whose ARNs the adapter would refuse."""

import signal
import threading
from pathlib import Path
from typing import Final

import boto3
import orjson
import pytest
from click.testing import CliRunner

from lockside.app import fleet
from lockside.aws.retrying import Retrier
from lockside.cli.main import main
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator
from lockside.engines.discovery import Discovery
from lockside.engines.kcl.leases import lease_table
from lockside.engines.kcl.provision import first_lease, make_tables
from tests.fakes.state_table import access
from tests.fakes.worker_process import worker_process
from tests.integration.test_takeover import Yard, yard_on

START_SECONDS_MAX: Final = 90.0
LEASE_SECONDS: Final = 2.0


def seed(yard: Yard) -> None:
    """Leave the leases that a first start would make after up to half a minute."""
    table = f"locks-{yard.name}"
    arn = str(yard.client.describe_table(TableName=table)["Table"]["LatestStreamArn"])
    name = lease_table("lockside", arn)
    make_tables(yard.client, name, Retrier(threading.Event(), NoMeter()))
    for shard in Discovery(boto3.client("dynamodbstreams", **access(yard.emulator))).page(arn, None).shards:
        yard.client.put_item(TableName=name, Item=first_lease(shard.shard_id))


@pytest.mark.timeout(300)
def test_it_reads_dynamodb_locals_own_streams(
    dynamodb_local: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded once each, also over a restart; the commands tell of it; an embedded worker goes on from there."""
    fleet.fetch_jars()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("LOCKSIDE_ENGINE__KIND", "kcl")
    yard = yard_on(dynamodb_local, tmp_path, LEASE_SECONDS)
    seed(yard)
    yard.write(20)
    with worker_process(yard.config, yard.emulator) as first:
        first.until("batch", START_SECONDS_MAX)
        yard.check_recorded(first)
        report = yard.status()
        assert report.exit_code == 0, report.output
        assert "a fleet of 1 worker: " in report.output
        leased = CliRunner().invoke(main, ["kcl", "leases", "--json", "--config", str(yard.config)])
        (lease,) = orjson.loads(leased.stdout)["leases"]
        member = next(line for line in first.lines if line["event"] == "member")["worker"]
        assert (leased.exit_code, lease["owner"]) == (0, member)
        first.send(signal.SIGTERM)
        assert first.ended() == 0
    yard.write(10)
    monkeypatch.setenv("LOCKSIDE_ENGINE__KIND", "embedded")
    with worker_process(yard.config, yard.emulator) as other:
        yard.check_recorded(other)
        monkeypatch.setenv("LOCKSIDE_ENGINE__KIND", "kcl")
        with worker_process(yard.config, yard.emulator) as beside:
            assert beside.ended() == 2
        assert "is owned by a worker" in beside.lines[-1]["event"]
        other.send(signal.SIGTERM)
        assert other.ended() == 0
