"""The changes that could not be decoded, kept sealed in the state table until `redrive` can read them.

Items, read strongly consistent:
- `UNDEC#<stream ARN>#<shard>` / `C#<sequence number>#<chunk>`: a piece of the sealed change, as an item holds 400 KB
  and a change up to 800 KB of images. Sealed for its own key, so that no piece can be moved.
- the same / `M#<sequence number>`: that all pieces are there, and how many; written after them, removed after them.
- `UNDEC` / `<stream ARN>#<shard>`: that a shard has ever kept a change; written before anything else.
So a crash anywhere leaves either nothing to be seen or a whole change, and the replay writes the same again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lockside.aws.retrying import Retrier, verdict
from lockside.core.change import ShardRef, padded
from lockside.core.entity import Key
from lockside.core.failures import Verdict
from lockside.core.ports import Undecodable
from lockside.errors import UndecodableLimitError, WireFaultError
from lockside.state import raw_record
from lockside.state.live_index import NONCE_BYTES

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

SHARDS: Final = "UNDEC"
"""The partition that lists the shards."""

CHUNK_BYTES_MAX: Final = 300 * 1024
"""Under DynamoDB's 400 KB for an item with room for its key and its seal."""

SEALED: Final = "sealed"
"""Code of a kept change whose pieces do not open or do not fit: damaged, or tampered with."""

SEAL_KEY: Final = "seal_key"
"""Code of a kept change that was sealed under a key which the keys file does not hold."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one shard may keep."""

    changes_max: int = 100
    bytes_max: int = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a kept change without opening it. `done`: it was redriven, and is being removed.

    `epoch` is the newest of those whose worker could not read it, 0 if unknown.
    """

    shard: ShardRef
    position: int
    code: str
    record_id: str
    size_bytes: int
    chunks: int
    seal_key: str
    done: bool = False
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class UndecodableTable:
    """The `Undecodables` of core/ports, and what `redrive` reads. Every call is tried until it succeeds, or raises.

    `nonce` returns 12 fresh random bytes at each call.
    """

    client: "DynamoDBClient"
    table: str
    key: Key
    retrier: Retrier
    nonce: Callable[[], bytes]
    limits: Limits = Limits()

    def keep(self, shard: ShardRef, changes: Sequence[Undecodable]) -> None:
        """Keep changes, in order; one that is kept already is written again, to the same effect.

        The limits count what is there now, whoever put it: this is asked for rarely, and `redrive` may have made room.
        """
        if not changes:
            return
        sizes = {kept.position: kept.size_bytes for kept in self.kept(shard)}
        try:
            for change in changes:
                plain = raw_record.pack([change.record_id, change.code, change.raw])
                if change.position not in sizes:
                    self._admit(shard, change.position, len(plain), sizes)
                self._write(shard, change, plain)
                sizes[change.position] = len(plain)
        finally:
            self.retrier.meter.gauge("undecodable_kept", float(len(sizes)), table=shard.table, shard=shard.shard_id)

    def shards(self) -> Iterator[ShardRef]:
        """Name the shards that have ever kept a change."""
        for item in self._query(SHARDS, "!", "~"):
            stream_arn, _, shard_id = item["sk"]["S"].rpartition("#")
            yield ShardRef(stream_arn, shard_id)

    def kept(self, shard: ShardRef) -> Iterator[Kept]:
        """Yield what a shard keeps, in the order of the stream; nothing is opened."""
        for item in self._query(partition(shard), "M#", "M#~"):
            yield _kept(shard, item)

    def open(self, kept: Kept) -> Undecodable:
        """Open a kept change. Raises WireFaultError `seal_key` or `sealed` if it cannot be."""
        if kept.seal_key != self.key.id:
            raise WireFaultError(SEAL_KEY)
        pk, position = partition(kept.shard), padded(kept.position)
        found = {item["sk"]["S"]: bytes(item["sealed"]["B"]) for item in self._query(pk, *_chunk_range(position))}
        try:
            pieces = [self._open(pk, sk, found[sk]) for sk in _chunk_keys(position, kept.chunks)]
            record_id, code, raw = raw_record.unpack(b"".join(pieces))
        except (InvalidTag, KeyError, ValueError, TypeError):
            raise WireFaultError(SEALED) from None
        return Undecodable(kept.position, code, record_id, raw)

    def remove(self, kept: Kept) -> None:
        """Remove a change that was redriven. Marked first: what a crash leaves is known to be done with."""
        pk, position = partition(kept.shard), padded(kept.position)
        if not kept.done:
            self._put("undecodable_done", {**_meta(kept), "done": {"BOOL": True}})
        for sk in (*_chunk_keys(position, kept.chunks), f"M#{position}"):
            self._delete(pk, sk)

    def _admit(self, shard: ShardRef, position: int, size_bytes: int, sizes: Mapping[int, int]) -> None:
        limits, total = self.limits, sum(sizes.values()) + size_bytes
        if len(sizes) >= limits.changes_max:
            limit = f"{len(sizes)} are kept and engine.undecodable_max = {limits.changes_max}"
        elif total > limits.bytes_max:
            limit = f"they would take {total} bytes and engine.undecodable_bytes_max = {limits.bytes_max}"
        else:
            return
        raise UndecodableLimitError(
            f"shard {shard.shard_id} of table {shard.table}: one more change that cannot be decoded, at position "
            f"{position}: {limit}; the shard is halted before it and nothing is skipped. Find out why they cannot be "
            "decoded (`lockside query --event stream.undecodable`), upgrade Lockside or correct the source, then "
            "`lockside redrive --all` and start the worker again, within the stream's 24 hours; or raise the limit",
            position,
        )

    def _write(self, shard: ShardRef, change: Undecodable, plain: bytes) -> None:
        pk, position = partition(shard), padded(change.position)
        pieces = [plain[at : at + CHUNK_BYTES_MAX] for at in range(0, len(plain), CHUNK_BYTES_MAX)]
        kept = Kept(
            shard=shard,
            position=change.position,
            code=change.code,
            record_id=change.record_id,
            size_bytes=len(plain),
            chunks=len(pieces),
            seal_key=self.key.id,
            epoch=change.epoch,
        )
        self._put("undecodable_shard", {"pk": {"S": SHARDS}, "sk": {"S": f"{shard.stream_arn}#{shard.shard_id}"}})
        for sk, piece in zip(_chunk_keys(position, len(pieces)), pieces, strict=True):
            sealed = self._seal(pk, sk, piece)
            self._put("undecodable_chunk", {"pk": {"S": pk}, "sk": {"S": sk}, "sealed": {"B": sealed}})
        self._put_newest(kept)

    def _seal(self, pk: str, sk: str, plain: bytes) -> bytes:
        nonce = self.nonce()
        return nonce + AESGCM(self.key.secret).encrypt(nonce, plain, _bound_to(pk, sk))

    def _open(self, pk: str, sk: str, sealed: bytes) -> bytes:
        return AESGCM(self.key.secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound_to(pk, sk))

    def _put(self, operation: str, item: Mapping[str, Any]) -> None:
        self.retrier.call(operation, lambda: self.client.put_item(TableName=self.table, Item=item))

    def _put_newest(self, kept: Kept) -> None:
        """Put the mark of a kept change; that of a newer log's worker stands, as what came after hangs on its epoch."""
        request: dict[str, Any] = {
            "TableName": self.table,
            "Item": _meta(kept),
            "ConditionExpression": "attribute_not_exists(#epoch) OR #epoch <= :epoch",
            "ExpressionAttributeNames": {"#epoch": "epoch"},
            "ExpressionAttributeValues": {":epoch": {"N": str(kept.epoch)}},
        }
        try:
            self.retrier.call("undecodable_kept", lambda: self.client.put_item(**request))
        except ClientError as error:
            if verdict(error) is not Verdict.CONDITION:
                raise

    def _delete(self, pk: str, sk: str) -> None:
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        self.retrier.call("undecodable_delete", lambda: self.client.delete_item(TableName=self.table, Key=key))

    def _query(self, pk: str, first: str, last: str) -> Iterator[Mapping[str, Any]]:
        condition, values = "pk = :pk AND sk BETWEEN :first AND :last", {":first": {"S": first}, ":last": {"S": last}}
        request: dict[str, Any] = {
            "TableName": self.table,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {":pk": {"S": pk}, **values},
            "ConsistentRead": True,
        }
        while True:
            page = self.retrier.call("undecodable_read", lambda: self.client.query(**request))
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def partition(shard: ShardRef) -> str:
    """Name the partition of a shard's kept changes."""
    return f"UNDEC#{shard.stream_arn}#{shard.shard_id}"


