"""What a fleet asks of DynamoDB each second, from its knobs and the number of shards: for `lockside check`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockside.app.finding import Finding
from lockside.app.fleet import LOCK, knobs_of
from lockside.app.provision import describe
from lockside.emulators import jars
from lockside.engines.discovery import Discovery
from lockside.engines.kcl.knobs import PROFILES, RENEWALS, Knobs
from lockside.errors import SetupError

if TYPE_CHECKING:
    from lockside.aws.clients import Clients
    from lockside.settings import Settings

PAGES_MAX: Final = 1_000
PAGE_SHARDS: Final = 100
"""DescribeStream lists so many shards a page (API reference)."""

DESCRIBES_MAX: Final = 5.0
"""Half of what DescribeStream bears for one stream, 10 calls a second (API reference)."""

SHARDS_A_LEASE_WRITE_MAX: Final = 500
"""So many open shards write as often as the default profile should: from there on, its renewals cost more than the
seconds they save."""


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
    leader = 1000 / knobs.leader_heartbeat_ms
    reports = workers * 1000 / knobs.worker_report_ms
    assignment = 1000 / knobs.lease_assignment_ms
    return Rates(
        # After an empty page KCL waits twice as long.
        get_records=open_shards * 1000 / (2 * knobs.idle_ms),
        describe_stream=pages * 1000 / knobs.shard_sync_ms,
        lease_writes=renewals + leader + reports,
        # The leader reads leases and workers; each worker looks for its own new leases twice as often.
        lease_reads=2 * assignment + workers * (2 * assignment + leader),
    )


def findings(settings: "Settings", clients: "Clients") -> Iterator[Finding]:
    """Say whether KCL's jars are there, and what the fleet will ask of each stream, with the profile that fits."""
    yield _jars()
    profile = settings.engine.kcl.profile
    knobs = knobs_of(settings.engine.kcl)
    for table in dict.fromkeys(source.table for source in settings.source):
        described = describe(clients.dynamodb, table)
        arn = None if described is None else described.get("LatestStreamArn")
        if arn is None:
            continue
        open_shards, listed = _count(Discovery(clients.streams), str(arn))
        asked = rates(knobs, open_shards, listed)
        what = (
            f"{open_shards} open of {listed} shards; each second about {asked.get_records:.1f} GetRecords, "
            f"{asked.describe_stream:.2f} DescribeStream, {asked.lease_writes:.1f} writes and {asked.lease_reads:.1f} "
            f"reads of leases (profile {profile}, one worker)"
        )
        heavy = asked.describe_stream > DESCRIBES_MAX or open_shards > SHARDS_A_LEASE_WRITE_MAX
        if heavy and knobs != PROFILES["conservative"]:
            fix = 'raise engine.kcl.shard_sync_ms and failover_ms, or set engine.kcl.profile = "conservative"'
            yield Finding("warning", table, "engine.kcl.profile", what, fix)
        else:
            yield Finding("note", table, "engine.kcl.profile", what)


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
