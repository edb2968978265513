"""How DynamoDB Streams names things: ARNs and labels, shard ids, sequence numbers, iterators. Pure."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
LABEL: Final = "2026-11-23T00:00:00.000"
FIRST_SEQUENCE_NUMBER: Final = 1_100_000_000_017_454_423_009

STEP: Final = 100_000
"""Numbers of one length leave room for a shard's own last digits, so that no two shards share a number."""

DIGITS_FIRST: Final = 21
DIGITS_LAST: Final = 37
"""GetShardIterator takes 21 to 40 digits (API model); a shard grows past its first length by one."""

CROSSES_AFTER: Final = 8


def arn_of(table: str, label: str = LABEL) -> str:
    """Name a stream of a table."""
    return f"{table_arn(table)}/stream/{label}"


def table_arn(table: str) -> str:
    """Name a table."""
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}"


def label_at(ms: int) -> str:
    """Return the label of a stream made at an instant."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}"


def spelled(shard_id: str) -> str:
    """Spell a short name as the service does: a shard id has 28 characters at least."""
    return shard_id if shard_id.startswith("shardId-") else f"shardId-{0:020d}-{shard_id}"


def shard_id_at(ms: int, salt: str) -> str:
    """Make a shard id as AWS does: the instant it was made at, and eight hex digits."""
    return f"shardId-{ms:020d}-{hashlib.sha256(salt.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Numbering:
    """A shard's sequence numbers: a line over the service's one running serial. A child's line lies never lower."""

    offset: int
    step: int
    digits: int = 0

    def number(self, serial: int) -> int:
        """Return the sequence number of a serial."""
        return self.offset + self.step * serial


PLAIN: Final = Numbering(FIRST_SEQUENCE_NUMBER, 10)


def growing(parent: Numbering | None, serial: int, shard_index: int) -> Numbering:
    """Return numbers that grow by a digit within the shard and with each generation.

    As text they are out of order, so a consumer that compares text is found out.
    """
    digits = DIGITS_FIRST if parent is None else min(parent.digits + 1, DIGITS_LAST)
    own = shard_index % STEP
    if parent is not None and parent.digits == digits:
        return Numbering(parent.offset - parent.offset % STEP + own, STEP, digits)
    return Numbering(10**digits - STEP * (serial + CROSSES_AFTER) + own, STEP, digits)


@dataclass(frozen=True, slots=True)
class Iterator:
    """What an iterator stands for: the index of the next record. `serial` counts the iterators given out."""

    arn: str
    shard_id: str
    index: int
    issued_ms: int
    serial: int

    @property
    def token(self) -> str:
        """The iterator as the service spells it: readable up to the stream, opaque after that."""
        inner = orjson.dumps([self.shard_id, self.index, self.issued_ms, self.serial])
        return f"{self.arn}|1|{base64.urlsafe_b64encode(inner).decode()}"


def parse_iterator(token: str) -> Iterator | None:
    """Read an iterator; None for what was never one."""
    arn, _bar, rest = token.partition("|1|")
    try:
        shard_id, index, issued_ms, serial = orjson.loads(base64.urlsafe_b64decode(rest))
    except (binascii.Error, ValueError, TypeError):
        return None
    return Iterator(arn, shard_id, index, issued_ms, serial)
