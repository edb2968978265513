"""Genesis and head of a log in the audit table: made once, moved forward, sealed. Every write here is conditional.

Strategy: a log is followed by its epochs, each with a genesis. Whoever puts a genesis first decides; everyone else
obeys what is stored. A worker that intends other records seals the log, which from then on refuses every head, and
goes on to the next epoch. Nothing is undone: each step can be left half done and is completed by whoever comes next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from lockside.audit import items
from lockside.audit.genesis import PREVIOUS, Genesis, InForce, Intent, intends
from lockside.audit.table import AuditTable
from lockside.aws.retrying import verdict
from lockside.aws.tables import PK, SK
from lockside.core.change import padded
from lockside.core.failures import Verdict
from lockside.core.log import LogHead
from lockside.errors import FencedError, SetupError

EPOCHS_MAX: Final = 1000
"""A shard lives for hours and gets an epoch per change of settings; more means that two workers fight over it."""


FROM_THE_BEGINNING: Final = "-"
"""Stands for the position of a shard that nothing was consumed of."""

UP_TO: Final = " < "
"""Stands between both ends of a loss; without it nothing was left of the shard."""


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A head as it is stored, and whether its log is sealed; `lost` as in genesis, where that is why."""

    head: LogHead
    sealed: bool
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A log to write to, and what its records are made by."""

    head: LogHead
    in_force: InForce


@dataclass(frozen=True, slots=True)
class Logs:
    """The logs of one audit table."""

    table: AuditTable

    def open(self, origin: str, intent: Intent, now_ms: int, since_ms: int | None = None) -> Opened:
        """Return the shard's newest log, after sealing one that was made with another intent."""
        previous: LogHead | None = None
        lost: str | None = None
        for epoch in range(1, EPOCHS_MAX + 1):
            log = f"{origin}/{epoch}"
            genesis, stored = self.ensure(Genesis(log, intent, now_ms, previous, lost, since_ms), epoch)
            if intends(genesis, intent) and not stored.sealed:
                return Opened(stored.head, InForce.of(genesis))
            sealed = stored if stored.sealed else self.seal(log)
            previous, lost = sealed.head, sealed.lost
        raise SetupError(
            f"audit log {origin}: it has {EPOCHS_MAX} epochs, so workers with different settings keep sealing each "
            "other's logs. Run all workers of this application with the same configuration and version."
        )

    def ensure(self, wanted: Genesis, epoch: int) -> tuple[Mapping[str, Any], StoredHead]:
        """Make genesis and head of a log where there are none; return what is stored, perhaps by another worker."""
        genesis = self.read(items.genesis_key(wanted.log))
        if genesis is None:
            self._create(wanted.item())
            genesis = self._present(items.genesis_key(wanted.log))
        stored = self.head(wanted.log)
        if stored is None:
            self._create(items.head_item(wanted.first_head(epoch)))
            stored = self._stored(wanted.log)
        return genesis, stored

    def head(self, log: str) -> StoredHead | None:
        """Read a head, consistently."""
        item = self.read(items.head_key(log))
        return None if item is None else _stored_head(log, item)

    def read_since(self, origin: str, position: int, epoch: int) -> bool | None:
        """Whether a log after this epoch's was the first to cover a position; None while none does.

        False where a log was cut before it: nothing says that the stream still had it.
        """
        for later in range(epoch, EPOCHS_MAX + 1):
            stored = self.head(f"{origin}/{later}")
            if stored is None:
                return None
            if stored.head.covers(position):
                return later > epoch
            if stored.lost is not None:
                return False
        return None

    def advance(self, head: LogHead) -> None:
        """Move a head forward.

        One that is as far or farther already is left alone: by law 2 it was written for the same records.
        Raises FencedError for a sealed log, and for a stored head of equal size with another root.
        """
        update = head_update(self.table.name, head, "#size < :size", {})
        if self._conditional("update_head", lambda: self.table.client.update_item(**update)):
            return
        stored = self._stored(head.log)
        if stored.sealed and stored.head.size != head.size:
            raise FencedError(
                f"audit log {head.log}: sealed at size {stored.head.size} by a worker with other settings, "
                f"so size {head.size} is refused; open the log again"
            )
        if stored.head.size == head.size and stored.head.root != head.root:
            raise FencedError(
                f"audit log {head.log}: another worker recorded different bytes for the same {head.size} records; "
                "run one version with one configuration, then `lockside verify`"
            )

    def cut(self, log: str, after: int | None, until: int | None = None) -> LogHead:
        """Seal a log because the stream lost what lies between `after` and `until`; return the final head.

        The seal says why, and so does the genesis that follows it: a second attempt at the same loss finds the log that
        was opened after it, still empty, and returns the head that was sealed then. Where the loss has grown since, it
        is another one: of the log whose head is still empty the first records may be written, and must stay beside it.
        Raises FencedError for a log that was sealed for another reason.
        """
        lost = FROM_THE_BEGINNING if after is None else padded(after)
        lost += "" if until is None else f"{UP_TO}{padded(until)}"
        genesis, stored = self._present(items.genesis_key(log)), self._stored(log)
        if genesis.get(items.LOST, {}).get("S") == lost and stored.head.size == 0 and not stored.sealed:
            return self._stored(genesis[PREVIOUS]["M"]["log"]["S"]).head
        sealed = self.seal(log, lost)
        if sealed.lost is None:
            raise FencedError(
                f"audit log {log}: sealed by a worker with other settings while this one found that the stream lost "
                "changes; start the worker again"
            )
        return sealed.head

    def seal(self, log: str, lost: str | None = None) -> StoredHead:
        """Seal a log and return its final head. Whatever is written to the log afterwards lies beyond that size."""
        names = {"#pk": PK, "#sealed": items.SEALED, **({} if lost is None else {"#lost": items.LOST})}
        values: dict[str, Any] = {":true": {"BOOL": True}, **({} if lost is None else {":lost": {"S": lost}})}
        self._conditional(
            "seal_log",
            lambda: self.table.client.update_item(
                TableName=self.table.name,
                Key=items.head_key(log),
                UpdateExpression="SET #sealed = :true" + ("" if lost is None else ", #lost = :lost"),
                ConditionExpression="attribute_exists(#pk) AND attribute_not_exists(#sealed)",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            ),
        )
        return self._stored(log)

    def catalogue(self, item: dict[str, Any]) -> None:
        """Put an item of the catalogue. Plain: equal items are put by everyone."""
        self.table.retrier.call(
            "put_catalogue", lambda: self.table.client.put_item(TableName=self.table.name, Item=item)
        )

    def _create(self, item: dict[str, Any]) -> bool:
        return self._conditional(
            "put_log",
            lambda: self.table.client.put_item(
                TableName=self.table.name,
                Item=item,
                ConditionExpression="attribute_not_exists(#pk)",
                ExpressionAttributeNames={"#pk": PK},
            ),
        )

    def _conditional(self, operation: str, call: Callable[[], object]) -> bool:
        try:
            self.table.retrier.call(operation, call)
        except ClientError as error:
            if verdict(error) is not Verdict.CONDITION:
                raise
            return False
        return True

    def read(self, key: dict[str, Any]) -> Mapping[str, Any] | None:
        """Read an item, consistently."""
        answer = self.table.retrier.call(
            "get_item", lambda: self.table.client.get_item(TableName=self.table.name, Key=key, ConsistentRead=True)
        )
        return answer.get("Item")

    def _present(self, key: dict[str, Any]) -> Mapping[str, Any]:
        item = self.read(key)
        if item is None:
            raise SetupError(
                f"audit table {self.table.name}: item {key[PK]['S']} / {key[SK]['S']} was there and is gone; only "
                "Lockside may take items out of this table. Find out what did, then restart the worker."
            )
        return item

    def _stored(self, log: str) -> StoredHead:
        return _stored_head(log, self._present(items.head_key(log)))


def head_update(table: str, head: LogHead, condition: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a conditional update that stores a head; `#size` and `:size` stand for its size."""
    stored = items.head_values(head)
    assignments = ", ".join(f"#{name} = :{name}" for name in stored)
    return {
        "TableName": table,
        "Key": items.head_key(head.log),
        "UpdateExpression": f"SET {assignments}",
        "ConditionExpression": f"attribute_exists(#pk) AND attribute_not_exists(#sealed) AND {condition}",
        "ExpressionAttributeNames": {
            "#pk": PK,
            "#sealed": items.SEALED,
            **{f"#{name}": name for name in stored},
        },
        "ExpressionAttributeValues": {**{f":{name}": value for name, value in stored.items()}, **values},
    }


def _stored_head(log: str, item: Mapping[str, Any]) -> StoredHead:
    return StoredHead(items.read_head(log, item), items.SEALED in item, item.get(items.LOST, {}).get("S"))
