"""How far each shard has been consumed, in the state table.

One item per shard: `CK#<stream ARN>` / shard id, with the position of the last consumed change and, apart from it, the
mark that the shard was read to its end, and its tip: the instant up to which all of it was surely consumed
(core/gap.py). A position never goes back. The item `CK#<stream ARN>` / `#start` holds the
instant from which a stream started at LATEST counts, so that a restart before the first checkpoint loses nothing.

Each item bears the epoch of the owner that may write it. A new owner claims every item before it reads one: from then
on a write of an earlier owner is refused. An item that is not there yet bears no epoch, so it is made in a transaction
with a look at the ownership row.

A stream may have several readers, each with items of its own: those of a named one are `CK#<reader>#<stream ARN>`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lockside.aws.retrying import AgainError, Retrier, verdict
from lockside.core.change import ShardRef, padded
from lockside.core.failures import Verdict
from lockside.core.ownership import UNOWNED, Term
from lockside.core.ports import Clock
from lockside.errors import FencedError
from lockside.state.ownership import owner_check

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

START_KEY: Final = "#start"
"""Sort key of a stream's start; every shard id begins with `shardId-`, so none can be equal to it."""

NAMES: Final = {
    "#position": "position",
    "#finished": "finished",
    "#tip": "tip_ms",
    "#epoch": "epoch",
    "#updated": "updated_ms",
}
OWNED: Final = "#epoch = :epoch"
ABSENT: Final = "attribute_not_exists(pk)"
BEHIND: Final = "attribute_exists(pk) AND (attribute_not_exists(#epoch) OR #epoch < :epoch)"
FORWARD: Final = " AND (attribute_not_exists(#position) OR #position <= :position)"

ROUNDS_MAX: Final = 4
"""An item that is not there is made, one that was there by then is written after all; more is not our doing."""

