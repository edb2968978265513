"""One write of a phrase, wherever it is placed: sent, found out about, and done again where it came too late."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import verdict
from lockside.core.failures import Verdict
from lockside.errors import LocksideError, NotFoundOutError, OutcomeUnknownError, VersionError
from lockside.stores import phrase_row
from lockside.stores.calls import ATTEMPTS_MAX, condition_failed, is_passing, reasons, refusal, surely_not_done
from lockside.stores.phrase_row import MS_PER_SECOND, NO_ROW, Address
from lockside.stores.placement import Placement

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.stores.calls import Calls
    from lockside.stores.placements import Known, Placements

ROUNDS_MAX: Final = 20
"""How often a write looks anew at where its phrase is, while a mover carries it or the placement changes."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one phrase, under a token of its own."""

    key: str
    version: str


@dataclass(frozen=True, slots=True)
class Entry(Change):
    """A phrase to write: all attributes of its item but the key."""

    attributes: dict[str, Any]
    size_bytes: int

    def item(self, address: Address) -> dict[str, Any]:
        """Build its item."""
        return {**address.wire, **self.attributes}


class _Refused(Exception):  # noqa: N818 - a turn of the way, caught where it is raised for
    """A condition did not hold; the rows as they were handed back, one for each item of the request."""

    def __init__(self, rows: list[Any], *, unsure: bool) -> None:
        super().__init__()
        self.rows = rows
        self.unsure = unsure


