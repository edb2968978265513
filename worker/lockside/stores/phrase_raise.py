"""Raises the number of a store's shards while it is read and written (docs/decisions/0007).

Each step is written to the placement's row, and then waited out for twice as long as any client goes by what it read
before: whoever is more than one step behind reads anew first. It may be broken off at any point and run again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.tables import PK, SK
from lockside.errors import LimitError, NotFoundOutError, StoppedError
from lockside.stores import phrase_row
from lockside.stores.calls import condition_failed, refusal
from lockside.stores.phrase_row import Address
from lockside.stores.placement import FRESH_MS, Placement

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.stores.calls import Calls

STEP_SECONDS: Final = 2 * FRESH_MS / 1000
SWEEPS_MAX: Final = 100

Progress = Callable[[str, int], object]
"""Told of the step and of how many phrases were moved so far."""


def silent(_step: str, _moved: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Raising:
    """One change of the number of shards."""

    client: "DynamoDBClient"
    calls: "Calls"
    progress: Progress

    def run(self, shards: int) -> None:
        """Go from whatever step the store is at to `shards` shards, settled."""
        placement = self._read()
        if placement.step == "settled":
            if shards < placement.shards:
                raise LimitError(
                    f"shards = {shards}: the store has {placement.shards}; their number can only be raised"
                )
            if shards == placement.shards:
                return
            placement = self._go(placement, Placement(placement.shards, shards, "announced", raised=True))
        elif placement.target != shards:
            raise LimitError(
                f"shards = {shards}: the store is on its way from {placement.shards} to {placement.target} shards; "
                f"finish that first with {placement.target}"
            )
        if placement.step == "announced":
            # Whoever came here after a break waits too: nobody knows how long ago the step was written.
            self._wait_out(placement)
            placement = self._go(placement, replace(placement, step="moving"))
        self._wait_out(placement)
        moved = 0
        for _sweep in range(SWEEPS_MAX):
            swept = self._sweep(placement, moved)
            moved += swept
            if not swept:
                break
        else:
            raise NotFoundOutError(f'table "{self.calls.table}": phrases still lie in old shards; run it again')
        self._go(placement, replace(Placement.settled(shards), raised=True))

    def _read(self) -> Placement:
        request: dict[str, Any] = {
            "TableName": self.calls.table,
            "Key": phrase_row.PLACEMENT_KEY,
            "ConsistentRead": True,
        }
        answer = self.calls.read(lambda: self.client.get_item(**request))
        return phrase_row.placement_of(answer.get("Item"), self.calls.table)

    def _go(self, before: Placement, after: Placement) -> Placement:
        """Write the next step, if the store is still at the one before. Raises NotFoundOutError if it is not."""
        seen = phrase_row.placement_item(before)
        request: dict[str, Any] = {
            "TableName": self.calls.table,
            "Item": phrase_row.placement_item(after),
            "ConditionExpression": "#shards = :shards AND #target = :target AND #step = :step",
            "ExpressionAttributeNames": {f"#{name}": name for name in _STEP_ATTRIBUTES},
            "ExpressionAttributeValues": {f":{name}": seen[name] for name in _STEP_ATTRIBUTES},
        }
        try:
            self.calls.write(lambda: self.client.put_item(**request))
        except (ClientError, BotoCoreError) as error:
            if self._read() != after:
                raise NotFoundOutError(
                    f'table "{self.calls.table}": the step "{after.step}" could not be written, or somebody else '
                    "changes the shards too; run it again"
                ) from error
        return after

    def _wait_out(self, placement: Placement) -> None:
        self.progress(placement.step, 0)
        if self.calls.machine.wait(self.calls.stop, STEP_SECONDS):
            raise StoppedError("the raising of shards was stopped; run it again to go on from here")

    def _sweep(self, placement: Placement, before: int) -> int:
        """Move what is in its old place; return how many there were."""
        request: dict[str, Any] = {"TableName": self.calls.table, "ConsistentRead": True}
        moved = 0
        while True:
            page = self.calls.read(lambda: self.client.scan(**request))
            for item in page["Items"]:
                moved += self._moved(item, placement)
            self.progress(placement.step, before + moved)
            if "LastEvaluatedKey" not in page:
                return moved
            if self.calls.stop.is_set():
                raise StoppedError("the raising of shards was stopped; run it again to go on from here")
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _moved(self, item: Any, placement: Placement) -> bool:
        """Move one item if it is in its old place; whether it was."""
        partition, key = item[PK]["S"], item[SK]["S"]
        prefix = phrase_row.prefix_of(partition)
        if prefix is None:
            return False
        shard = int(partition.partition("#")[0])
        target = placement.new(prefix, key)
        if shard == target:
            return False
        table = self.calls.table
        old, new = Address(table, prefix, key, shard), Address(table, prefix, key, target)
        as_seen = {
            "ConditionExpression": "#version = :version",
            "ExpressionAttributeNames": {"#version": phrase_row.VERSION},
            "ExpressionAttributeValues": {":version": item[phrase_row.VERSION]},
        }
        leave: dict[str, Any] = {"Delete": {"TableName": table, "Key": old.wire, **as_seen}}
        arrive: dict[str, Any] = {
            "Put": {
                "TableName": table,
                "Item": {**item, **new.wire},
                "ConditionExpression": phrase_row.NOT_THERE,
                "ExpressionAttributeNames": {"#pk": PK},
            }
        }
        if self._done([arrive, leave]):
            return True
        # It was written anew meanwhile, which took it along; or a late writer left this one behind, never acknowledged.
        self._done([{**leave}, {"ConditionCheck": _there(new)}])
        return True

    def _done(self, items: list[dict[str, Any]]) -> bool:
        token = self.calls.machine.version()
        for attempt in range(_ATTEMPTS_MAX):
            try:
                self.client.transact_write_items(TransactItems=items, ClientRequestToken=token)  # type: ignore[arg-type]
            except (ClientError, BotoCoreError) as error:
                if condition_failed(error):
                    return False
                if attempt + 1 == _ATTEMPTS_MAX or self.calls.pause(attempt):
                    raise refusal(error, self.calls.table) from error
            else:
                return True
        raise AssertionError("the last attempt returns or raises")


_STEP_ATTRIBUTES: Final = (phrase_row.SHARDS, phrase_row.TARGET, phrase_row.STEP)
_ATTEMPTS_MAX: Final = 8


def _there(address: Address) -> dict[str, Any]:
    return {
        "TableName": address.table,
        "Key": address.wire,
        "ConditionExpression": "attribute_exists(#pk)",
        "ExpressionAttributeNames": {"#pk": PK},
    }
