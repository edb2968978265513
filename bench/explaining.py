"""`lockside explain` over heartbeats, against the plainest loop that decodes the same file and says nothing."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Final

import orjson

from bench import rows
from bench.figures import Figure
from bench.sizes import Sizes

TIMES_MAX: Final = 2.0
LAYOUT: Final = "awslabs"
DECODE: Final = """
import json, sys
from lockside.core.change import ShardRef
from lockside.core.decode import decode_record
from lockside.core.entity import KeySchema
shard, schema = ShardRef("", ""), KeySchema(("key",))
for line in open(sys.argv[1], "rb"):
    decode_record(json.loads(line), shard, schema, 1_000)
"""
"""Read as JSON and decoded as the worker decodes a record: place, time, key, kind; the images stay as they came."""

PARSE: Final = """
import json, sys
for line in open(sys.argv[1], "rb"):
    json.loads(line)
"""


def measure(sizes: Sizes) -> list[Figure]:
    """Explain a file of heartbeats, for people and for scripts; decode it before and after, and take the mean."""
    with _file(sizes) as path:
        decodings = [_seconds([sys.executable, "-c", DECODE, path])]
        parsing = _seconds([sys.executable, "-c", PARSE, path])
        people = _seconds(_explain(path))
        scripts = _seconds(_explain(path, "--json"))
        decodings.append(_seconds([sys.executable, "-c", DECODE, path]))
    decoding, count = sum(decodings) / len(decodings), sizes.explained
    return [
        Figure("explain: JSON alone", parsing / count * 1e6, "CPU µs / record"),
        Figure("explain: JSON and decoding alone", decoding / count * 1e6, "CPU µs / record"),
        Figure("explain: for people", people / count * 1e6, "CPU µs / record"),
        Figure("explain: for people, times decoding alone", people / decoding, "times", "at most", TIMES_MAX),
        Figure("explain: --json, times decoding alone", scripts / decoding, "times", "at most", TIMES_MAX),
        Figure("explain: --json, times JSON alone", scripts / parsing, "times"),
    ]


def _explain(path: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "lockside", "explain", *options, path]


@contextmanager
def _file(sizes: Sizes) -> Iterator[str]:
    """Write heartbeats as JSON Lines, after one acquisition of each lock."""
    with tempfile.TemporaryDirectory(prefix="lockside-bench-") as folder:
        path = Path(folder) / "records.jsonl"
        with path.open("wb") as file:
            for page in rows.Stream(LAYOUT).pages(sizes.explained, sizes.flood_locks):
                file.writelines(orjson.dumps(record) + b"\n" for record in page)
        yield str(path)


def _seconds(command: Sequence[str]) -> float:
    """Run a program to its end and return the CPU it took, its start included; its answer goes nowhere."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)  # noqa: S603 - our own
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