CONTENDED: Final = frozenset({"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
"""Reasons for a cancelled transaction that another attempt may not meet: the owner's row was just being renewed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One shard's item. `position` is None while nothing of it was consumed, `tip_ms` until it was caught up with."""

    position: int | None
    finished: bool
    epoch: int
    updated_ms: int
    tip_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is remembered of one stream. `since_ms` is the start at LATEST, None where there was none.

    `begun_ms` is when a stream was begun that is read from its trim horizon.
    """

    since_ms: int | None = None
    begun_ms: int | None = None
    shards: Mapping[str, Checkpoint] = field(default_factory=dict)


Recorded = Callable[[str, bool], int | None]
"""Tells when a stream (its ARN) was begun, at LATEST or not, as far as the audit trail knows: epoch milliseconds."""


def nothing_recorded(_stream_arn: str, _latest: bool) -> int | None:  # noqa: FBT001 - a fact, no switch
    """Know of no stream."""
    return None


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoint items of the state table. Every call is tried until it succeeds, or raises StoppedError.

    A write against a later owner's epoch than that of `term` raises FencedError. `recorded` is asked where nothing is
    remembered of a stream: the table may have been lost.
    """

    client: "DynamoDBClient"
    table: str
    retrier: Retrier
    clock: Clock
    term: Term = UNOWNED
    recorded: Recorded = nothing_recorded
    reader: str = ""

    def load(self, stream_arn: str) -> StreamState:
        """Claim every item of a stream for our term, then read all that is remembered of it.

        Raises FencedError where one is a later owner's.
        """
        if self.term.application:
            for item in list(self._items(stream_arn)):
                shard = ShardRef(stream_arn, item["sk"]["S"])
                if shard.shard_id != START_KEY and self._behind(item):
                    self._claim(shard)
                self._fence(shard, _number(item, "epoch"))
        return self.read(stream_arn)

    def highest_epoch(self, stream_arn: str) -> int:
        """Return the highest epoch that any item of a stream bears, 0 if none does."""
        return max((_number(item, "epoch") for item in self._items(stream_arn)), default=0)

    def read(self, stream_arn: str) -> StreamState:
        """Read all that is remembered of a stream, strongly consistent."""
        since_ms: int | None = None
        begun_ms: int | None = None
        shards: dict[str, Checkpoint] = {}
        for item in self._items(stream_arn):
            if item["sk"]["S"] == START_KEY:
                since_ms, begun_ms = _instant(item, "since_ms"), _instant(item, "begun_ms")
            else:
                shards[item["sk"]["S"]] = _checkpoint(item)
        return StreamState(since_ms, begun_ms, shards)

    def is_over(self, shard: ShardRef) -> bool:
        """Ask once whether a shard was read to its end, or is remembered no more; raises what boto3 raises."""
        answer = self.client.get_item(TableName=self.table, Key=self._key(shard), ConsistentRead=True)
        item = answer.get("Item")
        return item is None or _checkpoint(item).finished

    def begin(self, stream_arn: str, now_ms: int, *, latest: bool = True) -> int:
        """Remember when a stream was begun, at LATEST or not; return that instant, or that of an earlier call.

        What the trail knows to be earlier counts: a lost state table makes no new beginning.
        """
        name = "since_ms" if latest else "begun_ms"
        earlier_ms = self.recorded(stream_arn, latest)
        began_ms = now_ms if earlier_ms is None else min(now_ms, earlier_ms)
        answer = self.retrier.call(
            "checkpoint_begin",
            lambda: self.client.update_item(
                TableName=self.table,
                Key=self._start_key(stream_arn),
                UpdateExpression=f"SET {name} = if_not_exists({name}, :now)",
                ExpressionAttributeValues={":now": {"N": str(began_ms)}},
                ReturnValues="ALL_NEW",
            ),
        )
        return int(answer["Attributes"][name]["N"])

    def advance(self, shard: ShardRef, position: int, tip_ms: int | None = None) -> bool:
        """Move a shard's position forward, and its tip; False if one further on stands there already.

        Call it only when every effect up to `position` is acknowledged (law 4).
        """
        values = {":position": {"S": padded(position)}, **_tip(tip_ms)}
        return self._update(shard, _setting("#position = :position", tip_ms), FORWARD, values)

    def touch(self, shard: ShardRef, tip_ms: int | None) -> None:
        """Remember the tip of a shard whose position does not move; without one, only that the shard was begun."""
        self._update(shard, _setting("", tip_ms), "", _tip(tip_ms))

    def finish(self, shard: ShardRef, tip_ms: int | None = None) -> None:
        """Mark a shard as read to its end; its children may start, from its tip."""
        self._update(shard, _setting("#finished = :finished", tip_ms), "", {**_FINISHED, **_tip(tip_ms)})

    def forget(self, shard: ShardRef) -> None:
        """Remove the item of a finished shard that its stream no longer has; one that is not finished stays."""
        try:
            self.retrier.call(
                "checkpoint_forget",
                lambda: self.client.delete_item(
                    TableName=self.table,
                    Key=self._key(shard),
                    ConditionExpression=f"#finished = :finished AND {OWNED}",
                    ExpressionAttributeNames={alias: NAMES[alias] for alias in ("#finished", "#epoch")},
                    ExpressionAttributeValues={**_FINISHED, ":epoch": {"N": str(self.term.epoch)}},
                ),
            )
        except ClientError as error:
            if verdict(error) is not Verdict.CONDITION:
                raise

    def forget_start(self, stream_arn: str) -> None:
        """Remove when a stream was begun; for one that is drained and asked for no more."""
        self.retrier.call(
            "checkpoint_forget", lambda: self.client.delete_item(TableName=self.table, Key=self._start_key(stream_arn))
        )

    def _update(self, shard: ShardRef, change: str, forward: str, values: Mapping[str, Any]) -> bool:
        """Write to a shard's item; False where `forward` does not hold."""
        update = {
            "TableName": self.table,
            "Key": self._key(shard),
            "UpdateExpression": change,
            "ExpressionAttributeValues": {":updated": {"N": str(self.clock.now().wall_ms)}, **values},
        }
        owned = OWNED + forward
        # Without owners nobody is kept from making an item, so that no transaction is needed.
        condition = owned if self.term.application else f"{ABSENT} OR ({owned})"
        for _ in range(ROUNDS_MAX):
            found = self._refused({**update, "ConditionExpression": condition})
            if found is None or (not found and self._made(shard, {**update, "ConditionExpression": ABSENT})):
                return True
            if not found:
                continue
            self._fence(shard, _number(found, "epoch"))
            if not self._behind(found):
                return False
            # Written by a worker of a version without owners, after we had claimed what was there.
            self._claim(shard)
        raise FencedError(
            f"shard {shard.shard_id} of table {shard.table}: its checkpoint was made and removed {ROUNDS_MAX} times "
            "while it was written; find out what else writes to the state table"
        )

    def _refused(self, update: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Update an item. Return None when that was done, else the item that its condition did not hold for."""
        request = _complete(update, self.term)
        try:
            self.retrier.call(
                "checkpoint",
                lambda: self.client.update_item(**request, ReturnValuesOnConditionCheckFailure="ALL_OLD"),
            )
        except ClientError as error:
            if verdict(error) is not Verdict.CONDITION:
                raise
            response: Any = error.response
            item: Mapping[str, Any] = response.get("Item", {})
            return item
        return None

    def _made(self, shard: ShardRef, update: Mapping[str, Any]) -> bool:
        """Make an item, while our term is in force; False if it is there by now."""
        actions: Any = [owner_check(self.table, self.term), {"Update": _complete(update, self.term)}]

        def attempt() -> bool:
            try:
                self.client.transact_write_items(TransactItems=actions)
            except ClientError as error:
                owner, item = _reasons(error)
                if owner == "ConditionalCheckFailed":
                    raise FencedError(_fenced(shard, self.term, "a later one")) from error
                if item == "ConditionalCheckFailed":
                    return False
                if {owner, item} <= CONTENDED:
                    raise AgainError from error
                raise
            return True

        return self.retrier.call("checkpoint_first", attempt)

    def _claim(self, shard: ShardRef) -> None:
        """Set our epoch on an item that bears an earlier one."""
        claim = {
            "TableName": self.table,
            "Key": self._key(shard),
            "UpdateExpression": f"SET {OWNED}",
            "ConditionExpression": BEHIND,
        }
        found = self._refused(claim)
        if found:
            self._fence(shard, _number(found, "epoch"))

    def _behind(self, item: Mapping[str, Any]) -> bool:
        return "epoch" not in item or _number(item, "epoch") < self.term.epoch

    def _fence(self, shard: ShardRef, epoch: int) -> None:
        if epoch > self.term.epoch:
            raise FencedError(_fenced(shard, self.term, str(epoch)))

    def _items(self, stream_arn: str) -> Iterator[Mapping[str, Any]]:
        request: dict[str, Any] = {
            "TableName": self.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": self._partition(stream_arn)}},
            "ConsistentRead": True,
        }
        while True:
            page = self.retrier.call("checkpoint_load", lambda: self.client.query(**request))
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _key(self, shard: ShardRef) -> dict[str, Any]:
        return {"pk": {"S": self._partition(shard.stream_arn)}, "sk": {"S": shard.shard_id}}

    def _start_key(self, stream_arn: str) -> dict[str, Any]:
        return {"pk": {"S": self._partition(stream_arn)}, "sk": {"S": START_KEY}}

    def _partition(self, stream_arn: str) -> str:
        return f"CK#{self.reader}#{stream_arn}" if self.reader else f"CK#{stream_arn}"


_FINISHED: Final = {":finished": {"BOOL": True}}


def _setting(what: str, tip_ms: int | None) -> str:
    parts = [what, "" if tip_ms is None else "#tip = :tip", "#epoch = :epoch", "#updated = :updated"]
    return f"SET {', '.join(part for part in parts if part)}"


def _tip(tip_ms: int | None) -> dict[str, Any]:
    return {} if tip_ms is None else {":tip": {"N": str(tip_ms)}}


def _complete(update: Mapping[str, Any], term: Term) -> dict[str, Any]:
    """Add the names that a request's expressions use, and the epoch: what is not used is refused."""
    expressions = update["UpdateExpression"] + update["ConditionExpression"]
    values = {":epoch": {"N": str(term.epoch)}, **update.get("ExpressionAttributeValues", {})}
    return {
        **update,
        "ExpressionAttributeNames": {alias: name for alias, name in NAMES.items() if alias in expressions},
        "ExpressionAttributeValues": values,
    }


def _reasons(error: ClientError) -> tuple[str, str]:
    response: Any = error.response
    reasons = [str(reason.get("Code", "None")) for reason in response.get("CancellationReasons", ())]
    return (reasons[0], reasons[1]) if len(reasons) > 1 else ("", "")


def _fenced(shard: ShardRef, term: Term, epoch: str) -> str:
    return (
        f"shard {shard.shard_id} of table {shard.table} belongs to another worker now (owner epoch {epoch}, ours is "
        f"{term.epoch}); this worker stops writing to it"
    )


def _checkpoint(item: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(
        position=int(item["position"]["S"]) if "position" in item else None,
        finished=bool(item.get("finished", {}).get("BOOL", False)),
        epoch=_number(item, "epoch"),
        updated_ms=_number(item, "updated_ms"),
        tip_ms=_instant(item, "tip_ms"),
    )


def _instant(item: Mapping[str, Any], name: str) -> int | None:
    return int(item[name]["N"]) if name in item else None


def _number(item: Mapping[str, Any], name: str) -> int:
    return int(item.get(name, {}).get("N", 0))