class Writer:
    """Writes single phrases of one store."""

    def __init__(self, client: "DynamoDBClient", calls: "Calls", placements: "Placements") -> None:
        """Send nothing yet."""
        self._client = client
        self._calls = calls
        self._placements = placements

    def put(self, prefix: str, entry: Entry, if_version: str | None) -> None:
        """Write a phrase. Raises VersionError, OutcomeUnknownError and what `calls.refusal` says."""

        def build(address: Address, condition: dict[str, Any]) -> dict[str, Any]:
            return {"Put": {"TableName": address.table, "Item": entry.item(address), **condition}}

        self._settle(prefix, entry, if_version, build)

    def delete(self, prefix: str, change: Change, if_version: str | None) -> None:
        """Delete a phrase. Raises as `put`."""

        def build(address: Address, condition: dict[str, Any]) -> dict[str, Any]:
            return {"Delete": {"TableName": address.table, "Key": address.wire, **condition}}

        self._settle(prefix, change, if_version, build)

    def _settle(self, prefix: str, change: Change, if_version: str | None, build: "Build") -> None:
        """Write by the placement in force, and again if another was by the time it was done."""
        for _round in range(ROUNDS_MAX):
            known = self._placements.current()
            fate = self._once(prefix, change, if_version, build, known)
            if fate == "elsewhere":
                self._placements.forget()
                continue
            # A version stands in one place only: a late write over it was in the right one, or was refused.
            if if_version or self._stands(prefix, change, known, fate):
                return
        raise NotFoundOutError(
            f'table "{self._calls.table}": the placement changed at each of {ROUNDS_MAX} attempts; try again later'
        )

    def landed(self, prefix: str, entry: Entry, known: "Known") -> None:
        """See that what was written by a placement is where it is read by now, or write it anew. Raises as `put`."""
        if not self._stands(prefix, entry, known, "done"):
            self.put(prefix, entry, None)

    def _stands(self, prefix: str, change: Change, known: "Known", fate: "Fate") -> bool:
        """Whether a write that was done has taken effect; False if nobody saw it, so that it is to be done again.

        Only a write that came while its place was on its way out may have been done for nothing. What others saw, and
        wrote over since, is never done again: their writes were acknowledged after it. Raises OutcomeUnknownError.
        """
        try:
            if not self._placements.outdated(known):
                return True
            now = self._placements.current().placement
            if _writes(now, prefix, change.key) == _writes(known.placement, prefix, change.key):
                return True
            return self._carried(prefix, change, known.placement, now, fate)
        except OutcomeUnknownError:
            raise
        except LocksideError as error:
            raise self._unknown(change) from error

    def _carried(self, prefix: str, change: Change, before: Placement, now: Placement, fate: "Fate") -> bool:
        """See what became of a write in a place on its way out; carry along what a late writer left there."""
        table, key = self._calls.table, change.key
        old = Address(table, prefix, key, _writes(before, prefix, key))
        new = Address(table, prefix, key, _writes(now, prefix, key))
        # Announced, a write goes by both places at once: then it was seen, or there was nothing to see.
        seen = before.step == "announced" and len(before.places(prefix, key)) > 1
        if not isinstance(change, Entry):
            if fate == "nothing":
                return False
            if seen or not (self._version_at(old) or self._version_at(new)):
                return True
            raise self._unknown(change)
        arrive = {"TableName": table, "Item": change.item(new), **phrase_row.condition(NO_ROW, 0)}
        mine = phrase_row.condition(change.version, 0)
        try:
            self._send([{"Put": arrive}, _removal(old, mine)], change)
        except _Refused:
            left, there = self._version_at(old), self._version_at(new)
            if change.version == there:
                return True
            if change.version == left and self._took_back(old, mine):
                return False
            if seen:
                return True
            raise self._unknown(change) from None
        return True

    def _once(self, prefix: str, change: Change, if_version: str | None, build: "Build", known: "Known") -> "Fate":
        """Write once, by a placement."""
        placement = known.placement
        places = [
            Address(self._calls.table, prefix, change.key, shard) for shard in placement.places(prefix, change.key)
        ]
        condition = phrase_row.condition(if_version, self._calls.machine.wall_ms())
        old, new = places[0], places[-1]
        if len(places) == 1:
            items = [build(old, condition)]
        elif placement.step == "announced":
            items = [build(old, condition), phrase_row.absent(new)]
        elif if_version and not self._is_there(old):
            items = [build(new, condition)]
        else:
            # Over anything, over nothing, or over a version that still is in the old place.
            here = phrase_row.condition(NO_ROW, self._calls.machine.wall_ms()) if if_version is not None else {}
            items = [build(new, here), _removal(old, condition)]
        try:
            answer = self._send(items, change)
        except _Refused as refused:
            return self._judged(refused, change, if_version, moving=len(places) > 1)
        one_delete = len(items) == 1 and "Delete" in items[0]
        return "nothing" if one_delete and not answer.get("Attributes") else "done"

    def _judged(self, refused: _Refused, change: Change, if_version: str | None, *, moving: bool) -> "Fate":
        now_s = self._calls.machine.wall_ms() // MS_PER_SECOND
        rows = [row for row in refused.rows if row and not phrase_row.is_lapsed(row, now_s)]
        versions = [row.get(phrase_row.VERSION, {}).get("S") for row in refused.rows if row]
        if change.version in versions:
            # It was done, and its answer was lost.
            return "done"
        if refused.unsure:
            raise self._unknown(change)
        if moving and (if_version is None or (rows and set(versions) == {if_version})):
            return "elsewhere"
        there = f"has version {rows[0][phrase_row.VERSION]['S']}" if rows else "is not there"
        raise VersionError(
            f"key {change.key!r}: {there}, and the write was for {_asked(if_version)}; read it again and decide again"
        )

    def _is_there(self, address: Address) -> bool:
        return bool(self._item(address))

    def _version_at(self, address: Address) -> str | None:
        version: str | None = self._item(address).get(phrase_row.VERSION, {}).get("S")
        return version

    def _item(self, address: Address) -> Any:
        request: dict[str, Any] = {"TableName": address.table, "Key": address.wire, "ConsistentRead": True}
        return self._calls.read(lambda: self._client.get_item(**request)).get("Item", {})

    def _send(self, items: list[dict[str, Any]], change: Change) -> Any:
        """Send one write, or a transaction, until it is known to be done; return the answer, empty where it was lost.

        Raises _Refused, or a typed error.
        """
        ((kind, single),) = items[0].items()
        one = len(items) == 1
        if one:
            removed = {"ReturnValues": "ALL_OLD"} if kind == "Delete" else {}
            request = {**single, **_handed_back(single), **removed}
            send: Callable[[], Any] = (
                (lambda: self._client.put_item(**request))
                if kind == "Put"
                else (lambda: self._client.delete_item(**request))
            )
        else:
            token = self._calls.machine.version()
            whole: Any = [{name: {**body, **_handed_back(body)}} for item in items for name, body in item.items()]
            send = lambda: self._client.transact_write_items(  # noqa: E731
                TransactItems=whole, ClientRequestToken=token
            )
        # Sent again, a transaction is done once, and a conditional write refused; an unconditional one is not repeated.
        repeatable = not one or "ConditionExpression" in single
        unsure = False
        for attempt in range(ATTEMPTS_MAX):
            try:
                return send()
            except (ClientError, BotoCoreError) as error:
                if condition_failed(error):
                    raise _Refused(_rows(error), unsure=unsure) from error
                unsure = unsure or not surely_not_done(error)
                if unsure and not repeatable:
                    self._find_out(kind, single, change)
                    return {}
                over = attempt + 1 == ATTEMPTS_MAX or not (is_passing(error) or unsure)
                if over or self._calls.pause(attempt):
                    raise (self._unknown(change) if unsure else refusal(error, self._calls.table)) from error
        raise AssertionError("the last attempt returns or raises")

    def _find_out(self, kind: str, single: dict[str, Any], change: Change) -> None:
        """Return if the row shows that a write without an answer was done. Raises OutcomeUnknownError otherwise.

        What is not seen may yet be done, so that neither yes nor no can be said.
        """
        key = single["Key"] if kind == "Delete" else {name: single["Item"][name] for name in ("pk", "sk")}
        request: dict[str, Any] = {"TableName": single["TableName"], "Key": key, "ConsistentRead": True}
        try:
            item = self._calls.read(lambda: self._client.get_item(**request)).get("Item")
        except LocksideError as error:
            raise self._unknown(change) from error
        if kind == "Put" and item is not None and item.get(phrase_row.VERSION, {}).get("S") == change.version:
            return
        raise self._unknown(change)

    def _unknown(self, change: Change) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f"key {change.key!r}: no answer to its write, and its row does not tell; it may have been written, or may "
            "yet be: read it before you write again"
        )

    def _took_back(self, old: Address, mine: dict[str, Any]) -> bool:
        """Remove what a late writer put where nobody looks any more; False if it is not there any more."""
        try:
            self._calls.write(lambda: self._client.delete_item(**_removal(old, mine)["Delete"]))
        except (ClientError, BotoCoreError) as error:
            if verdict(error) is not Verdict.CONDITION:
                raise refusal(error, self._calls.table) from error
            return False
        return True


Fate = Literal["done", "nothing", "elsewhere"]
"""Of a write: done; a delete that found no row; not done, as the phrase was not where it was looked for."""

Build = Callable[[Address, dict[str, Any]], dict[str, Any]]
"""Builds the item of a transaction that does a change at an address, under a condition."""


def _writes(placement: Placement, prefix: str, key: str) -> int:
    """Return the shard that a placement writes a phrase to."""
    places = placement.places(prefix, key)
    return places[0] if placement.step == "announced" else places[-1]


def _removal(address: Address, condition: dict[str, Any]) -> dict[str, Any]:
    return {"Delete": {"TableName": address.table, "Key": address.wire, **condition}}


def _handed_back(request: dict[str, Any]) -> dict[str, Any]:
    return {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if "ConditionExpression" in request else {}


def _rows(error: Exception) -> list[Any]:
    if not isinstance(error, ClientError):
        return []
    why: list[dict[str, Any]] = reasons(error)
    if why:
        return [reason.get("Item") for reason in why]
    return [error.response.get("Item")]


def _asked(if_version: str | None) -> str:
    match if_version:
        case None:
            return "any version"
        case "":
            return "no row at all"
        case _:
            return f"version {if_version}"
