"""What a fleet asks of DynamoDB each second, from its knobs and the number of shards: for `lockside check`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from lockside.app.finding import Finding
from lockside.app.fleet import LOCK, knobs_of
from lockside.app.provision import describe
from lockside.aws.retrying import verdict
from lockside.core.failures import Verdict
from lockside.emulators import jars
from lockside.engines.discovery import Discovery
from lockside.engines.kcl.knobs import PROFILES, RENEWALS, Knobs
from lockside.errors import SetupError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.aws.clients import Clients
    from lockside.settings import Settings

PAGES_MAX: Final = 1_000
PAGE_SHARDS: Final = 100
"""DescribeStream lists so many shards a page (API reference)."""

AUDIT_SECONDS: Final = 120
"""How often the leader lists all shards (KCL's own default; besides, each shard's end has its children listed)."""

LOOKS_A_FAILOVER: Final = 9
"""How often a worker looks for its new leases in one `failover_ms` (seen of KCL 3.3.0)."""

LEASE_WRITES_MAX: Final = 500.0
"""From so many writes a second on, the default profile's renewals cost more than the seconds they save."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Calls a second: on the stream, and on KCL's tables."""

    get_records: float
    describe_stream: float
    lease_writes: float
    lease_reads: float


def rates(knobs: Knobs, open_shards: int, listed_shards: int, workers: int = 1) -> Rates:
    """Return what a fleet of so many workers asks, with all shards idle; a busy one is read twice as often."""
    pages = max(1, -(-listed_shards // PAGE_SHARDS))
    renewals = open_shards * RENEWALS * 1000 / knobs.failover_ms
    heartbeats = 1000 / knobs.leader_heartbeat_ms
    return Rates(
        # After an empty page KCL waits twice as long.
        get_records=open_shards * 1000 / (2 * knobs.idle_ms),
        describe_stream=pages / AUDIT_SECONDS,
        lease_writes=renewals + heartbeats + workers * 1000 / knobs.worker_report_ms,
        # The leader scans leases and workers each time it hands leases out.
        lease_reads=2 * 1000 / knobs.lease_assignment_ms + workers * LOOKS_A_FAILOVER * 1000 / knobs.failover_ms,
    )


def findings(settings: "Settings", clients: "Clients") -> Iterator[Finding]:
    """Say whether KCL's jars are there, and what the fleet will ask of each stream, with the profile that fits."""
    yield _jars()
    profile = settings.engine.kcl.profile
    knobs = knobs_of(settings.engine.kcl)
    for table in dict.fromkeys(source.table for source in settings.source):
        arn = stream_of(clients.dynamodb, table)
        counted = None if arn is None else _counted(Discovery(clients.streams), arn)
        if counted is None:
            continue
        open_shards, listed = counted
        asked = rates(knobs, open_shards, listed)
        what = (
            f"{open_shards} open of {listed} shards; each second about {asked.get_records:.1f} GetRecords, "
            f"{asked.describe_stream:.3f} DescribeStream, {asked.lease_writes:.1f} writes and {asked.lease_reads:.1f} "
            f"reads of leases (profile {profile}, one worker)"
        )
        if asked.lease_writes > LEASE_WRITES_MAX and knobs != PROFILES["conservative"]:
            fix = 'raise engine.kcl.failover_ms, or set engine.kcl.profile = "conservative"'
            yield Finding("warning", table, "engine.kcl.profile", what, fix)
        else:
            yield Finding("note", table, "engine.kcl.profile", what)


def stream_of(client: "DynamoDBClient", table: str) -> str | None:
    """Name a table's newest stream; None where there is none, or it may not be looked at, which is told elsewhere."""
    try:
        described = describe(client, table)
    except ClientError as error:
        if verdict(error) is not Verdict.DENIED:
            raise
        return None
    arn = None if described is None else described.get("LatestStreamArn")
    return None if arn is None else str(arn)


def _jars() -> Finding:
    setting = "engine.kind"
    try:
        missing = jars.missing(jars.bundled(LOCK))
    except SetupError as error:
        return Finding("fault", None, setting, str(error))
    if missing:
        what = f"{len(missing)} of KCL's jars are not in the Maven cache {jars.maven_cache()}"
        return Finding("fault", None, setting, what, "run lockside kcl jars")
    return Finding("good", None, setting, "KCL's jars are there, each with the bytes that the lock names")


def _counted(discovery: Discovery, arn: str) -> tuple[int, int] | None:
    """Count as `_count` does; None where the stream may not be looked at, which is told elsewhere."""
    try:
        return _count(discovery, arn)
    except ClientError as error:
        if verdict(error) is not Verdict.DENIED:
            raise
        return None


def _count(discovery: Discovery, arn: str) -> tuple[int, int]:
    """Count a stream's open shards, and all that it lists."""
    open_shards = listed = 0
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page = discovery.page(arn, cursor)
        open_shards += sum(1 for shard in page.shards if not shard.closed)
        listed += len(page.shards)
        if page.cursor is None or page.cursor == cursor:
            break
        cursor = page.cursor
    return open_shards, listed
