"""Many phrases at once: 25 a call, and in the end it is known of each whether it was written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.tables import PK, SK
from lockside.errors import LocksideError, OutcomeUnknownError, PartlyWrittenError
from lockside.stores import phrase_row
from lockside.stores.calls import ATTEMPTS_MAX, is_passing, refusal, surely_not_done
from lockside.stores.phrase_row import Address
from lockside.stores.phrase_write import Entry, Writer

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.stores.calls import Calls
    from lockside.stores.placement import Placement
    from lockside.stores.placements import Known, Placements

WRITES_PER_CALL: Final = 25
BYTES_PER_CALL: Final = 15 * 1_024 * 1_024
"""DynamoDB takes 16 MB a call."""


@dataclass(slots=True)
class Report:
    """What became of each key, in order; looked up for each entry, so no lists. What is in neither was not sent."""

    written: dict[str, None] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    failure: LocksideError | None = None


class Batch:
    """One update of many phrases under a prefix."""

    def __init__(
        self,
        client: "DynamoDBClient",
        calls: "Calls",
        placements: "Placements",
        writer: Writer,
        prefix: str,
    ) -> None:
        """Send nothing yet."""
        self._client = client
        self._calls = calls
        self._placements = placements
        self._writer = writer
        self._prefix = prefix

    def put(self, entries: Sequence[Entry]) -> None:
        """Write all entries. Raises PartlyWrittenError unless all were written."""
        report = Report()
        for chunk in chunks(entries):
            if report.failure is not None:
                break
            self._put_chunk(chunk, report)
        if report.failure is None:
            return
        done = report.written.keys() | report.unknown.keys()
        unwritten = tuple(entry.key for entry in entries if entry.key not in done)
        raise PartlyWrittenError(
            f'table "{self._calls.table}": of {len(entries)} phrases {len(report.written)} were written, '
            f"{len(unwritten)} were not, of {len(report.unknown)} it is not known: {report.failure}",
            tuple(report.written),
            unwritten,
            tuple(report.unknown),
        ) from report.failure

    def _put_chunk(self, entries: Sequence[Entry], report: Report) -> None:
        try:
            known = self._placements.current()
        except LocksideError as error:
            report.failure = error
            return
        moving = [entry for entry in entries if len(known.placement.places(self._prefix, entry.key)) > 1]
        staying = [entry for entry in entries if len(known.placement.places(self._prefix, entry.key)) == 1]
        if staying:
            self._send(staying, known.placement, report)
        for entry in staying:
            # Of what was written, each is looked after by itself where another placement is in force by now.
            if entry.key in report.written:
                self._landed(entry, known, report)
        for entry in moving:
            if report.failure is None:
                self._alone(entry, partial(self._writer.put, self._prefix, entry, None), report)

    def _landed(self, entry: Entry, known: "Known", report: Report) -> None:
        del report.written[entry.key]
        self._alone(entry, lambda: self._writer.landed(self._prefix, entry, known), report)

    def _alone(self, entry: Entry, write: Callable[[], None], report: Report) -> None:
        try:
            write()
        except OutcomeUnknownError as error:
            report.unknown[entry.key] = None
            report.failure = error
        except LocksideError as error:
            report.failure = error
        else:
            report.written[entry.key] = None

    def _send(self, entries: Sequence[Entry], placement: "Placement", report: Report) -> None:
        """Send one call until nothing of it is left over, a bounded number of times."""
        left: dict[tuple[str, str], Entry] = {}
        requests: list[Any] = []
        for entry in entries:
            shard = placement.old(self._prefix, entry.key)
            item = entry.item(Address(self._calls.table, self._prefix, entry.key, shard))
            left[item[PK]["S"], item[SK]["S"]] = entry
            requests.append({"PutRequest": {"Item": item}})
        for attempt in range(ATTEMPTS_MAX):
            batch = {self._calls.table: requests}
            try:
                answer = self._client.batch_write_item(RequestItems=batch)
            except (ClientError, BotoCoreError) as error:
                again = surely_not_done(error) and is_passing(error) and attempt + 1 < ATTEMPTS_MAX
                if again and not self._calls.pause(attempt):
                    continue
                report.failure = refusal(error, self._calls.table)
                if not surely_not_done(error):
                    self._find_out(left, report)
                return
            requests = list(answer.get("UnprocessedItems", {}).get(self._calls.table, []))
            keys = {(r["PutRequest"]["Item"][PK]["S"], r["PutRequest"]["Item"][SK]["S"]) for r in requests}
            report.written.update({entry.key: None for key, entry in left.items() if key not in keys})
            left = {key: entry for key, entry in left.items() if key in keys}
            if not left:
                return
            if self._calls.pause(attempt):
                break
        report.failure = refusal(_throttled(), self._calls.table)

    def _find_out(self, left: dict[tuple[str, str], Entry], report: Report) -> None:
        """See which of a call without an answer were written; of the others nothing can be said: they may yet be."""
        versions: dict[tuple[str, str], str] = {}
        # What went wrong first is what the report says.
        with suppress(LocksideError):
            self._look(list(left), versions)
        for key, entry in left.items():
            (report.written if versions.get(key) == entry.version else report.unknown)[entry.key] = None
        if not report.unknown:
            report.failure = None

    def _look(self, addresses: Sequence[tuple[str, str]], versions: dict[tuple[str, str], str]) -> None:
        """Read the versions of rows, as far as they are handed out in a bounded number of calls."""
        keys: list[Any] = [{PK: {"S": partition}, SK: {"S": key}} for partition, key in addresses]
        for attempt in range(ATTEMPTS_MAX):
            wanted: Any = {self._calls.table: {"Keys": keys, "ConsistentRead": True}}
            answer = self._calls.read(partial(self._client.batch_get_item, RequestItems=wanted))
            for item in answer["Responses"].get(self._calls.table, []):
                versions[item[PK]["S"], item[SK]["S"]] = item[phrase_row.VERSION]["S"]
            rest: Any = answer.get("UnprocessedKeys") or {}
            keys = list(rest.get(self._calls.table, {}).get("Keys", []))
            if not keys or self._calls.pause(attempt):
                return


def chunks(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut a sequence into calls, by number and by bytes."""
    begun, size = 0, 0
    for at, entry in enumerate(entries):
        entry_bytes = entry.size_bytes
        if at > begun and (at - begun == WRITES_PER_CALL or size + entry_bytes > BYTES_PER_CALL):
            yield entries[begun:at]
            begun, size = at, 0
        size += entry_bytes
    if begun < len(entries):
        yield entries[begun:]


def _throttled() -> ClientError:
    return ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "BatchWriteItem")
