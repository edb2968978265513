"""A replica in Redis: each row under a key of its own, and sorted sets that keep the keys' order.

| key | holds |
|---|---|
| `<prefix>row:<key>` | a hash: `item`, the row as DynamoDB JSON, and `stamp`; of a deleted row `key` for `item` |
| `<prefix>index:<partition>` | a sorted set of the sort keys of one partition that are there, in their order |
| `<prefix>index` | for a table without sort keys: all keys that are there, in their order |
| `<prefix>index:<phrases' prefix>` | with `rows = "phrases"`: all phrases under a prefix, of whatever shard |
| `<prefix>meta` | a hash: `generation`, by which it is noticed that Redis was emptied |

Text and binary stand in keys as they are, numbers as bytes that sort as they do (`core/sort_bytes.py`); the key of a
row with a sort key is `<bytes of the partition>:<partition>:<sort key>`. All members have the score 0, so that ZRANGE …
BYLEX gives them in order. A phrase's member is `member_of` its key and its shard: while shards are raised, a phrase is
in two of them for a moment, as two rows that come and go apart.

Strategy: one Lua script compares the stamps and writes row and index together, so that no reader sees one without the
other. A page's writes go out in pipelines.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson
import redis
from redis import exceptions as faults

from lockside.aws.retrying import AgainError, Retrier
from lockside.core.entity import EntityKey, KeySchema, entity_key, wire_key
from lockside.core.ports import Clock
from lockside.core.replica import Row, Write
from lockside.core.sort_bytes import sort_bytes
from lockside.core.wire_form import for_json
from lockside.errors import FencedError, ReplicaError
from lockside.stores.target import HOUR_MS, Applied, RowPage

T = TypeVar("T")

PIPELINE_MAX: Final = 200
SCAN_COUNT: Final = 500
TOO_LATE: Final = -1
NO_EVICTION: Final = "noeviction"

APPLY: Final = """\
-- KEYS: row, index. ARGV: stamp, item or key, member, milliseconds a tombstone lives ('' for a put), last millisecond.
-- Lua's own < on text goes by the server's locale, so stamps are compared byte by byte.
local function less(one, other)
  for at = 1, math.min(#one, #other) do
    local ours, theirs = one:byte(at), other:byte(at)
    if ours ~= theirs then return ours < theirs end
  end
  return #one < #other
end
if redis.call('TIME')[1] * 1000 > tonumber(ARGV[5]) then return -1 end
local stored = redis.call('HGET', KEYS[1], 'stamp')
if stored and not less(stored, ARGV[1]) then return 0 end
if ARGV[4] == '' then
  redis.call('HSET', KEYS[1], 'item', ARGV[2], 'stamp', ARGV[1])
  redis.call('HDEL', KEYS[1], 'key')
  redis.call('PERSIST', KEYS[1])
  redis.call('ZADD', KEYS[2], 0, ARGV[3])
else
  redis.call('HSET', KEYS[1], 'key', ARGV[2], 'stamp', ARGV[1])
  redis.call('HDEL', KEYS[1], 'item')
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('ZREM', KEYS[2], ARGV[3])
end
return 1
"""

PASSING: Final = (
    faults.ConnectionError,
    faults.TimeoutError,
    faults.BusyLoadingError,
    faults.ReadOnlyError,
    faults.TryAgainError,
    faults.ClusterDownError,
    faults.MasterDownError,
    faults.OutOfMemoryError,
    faults.AuthenticationError,
    faults.NoPermissionError,
)
"""What passes by itself, or when a person has mended it: until then the replica is late, and says so."""


class RedisUnavailableError(AgainError):
    """Redis did not answer, or cannot write for now. Tried again."""


def row_key(prefix: bytes, parts: Sequence[bytes]) -> bytes:
    """Return the Redis key of a row; with the length of the first part, so that no two pairs of parts share one."""
    if len(parts) == 1:
        return prefix + b"row:" + parts[0]
    return b":".join((prefix + b"row", str(len(parts[0])).encode(), *parts))


ZERO: Final = b"\x00"
ESCAPED: Final = b"\x00\xff"
END: Final = b"\x00\x01"
"""After a phrase's key in its member: below whatever may go on a key, so that the order stays that of the keys."""


def member_of(key: bytes, shard: bytes) -> bytes:
    """Return a phrase's member in the sorted set of its prefix."""
    return key.replace(ZERO, ESCAPED) + END + shard


def split_member(member: bytes) -> tuple[bytes, bytes]:
    """Return the key and the shard of a phrase's member."""
    key, _, shard = member.rpartition(END)
    return key.replace(ESCAPED, ZERO), shard


class RedisTarget:
    """The rows of one replica. Implements `Target`; safe to share between threads."""

    def __init__(  # noqa: PLR0913 - one argument for each neighbour
        self,
        client: "redis.Redis",
        prefix: str,
        schema: KeySchema,
        retrier: Retrier,
        clock: Clock,
        *,
        tombstone_hours: int,
        place: str,
        phrases: bool = False,
    ) -> None:
        """Take what is needed; nothing is called yet. `place` names the server, without its password.

        `phrases`: the rows are those of a KeyPhraseStore.
        """
        self._client: Any = client
        self._prefix = prefix.encode()
        self._schema = schema
        self._retrier = retrier
        self._clock = clock
        self._tombstone_ms = tombstone_hours * HOUR_MS
        self._place = place
        self._phrases = phrases
        self._script: str | None = None

    @property
    def place(self) -> str:
        """Name the server and the keys' prefix."""
        return f"{self._prefix.decode()}* at {self._place}"

    def apply(self, writes: Sequence[Write], until_ms: int) -> Applied:
        """Write rows, a pipeline at a time."""
        taken = 0
        for start in range(0, len(writes), PIPELINE_MAX):
            arguments = [self._arguments(write, until_ms) for write in writes[start : start + PIPELINE_MAX]]
            answers = self._call("replicate", lambda rows=arguments: self._run(rows, until_ms))  # type: ignore[misc]
            if TOO_LATE in answers:
                raise self._late()
            taken += sum(answers)
        return Applied(taken, len(writes) - taken)

    def read(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Row]:
        """Read rows."""
        rows = self._read([self._row_key(key) for key in keys])
        return {row.key: row for row in rows}

    def page(self, cursor: str | None) -> RowPage:
        """Scan on."""
        match = self._prefix + b"row:*"
        following, names = self._call(
            "replica_scan", lambda: self._client.scan(cursor=int(cursor or 0), match=match, count=SCAN_COUNT)
        )
        return RowPage(self._read(names), str(following) if int(following) else None)

    def vouch(self, generation: int) -> bool:
        """Whether Redis was not emptied, nor begun anew by another hand."""
        found = self._call("replica_vouch", lambda: self._client.hget(self._meta, "generation"))
        return found is not None and int(found) >= generation

    def begin(self, generation: int) -> None:
        """Note the generation where an emptied Redis would not have it."""
        self._call("replica_begin", lambda: self._client.hset(self._meta, "generation", str(generation)))

    def eviction(self) -> str | None:
        """Return by which policy Redis may drop rows, or the tombstones, when its memory is full.

        None if it drops none, or does not tell: `CONFIG` is often not allowed.
        """
        try:
            policy = self._client.config_get("maxmemory-policy").get("maxmemory-policy")
        except faults.RedisError:
            return None
        return None if policy in {None, NO_EVICTION} else str(policy)

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    @property
    def _meta(self) -> bytes:
        return self._prefix + b"meta"

    def _run(self, rows: Sequence[tuple[bytes | str, ...]], until_ms: int) -> list[int]:
        if self._clock.now().wall_ms > until_ms:
            raise self._late()
        if self._script is None:
            self._script = self._client.script_load(APPLY)
        pipeline = self._client.pipeline(transaction=False)
        for row in rows:
            pipeline.evalsha(self._script, 2, *row)
        try:
            answers: list[int] = pipeline.execute()
        except faults.NoScriptError as error:
            # It was started anew, and knows no script.
            self._script = None
            raise RedisUnavailableError from error
        return answers

    def _late(self) -> FencedError:
        return FencedError(
            f"a change for {self.place} was held up for so long that what would refuse it, if it is outdated, may be "
            "gone; the replicator stops, and the next one reads it again"
        )

    def _arguments(self, write: Write, until_ms: int) -> tuple[bytes | str, ...]:
        index, member = self._place_in_index(write.key)
        gone = write.image is None
        held = wire_key(write.key, self._schema) if write.image is None else write.image
        alive_ms = str(self._tombstone_ms) if gone else ""
        return (
            self._row_key(write.key),
            index,
            write.stamp,
            orjson.dumps(for_json(held)),
            member,
            alive_ms,
            str(until_ms),
        )

    def _place_in_index(self, key: EntityKey) -> tuple[bytes, bytes]:
        parts = [sort_bytes(tag, text) for tag, text in key.parts]
        index = self._prefix + b"index"
        if len(parts) == 1:
            return index, parts[0]
        if self._phrases:
            shard, _, phrases = parts[0].partition(b"#")
            return index + b":" + phrases, member_of(parts[1], shard)
        return index + b":" + parts[0], parts[1]

    def _row_key(self, key: EntityKey) -> bytes:
        return row_key(self._prefix, [sort_bytes(tag, text) for tag, text in key.parts])

    def _read(self, names: Sequence[bytes]) -> list[Row]:
        def read() -> Any:
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.hmget(name, "item", "key", "stamp")
            return pipeline.execute()

        return [self._row(*found) for found in self._call("replica_read", read) if found != [None, None, None]]

    def _row(self, item: bytes | None, key: bytes | None, stamp: bytes | None) -> Row:
        held = orjson.loads(item or key or b"null")
        return Row(
            entity_key(held, self._schema), stamp.decode() if stamp else None, held if item is not None else None
        )

    def _call(self, operation: str, ask: Callable[[], T]) -> T:
        def attempt() -> T:
            try:
                return ask()
            except PASSING as error:
                if isinstance(error, faults.ReadOnlyError):
                    # After a failover this server follows another: only a new connection finds the one that leads.
                    self._client.connection_pool.disconnect(inuse_connections=False)
                raise RedisUnavailableError from error
            except faults.ResponseError as error:
                # Its text may quote what was sent.
                code = str(error).partition(" ")[0]
                raise ReplicaError(
                    f"{self.place}: Redis refuses {operation} ({code}); see that no other application uses the prefix, "
                    "and that it is Redis 5 or newer"
                ) from error

        return self._retrier.call(operation, attempt)
