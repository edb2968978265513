"""What is remembered of each replica, in the state table: `REPLICA#<id>` / `state`.

The *generation* counts the copies of its whole table that were begun (core/replica.py). A replica is complete if the
last copy that was finished was begun after the last loss: what a stream lost no reader can bring, only a copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from botocore.exceptions import ClientError

from lockside.aws.retrying import Retrier, verdict
from lockside.core.failures import Verdict

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Phase = Literal["scan", "sweep", "done"]
"""Of a copy: rows are copied, then what the source no longer has is removed."""

SORT: Final = "state"


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One replica's item.

    `generation` is 0 until a copy was begun, `copied` that of the last copy that was finished, `lost` the one in which
    something was lost last, None if nothing was. `cursor` is where the copy goes on.
    """

    place: str
    generation: int = 0
    copied: int = 0
    phase: Phase = "done"
    cursor: str | None = None
    lost: int | None = None
    reason: str = ""
    stream_arn: str = ""
    copied_ms: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all rows of the source are there, as far as the stream was read."""
        return self.copied > 0 and (self.lost is None or self.lost < self.copied)


@dataclass(frozen=True, slots=True)
class Replicas:
    """The items. Every call is tried until it succeeds, or raises StoppedError.

    What moves a generation is conditional on the one that was seen, so that of two processes one gets it.
    """

    client: "DynamoDBClient"
    table: str
    retrier: Retrier

    def read(self, replica: str) -> ReplicaState | None:
        """Read what is remembered, strongly consistent."""
        answer = self.retrier.call(
            "replica_state", lambda: self.client.get_item(TableName=self.table, Key=_key(replica), ConsistentRead=True)
        )
        return _state(answer["Item"]) if "Item" in answer else None

    def begin(self, replica: str, place: str) -> None:
        """Remember a replica that is met for the first time, or that has another place now: nothing counts any more."""
        values = {":place": {"S": place}, ":done": {"S": "done"}}
        self._set(replica, "SET place = :place, phase = :done REMOVE copied, stream_arn, #cursor", values)

    def begin_copy(self, replica: str, seen: int) -> int | None:
        """Begin the generation after `seen`; None if it is not the last one any more."""
        values = {":next": {"N": str(seen + 1)}, ":seen": {"N": str(seen)}, ":scan": {"S": "scan"}}
        condition = "generation = :seen" if seen else "attribute_not_exists(generation)"
        if not seen:
            del values[":seen"]
        done = self._set(replica, "SET generation = :next, phase = :scan REMOVE #cursor", values, condition)
        return seen + 1 if done else None

    def copying(self, replica: str, generation: int, phase: Phase, cursor: str | None) -> None:
        """Remember how far a copy is; nothing if a later one was begun."""
        values = {":phase": {"S": phase}, ":generation": {"N": str(generation)}}
        change = "SET phase = :phase REMOVE #cursor"
        if cursor is not None:
            change, values[":cursor"] = "SET phase = :phase, #cursor = :cursor", {"S": cursor}
        self._set(replica, change, values, "generation = :generation")

    def copied(self, replica: str, generation: int, now_ms: int) -> None:
        """Remember that a copy is finished."""
        values = {
            ":phase": {"S": "done"},
            ":generation": {"N": str(generation)},
            ":now": {"N": str(now_ms)},
        }
        change = "SET phase = :phase, copied = :generation, copied_ms = :now REMOVE #cursor"
        self._set(replica, change, values, "generation = :generation")

    def lost(self, replica: str, generation: int, reason: str) -> None:
        """Remember that something was lost while this generation was the last one."""
        values = {":generation": {"N": str(generation)}, ":reason": {"S": reason}}
        self._set(replica, "SET lost = :generation, reason = :reason", values)

    def follow(self, replica: str, stream_arn: str) -> None:
        """Remember which stream is read."""
        self._set(replica, "SET stream_arn = :arn", {":arn": {"S": stream_arn}})

    def _set(self, replica: str, change: str, values: Mapping[str, Any], condition: str | None = None) -> bool:
        request: dict[str, Any] = {
            "TableName": self.table,
            "Key": _key(replica),
            "UpdateExpression": change,
            "ExpressionAttributeValues": values,
        }
        if "#cursor" in change:
            request["ExpressionAttributeNames"] = {"#cursor": "cursor"}
        if condition is not None:
            request["ConditionExpression"] = condition
        try:
            self.retrier.call("replica_state", lambda: self.client.update_item(**request))
        except ClientError as error:
            if verdict(error) is not Verdict.CONDITION:
                raise
            return False
        return True


def _key(replica: str) -> Any:
    return {"pk": {"S": f"REPLICA#{replica}"}, "sk": {"S": SORT}}


def _state(item: Mapping[str, Any]) -> ReplicaState:
    def number(name: str) -> int | None:
        return int(item[name]["N"]) if name in item else None

    def words(name: str) -> str:
        return str(item[name]["S"]) if name in item else ""

    phase: Any = words("phase") or "done"
    return ReplicaState(
        place=words("place"),
        generation=number("generation") or 0,
        copied=number("copied") or 0,
        phase=phase,
        cursor=words("cursor") or None,
        lost=number("lost"),
        reason=words("reason"),
        stream_arn=words("stream_arn"),
        copied_ms=number("copied_ms"),
    )
