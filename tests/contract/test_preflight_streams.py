"""What `lockside check` says of streams: whether each call of the worker is allowed, and who else may read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockside.app import preflight, provision, readable
from lockside.app.finding import Finding
from lockside.emulators.emulator import Emulator
from lockside.emulators.tables import create_lock_table
from tests.contract.test_preflight import Site
from tests.fakes.stream_server import StreamServer


@pytest.fixture
def server(moto: Emulator) -> Iterator[StreamServer]:
    """Stand in front of moto."""
    with StreamServer(backing_url=moto.endpoint_url) as made, pytest.MonkeyPatch.context() as patch:
        for variable, value in made.emulator.environment.items():
            patch.setenv(variable, value)
        yield made


@pytest.fixture
def site(server: StreamServer, tmp_path: Path) -> Site:
    """Make an installation that could run."""
    made = Site(server.endpoint_url, tmp_path)
    assert made.run("init").exit_code == 0
    create_lock_table(made.clients.dynamodb, made.watched)
    return made


def of_stream(site: Site, level: str) -> list[Finding]:
    """Return what is found of the source's table and its stream, at one level."""
    return [found for found in site.examine() if (found.setting, found.level) == ("source[0].table", level)]


@pytest.mark.parametrize("operation", ["DescribeStream", "GetShardIterator", "GetRecords", "ListStreams"])
def test_a_call_that_is_denied_is_a_fault_with_what_to_allow(site: Site, server: StreamServer, operation: str) -> None:
    """At run time it would only show as a shard that cannot be read."""
    assert site.run("check").exit_code == 0
    server.control({"fail": {"operation": operation, "code": "AccessDeniedException"}})
    (finding,) = of_stream(site, "fault")
    assert finding.what == f"{operation} on its stream is denied (AccessDeniedException)"
    assert f"dynamodb:{operation}" in finding.fix
    assert f"table/{site.watched}/stream/*" in finding.fix
    server.control({"fail": {"operation": operation, "code": "AccessDeniedException"}})
    assert site.run("check").exit_code == 1


def test_the_check_reads_no_record(site: Site, server: StreamServer) -> None:
    """It asks for what comes after the newest record: one page, with a limit of one."""
    server.service.calls.clear()
    site.run("check")
    asked = {name: request for name, request in server.service.calls if name in {"GetShardIterator", "GetRecords"}}
    assert asked["GetShardIterator"]["ShardIteratorType"] == "LATEST"
    assert asked["GetRecords"]["Limit"] == 1


def test_edge_18_a_throttled_call_points_at_other_readers(site: Site, server: StreamServer) -> None:
    """A warning: the worker backs off, and a person must see who else reads."""
    server.control({"fail": {"operation": "GetRecords", "code": "LimitExceededException", "times": 2}})
    (finding,) = of_stream(site, "warning")
    assert "throttled (LimitExceededException): others read it too" in finding.what


@pytest.mark.parametrize("kind", ["dropped", "garbled"])
def test_a_stream_that_nobody_answers_for_is_a_fault(site: Site, server: StreamServer, kind: str) -> None:
    """Streams have an endpoint of their own, which a network may not reach though it reaches the tables'."""
    server.control({"fail": {"operation": "DescribeStream", "kind": kind, "times": 2}})
    (finding,) = of_stream(site, "fault")
    assert f"not answered for at {server.endpoint_url}" in finding.what
    assert "endpoint of their own" in finding.fix


def test_a_call_that_fails_for_once_is_no_fault(site: Site, server: StreamServer) -> None:
    """The worker would try again."""
    server.control({"fail": {"operation": "DescribeStream", "times": 2}})
    (finding,) = of_stream(site, "warning")
    assert finding.what == "DescribeStream on its stream failed (InternalServerError)"


def test_edge_18_the_check_says_how_many_readers_a_shard_bears(site: Site) -> None:
    """A note, and no fault: nothing tells who else reads."""
    (finding,) = of_stream(site, "note")
    assert "two readers at a time" in finding.what
    result = site.run("check")
    assert result.exit_code == 0
    assert "note" in result.stdout


def test_edge_18_of_a_global_table_there_should_be_one_reader(site: Site) -> None:
    """Its description tells that it has replicas."""
    table: Any = provision.describe(site.clients.dynamodb, site.watched)
    found = list(readable.stream("source[0]", site.watched, {**table, "Replicas": [{}]}, site.clients.streams))
    assert [finding.what for finding in found if finding.level == "note"] == [
        "it is a global table: each shard of its stream should have no reader but this worker"
    ]
    assert preflight.could_run(found)