def _chunk_keys(position: str, chunks: int) -> list[str]:
    return [f"C#{position}#{chunk:04d}" for chunk in range(chunks)]


def _chunk_range(position: str) -> tuple[str, str]:
    return f"C#{position}#", f"C#{position}#~"


def _bound_to(pk: str, sk: str) -> bytes:
    """Bind a sealed piece to its item, so that it cannot be moved to another."""
    return f"{pk}|{sk}".encode()


def _meta(kept: Kept) -> dict[str, Any]:
    return {
        "pk": {"S": partition(kept.shard)},
        "sk": {"S": f"M#{padded(kept.position)}"},
        "code": {"S": kept.code},
        "record": {"S": kept.record_id},
        "size_bytes": {"N": str(kept.size_bytes)},
        "chunks": {"N": str(kept.chunks)},
        "seal_key": {"S": kept.seal_key},
        "epoch": {"N": str(kept.epoch)},
    }


def _kept(shard: ShardRef, item: Mapping[str, Any]) -> Kept:
    return Kept(
        shard=shard,
        position=int(item["sk"]["S"].removeprefix("M#")),
        code=item["code"]["S"],
        record_id=item["record"]["S"],
        size_bytes=int(item["size_bytes"]["N"]),
        chunks=int(item["chunks"]["N"]),
        seal_key=item["seal_key"]["S"],
        done=bool(item.get("done", {}).get("BOOL", False)),
        epoch=int(item.get("epoch", {"N": "0"})["N"]),
    )
