"""Key phrases read from a replica in Redis, in order, as `KeyPhraseStore` reads them from the table. Never written.

What is read may be late by the replica's lag. A phrase that moves between shards while it is read is told once.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from lockside.core.wire_form import for_boto3
from lockside.stores import phrase_row
from lockside.stores.phrase_row import Phrase
from lockside.stores.phrase_value import checked_key, checked_prefix
from lockside.stores.redis_target import END, ESCAPED, ZERO, row_key, split_member

if TYPE_CHECKING:
    import redis

    from lockside.stores.machine import Machine

PAGE: Final = 500


class RedisPhrases:
    """The phrases under one prefix, in a replica with `rows = "phrases"`. `key_prefix` is the replica's own."""

    def __init__(self, client: "redis.Redis", key_prefix: str, prefix: str, machine: "Machine") -> None:
        """Send nothing yet."""
        self._client: Any = client
        self._key_prefix = key_prefix.encode()
        self._prefix = checked_prefix(prefix).encode()
        self._machine = machine

    def read(self, key: str) -> Phrase | None:
        """Read a phrase; None if the replica has none."""
        spelled = checked_key(key).encode()
        return next(self._between(b"[" + _bound(spelled), b"(" + _bound(spelled + b"\0")), None)

    def phrases(self, start: str | None = None, end: str | None = None) -> Iterator[Phrase]:
        """Scan phrases in code-point order of their keys, from `start` on and up to before `end`, page by page."""
        low = b"-" if start is None else b"[" + _bound(start.encode())
        return self._between(low, b"+" if end is None else b"(" + _bound(end.encode()))

    def _between(self, low: bytes, high: bytes) -> Iterator[Phrase]:
        index, told = self._key_prefix + b"index:" + self._prefix, ""
        while True:
            members = self._client.zrangebylex(index, low, high, start=0, num=PAGE)
            for phrase in self._phrases(members):
                if phrase.key != told:
                    yield phrase
                told = phrase.key
            if len(members) < PAGE:
                return
            low = b"(" + members[-1]

    def _phrases(self, members: Sequence[bytes]) -> Iterator[Phrase]:
        pipeline = self._client.pipeline(transaction=False)
        for member in members:
            key, shard = split_member(member)
            pipeline.hget(row_key(self._key_prefix, (shard + b"#" + self._prefix, key)), "item")
        for found in pipeline.execute():
            item = None if found is None else for_boto3(orjson.loads(found))
            phrase = phrase_row.phrase_of(item, self._machine.wall_ms())
            if phrase is not None:
                yield phrase


def _bound(key: bytes) -> bytes:
    """Return what is not above any member of this key, and above those of all smaller ones."""
    return key.replace(ZERO, ESCAPED) + END
