"""The fake streams server as a program of its own."""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.fakes.stream_control import Scene, Script
from tests.fakes.stream_server import StreamServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; one line of JSON on stdout says where."""
    chosen = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with StreamServer(port=chosen.port, backing_url=chosen.backing) as server:
        if server.backing:
            server.backing.shards = chosen.shards
        streams = [server.control(order) for order in _orders(chosen)]
        if chosen.script:
            told = json.loads(chosen.script.read_text(encoding="utf-8"))
            Script(server.service, [Scene(**scene) for scene in told])
        made = [each["arn"] for each in streams if isinstance(each, Mapping) and "arn" in each]
        sys.stdout.write(json.dumps({"endpoint_url": server.endpoint_url, "streams": made}) + "\n")
        sys.stdout.flush()
        stop.wait()
    return 0


def _orders(chosen: argparse.Namespace) -> list[Mapping[str, Any]]:
    orders: list[Mapping[str, Any]] = [{"create": {"table": table, "shards": chosen.shards}} for table in chosen.table]
    if chosen.history:
        orders += [{"history": {"table": table, "generations": chosen.history}} for table in chosen.table]
    if chosen.roll_seconds:
        pace = {
            "roll_seconds": chosen.roll_seconds,
            "split": chosen.split,
            "late_seconds": chosen.late_seconds,
            "retention_seconds": chosen.retention_seconds,
        }
        orders.append({"life": {**pace, "seed": chosen.seed}})
    if chosen.chaos:
        orders.append({"chaos": {"all": chosen.chaos, "seed": chosen.seed}})
    life_ms = round(chosen.iterator_seconds * 1000)
    orders.append({"set": {"child_filter": chosen.child_filter, "iterator_life_ms": life_ms}})
    return [*orders, *(json.loads(order) for order in chosen.do)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fakes.stream_server",
        description="A DynamoDB Streams endpoint that rolls, splits, forgets and fails. POST /_control scripts it on.",
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="TCP port on the loopback address; 0 takes a free one (default)")
    add("--backing", metavar="URL", help="a moto or DynamoDB Local whose tables are used through this endpoint")
    add("--table", action="append", default=[], help="a table whose stream is on from the start; may be repeated")
    add("--shards", type=int, default=1, help="open shards that a stream begins with (default 1)")
    add("--history", type=int, default=0, metavar="N", help="closed generations that each shard has behind it")
    add("--seed", type=int, default=0, help="what all chance is drawn from (default 0)")
    add("--roll-seconds", type=float, default=0.0, help="a shard rolls about so often (default never)")
    add("--split", type=float, default=0.2, help="how many of the rolls are splits (default 0.2)")
    add("--late-seconds", type=float, default=0.0, help="children are listed up to so late (default at once)")
    add("--retention-seconds", type=float, default=86_400.0, help="what closed so long ago ages out (default a day)")
    add("--iterator-seconds", type=float, default=900.0, help="how long an iterator lives (default 15 minutes)")
    add("--child-filter", choices=("honoured", "ignored"), default="honoured", help="what CHILD_SHARDS does")
    add("--chaos", type=float, default=0.0, metavar="P", help="probability that a call goes wrong (default 0)")
    add("--script", type=Path, help='JSON list of scenes: [{"order": {"roll": {"table": "t"}}, "after_ms": 2000}]')
    add("--do", action="append", default=[], metavar="JSON", help="a control command at the start; may be repeated")
    return parser
