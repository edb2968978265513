"""The ownership row of the state table: one per application, `OWNER#<application>` / `owner`.

Every write is conditional on what was seen, so that of two workers that reach for it only one gets it, and each
take-over raises the epoch that all checkpoints are conditional on. `look` and `renew` try once and raise what the call
raised: who keeps the lease decides when to try again, as a retry that waits may outlast it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lockside.aws.retrying import verdict
from lockside.core.failures import Verdict
from lockside.core.ownership import OwnerRow, Standing, Term, Watch
from lockside.core.ports import Clock

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

OWNER_SORT: Final = "owner"
ENDED: Final = "ended"
ENDED_MAX: Final = 1_000
"""Characters of the last words of an owner."""

NAMES: Final = {"#epoch": "epoch", "#owner": "owner", "#beat": "beat", "#renewed": "renewed_ms"}
SEEN: Final = "#epoch = :seen AND #beat = :beat AND {owner}"
OURS: Final = "#epoch = :epoch AND #owner = :owner"


def owner_key(application: str) -> dict[str, Any]:
    """Return the key of an application's row."""
    return {"pk": {"S": f"OWNER#{application}"}, "sk": {"S": OWNER_SORT}}


def owner_check(table: str, term: Term) -> dict[str, Any]:
    """Return a check that a term is still in force, to stand in a transaction."""
    return {
        "ConditionCheck": {
            "TableName": table,
            "Key": owner_key(term.application),
            "ConditionExpression": "#epoch = :epoch",
            "ExpressionAttributeNames": {"#epoch": "epoch"},
            "ExpressionAttributeValues": {":epoch": {"N": str(term.epoch)}},
        }
    }


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker that would own an application. `place` tells people where it runs."""

    application: str
    run_id: str
    place: str
    lease_ms: int


@dataclass(frozen=True, slots=True)
class OwnerTable:
    """Reads and writes the rows. Each call is tried once."""

    client: "DynamoDBClient"
    table: str
    clock: Clock

    def read(self, application: str) -> OwnerRow | None:
        """Read an application's row, strongly consistent."""
        answer = self.client.get_item(TableName=self.table, Key=owner_key(application), ConsistentRead=True)
        return _row(answer["Item"]) if "Item" in answer else None

    def take(self, candidate: Candidate, seen: OwnerRow | None, epoch: int) -> bool:
        """Take the row over as it was seen; False if it is not so any more."""
        now_ms = str(self.clock.now().wall_ms)
        item = {
            **owner_key(candidate.application),
            "epoch": {"N": str(epoch)},
            "owner": {"S": candidate.run_id},
            "beat": {"N": "0"},
            "lease_ms": {"N": str(candidate.lease_ms)},
            "place": {"S": candidate.place},
            "renewed_ms": {"N": now_ms},
            "taken_ms": {"N": now_ms},
        }
        return self._met(lambda: self.client.put_item(TableName=self.table, Item=item, **_as_seen(seen)))

    def renew(self, candidate: Candidate, epoch: int, beat: int) -> bool:
        """Show that we live; False if the row is another's."""
        values = {
            **_ours(candidate, epoch),
            ":beat": {"N": str(beat)},
            ":renewed": {"N": str(self.clock.now().wall_ms)},
        }
        return self._met(
            lambda: self.client.update_item(
                TableName=self.table,
                Key=owner_key(candidate.application),
                UpdateExpression="SET #beat = :beat, #renewed = :renewed",
                ConditionExpression=OURS,
                ExpressionAttributeNames=NAMES,
                ExpressionAttributeValues=values,
            )
        )

    def release(self, candidate: Candidate, epoch: int, ended: str | None = None) -> bool:
        """Hand the row back, its epoch kept, and what ended us if that was no good order; False if it was another's.

        Who takes the row next writes it anew, without that.
        """
        names = {name: NAMES[name] for name in ("#epoch", "#owner")}
        values = _ours(candidate, epoch)
        update = "REMOVE #owner"
        if ended is not None:
            update = f"SET #ended = :ended {update}"
            names, values = {**names, "#ended": ENDED}, {**values, ":ended": {"S": ended[:ENDED_MAX]}}
        return self._met(
            lambda: self.client.update_item(
                TableName=self.table,
                Key=owner_key(candidate.application),
                UpdateExpression=update,
                ConditionExpression=OURS,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        )

    def _met(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except ClientError as error:
            if verdict(error) is not Verdict.CONDITION:
                raise
            return False
        return True


class Ownership:
    """One worker's part in it. Without threads or waits; called from one thread at a time.

    `epoch_floor` is asked where there is no row, for the highest epoch of any checkpoint: a row that somebody removed
    must not begin anew below what its checkpoints hold.
    """

    def __init__(self, table: OwnerTable, candidate: Candidate, epoch_floor: Callable[[], int]) -> None:
        """Own nothing yet; nothing is called."""
        self._table = table
        self._candidate = candidate
        self._epoch_floor = epoch_floor
        self._watch = Watch(candidate.run_id)
        self._beat = 0
        self._renewed_ms = 0

    @property
    def candidate(self) -> Candidate:
        """Who we are."""
        return self._candidate

    @property
    def term(self) -> Term:
        """The term we hold; its epoch is 0 while we hold none."""
        return Term(self._candidate.application, self._watch.epoch)

    @property
    def holder(self) -> OwnerRow | None:
        """The row of the other worker that was last seen to hold it."""
        return self._watch.seen

    @property
    def renewed_ms(self) -> int:
        """When the last successful take-over or renewal was begun, on the monotonic clock."""
        return self._renewed_ms

    def look(self) -> Standing:
        """Look at the row once, and take it over if it may be: WAIT, MINE or LOST.

        Raises what the call raised; the next look goes on from there.
        """
        asked_ms = self._now_ms()
        row = self._table.read(self._candidate.application)
        self._watch, standing = self._watch.observe(row, asked_ms, self._now_ms())
        if standing is Standing.MINE:
            self._renewed_ms = asked_ms
        if standing is not Standing.TAKE:
            return standing
        epoch = 1 + (self._epoch_floor() if row is None else row.epoch)
        taking_ms = self._now_ms()
        if not self._table.take(self._candidate, row, epoch):
            # Somebody was quicker, or it was ours and the answer was lost: the next look tells.
            return Standing.WAIT
        self._watch, self._renewed_ms = self._watch.took(epoch), taking_ms
        return Standing.MINE

    def renew(self) -> Standing:
        """Renew the lease once: MINE, or LOST for good. Raises what the call raised; try again then."""
        begun_ms = self._now_ms()
        self._beat += 1
        if not self._table.renew(self._candidate, self._watch.epoch, self._beat):
            return Standing.LOST
        self._renewed_ms = begun_ms
        return Standing.MINE

    def release(self, ended: str | None = None) -> bool:
        """Hand the row back, so that a standby takes it at its next look; False if it was lost before.

        `ended` says what ended us, None where we stop in good order.
        """
        return self._table.release(self._candidate, self._watch.epoch, ended)

    def _now_ms(self) -> int:
        return self._table.clock.now().mono_ms


def _as_seen(seen: OwnerRow | None) -> dict[str, Any]:
    if seen is None:
        return {"ConditionExpression": "attribute_not_exists(#pk)", "ExpressionAttributeNames": {"#pk": "pk"}}
    held = seen.owner is not None
    return {
        "ConditionExpression": SEEN.format(owner="#owner = :owner" if held else "attribute_not_exists(#owner)"),
        "ExpressionAttributeNames": {name: NAMES[name] for name in ("#epoch", "#owner", "#beat")},
        "ExpressionAttributeValues": {
            ":seen": {"N": str(seen.epoch)},
            ":beat": {"N": str(seen.beat)},
            **({":owner": {"S": seen.owner}} if seen.owner is not None else {}),
        },
    }


def _ours(candidate: Candidate, epoch: int) -> dict[str, Any]:
    return {":epoch": {"N": str(epoch)}, ":owner": {"S": candidate.run_id}}


def _row(item: Mapping[str, Any]) -> OwnerRow:
    return OwnerRow(
        epoch=int(item["epoch"]["N"]),
        owner=item["owner"]["S"] if "owner" in item else None,
        beat=int(item["beat"]["N"]),
        lease_ms=int(item["lease_ms"]["N"]),
        place=item["place"]["S"],
        renewed_ms=int(item["renewed_ms"]["N"]),
        # A row of an older worker has none.
        taken_ms=int(item.get("taken_ms", {"N": "0"})["N"]),
        ended=item[ENDED]["S"] if ENDED in item else None,
    )
