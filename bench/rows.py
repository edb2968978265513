"""Stream records as real clients cause them, page by page, from a seed."""

import random
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]
import orjson

from lockside.core.change import ShardRef
from lockside.core.entity import KeySchema
from lockside.core.recipe import Recipe, Source
from lockside.layouts import registry

PAGE_RECORDS: Final = 1_000
LEASE_SECONDS: Final = 3_600
"""Longer than a run, so that nothing lapses in the middle of it."""

HOSTS: Final = 97

Wire = dict[str, dict[str, Any]]
Row = Callable[[int, str, int], tuple[Wire, Wire]]


def _owner(number: int) -> str:
    return f"worker-{number % HOSTS:02d}"


def _awslabs(number: int, version: str, _second: int) -> tuple[Wire, Wire]:
    return {"key": {"S": f"job-{number:07d}"}}, {
        "ownerName": {"S": _owner(number)},
        "recordVersionNumber": {"S": version},
        "leaseDuration": {"S": str(LEASE_SECONDS * 1_000)},
    }


def _pydynlock(number: int, version: str, second: int) -> tuple[Wire, Wire]:
    return {"lock_key": {"S": f"job-{number:07d}"}, "sort_key": {"S": "-"}}, {
        "owner_name": {"S": _owner(number)},
        "record_version_number": {"S": version},
        "lease_duration": {"N": str(LEASE_SECONDS)},
        "expiry_time": {"N": str(second + LEASE_SECONDS)},
    }


def _flask_session(number: int, _version: str, second: int) -> tuple[Wire, Wire]:
    payload = msgpack.packb(
        {"_permanent": True, "_user_id": f"user-{number % 5_000}", "_fresh": True, "cart": ["book"]}
    )
    return {"id": {"S": f"session:{uuid.UUID(int=number).hex}"}}, {
        "val": {"B": b64encode(payload).decode()},
        "expiration": {"N": f"{second + 31 * 86_400}.25"},
    }


ROWS: Final[dict[str, Row]] = {"awslabs": _awslabs, "pydynlock": _pydynlock, "flask-session": _flask_session}
LABEL: Final = "2026-11-23T08:00:00.000"


def shard_of(layout: str) -> ShardRef:
    """Name the one shard of a made-up stream."""
    table = "sessions" if layout == "flask-session" else "locks"
    arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}/stream/{LABEL}"
    return ShardRef(arn, "shardId-00000001795420800000-a1b2c3d4")


def source_of(layout: str) -> Source:
    """Build a source as the worker does for a table of this layout."""
    specs = registry.builtin().find(layout)
    kind, names = specs[0].traits.kind, specs[0].key_names
    recipe = Recipe(
        source_id=shard_of(layout).table,
        kind=kind,
        layouts=tuple((spec.name, spec.digest) for spec in specs),
        key_names=names,
        pseudonymise=(),
        entity_key_id="e1",
        image_key_id="i1",
        precision_ms=1_000,
        clock_margin_ms=2_000,
        refresh_bucket_ms=3_600_000,
    )
    return Source(recipe.source_id, shard_of(layout).table, kind, specs, KeySchema(names), recipe)


@dataclass
class Stream:
    """A shard's changes in the making: takes, heartbeats and releases of numbered rows."""

    layout: str
    seed: int = 1
    second: int = field(default_factory=lambda: int(time.time()))
    _position: int = 10**20
    _rows: dict[int, Wire] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Seed the chance that versions are made of."""
        self._random = random.Random(self.seed)  # noqa: S311 - repeatable, and no secret

    def take(self, number: int) -> dict[str, Any]:
        """Write a row, or write it anew as a heartbeat does."""
        version = str(uuid.UUID(int=self._random.getrandbits(128)))
        keys, rest = ROWS[self.layout](number, version, self.second)
        old, new = self._rows.get(number), {**keys, **rest}
        self._rows[number] = new
        return self._record("INSERT" if old is None else "MODIFY", keys, old, new)

    def end(self, number: int) -> dict[str, Any]:
        """Delete a row."""
        keys, _ = ROWS[self.layout](number, "", self.second)
        return self._record("REMOVE", keys, self._rows.pop(number), None)

    def _record(self, name: str, keys: Wire, old: Wire | None, new: Wire | None) -> dict[str, Any]:
        self._position += self._random.randrange(1, 9)
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": float(self.second),
            "Keys": keys,
            "SequenceNumber": str(self._position),
            "SizeBytes": 300,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        body |= {} if old is None else {"OldImage": old}
        body |= {} if new is None else {"NewImage": new}
        return {
            "eventID": f"{self._random.getrandbits(128):032x}",
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": body,
        }

    def pages(self, takes: int, locks: int, first: int = 0) -> Iterator[list[dict[str, Any]]]:
        """Yield full pages of takes, round the locks: the first round acquires, the others are heartbeats."""
        for start in range(0, takes, PAGE_RECORDS):
            yield [self.take(first + n % locks) for n in range(start, min(start + PAGE_RECORDS, takes))]


def bodies(layout: str, takes: int, locks: int) -> list[bytes]:
    """Return a closed shard as GetRecords bodies; page n names page n + 1 as the next, the last none."""
    pages = list(Stream(layout).pages(takes, locks))
    nexts = [str(number) for number in range(1, len(pages))] + [None]
    return [
        orjson.dumps({"Records": page, "NextShardIterator": following})
        for page, following in zip(pages, nexts, strict=True)
    ]
