"""What the audit writer does when DynamoDB refuses, forgets or loses an answer: real botocore, canned answers.

The canned answers enter at botocore's `before-send` event, after serialising and signing, so all of the client is
exercised; whatever is not canned goes to moto.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from lockside.audit.write import AuditTrail
from lockside.aws.retrying import Retrier
from lockside.core.log import append
from lockside.core.telemetry import NoMeter
from lockside.emulators.emulator import Emulator, Kind
from lockside.errors import SetupError, StoppedError
from lockside.ops.heartbeat import SILENCE_MAX_MS, Heartbeats
from tests.contract.trails import TableRig, items_of, observation, put, record, records, shard, sources, table_rig
from tests.fakes.stopping import Impatient

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]] | None]


class RawBody:
    """A response body as urllib3 hands it over."""

    def __init__(self, data: bytes) -> None:
        """Keep the bytes."""
        self._data = data

    def stream(self, **_: Any) -> Iterator[bytes]:
        """Give the bytes out at once."""
        yield self._data


@dataclass
class Line:
    """The line to DynamoDB: counts calls by operation and lets planned answers stand in for real ones."""

    planned: dict[str, list[Answer]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, operation: str, *answers: Answer) -> None:
        """Have the next calls of an operation answered; an answer of None lets the call through."""
        self.planned.setdefault(operation, []).extend(answers)

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        """Answer in DynamoDB's place, or let the call through."""
        headers: Any = request.headers
        operation = headers["X-Amz-Target"].decode().partition(".")[2]
        with self.lock:
            self.calls.append(operation)
            answers = self.planned.get(operation)
            answer = answers.pop(0) if answers else None
        sent: Any = request.body
        said = answer(orjson.loads(sent)) if answer else None
        if said is None:
            return None
        status, body = said
        return AWSResponse(request.url, status, HTTPHeaders(), RawBody(orjson.dumps(body)))


def refused(code: str, status: int = 400, **more: Any) -> Answer:
    """Refuse a call with an error code."""
    return lambda _: (status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "canned", **more})


def cancelled(*codes: str) -> Answer:
    """Cancel a transaction for these reasons."""
    return refused("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes])


@pytest.fixture
def rig(emulator_of: Callable[[Kind], Emulator]) -> Iterator[TableRig]:
    """Make a table on moto."""
    made = table_rig(emulator_of("moto"))
    yield made
    made.close()


@pytest.fixture
def line(rig: TableRig) -> Line:
    """Tap the line between the rig's client and moto."""
    tapped = Line()
    hook: Any = tapped  # botocore's stubs say None, and its documentation that an answer may be returned
    rig.client.meta.events.register("before-send.dynamodb", hook)
    return tapped


def test_unprocessed_items_are_put_again_and_only_they(rig: TableRig, line: Line) -> None:
    """What a batch left over is sent again until all is acknowledged."""
    sent: list[int] = []

    def leave_last_two(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        puts = body["RequestItems"][rig.table]
        sent.append(len(puts))
        for each in puts[:-2]:
            rig.client.put_item(TableName=rig.table, Item=each["PutRequest"]["Item"])
        return 200, {"UnprocessedItems": {rig.table: puts[-2:]}}

    def leave_all(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        sent.append(len(body["RequestItems"][rig.table]))
        return 200, {"UnprocessedItems": body["RequestItems"]}

    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    line.plan("BatchWriteItem", leave_last_two, leave_all)
    put(trail, head, records(10))
    assert sent == [10, 2]
    assert line.calls.count("BatchWriteItem") == 3
    assert rig.bodies(head.log) == [each.body for each in records(10)]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ProvisionedThroughputExceededException", 400),
        ("ThrottlingException", 400),
        ("InternalServerError", 500),
        ("ExpiredTokenException", 400),
    ],
)
def test_passing_refusals_are_waited_out(rig: TableRig, line: Line, code: str, status: int) -> None:
    """Throttling, a failing service and credentials that ran out hold the write back and lose nothing."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    for operation in ("BatchWriteItem", "UpdateItem", "TransactWriteItems", "GetItem"):
        line.plan(operation, *[refused(code, status)] * 3)
    head = put(trail, head, records(3))
    trail.write_head(head)
    assert trail.observe(observation(f"{head.log}/observer"))
    assert rig.bodies(head.log) == [each.body for each in records(3)]


def test_a_retry_in_the_pool_is_a_sign_of_life(rig: TableRig, line: Line) -> None:
    """Whoever waits for several batches waits for AWS, and a restart would not help it."""
    beats = Heartbeats(rig.clock)
    table = replace(rig.audit_table(), retrier=Retrier(Impatient(), NoMeter(), beats.wait_here))
    trail = AuditTrail(table, rig.clock)
    rig.made.append(trail)
    head = trail.open(shard(), sources(), "TRIM_HORIZON")

    def refuse_late(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        rig.clock.advance(SILENCE_MAX_MS / 1000 + 1)
        said = refused("ThrottlingException")(body)
        assert said is not None
        return said

    beats.beat_here()
    line.plan("BatchWriteItem", refuse_late)
    put(trail, head, records(60))
    assert beats.silent() == []


def test_what_will_not_pass_is_raised(rig: TableRig, line: Line) -> None:
    """A refusal that no waiting mends reaches the caller, also from one batch among several."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    line.plan("BatchWriteItem", refused("ValidationException"))
    with pytest.raises(ClientError, match="ValidationException"):
        put(trail, head, records(60))
    line.plan("BatchWriteItem", refused("ResourceNotFoundException"))
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        put(trail, head, records(1))


def test_shutdown_ends_the_waiting(rig: TableRig, line: Line) -> None:
    """A write that is held back ends with StoppedError when shutdown is asked for, and was not acknowledged."""
    trail = rig.trail(Impatient(waits_max=5))
    head = rig.trail().open(shard(), sources(), "TRIM_HORIZON")
    line.plan("BatchWriteItem", *[refused("ThrottlingException")] * 50)
    with pytest.raises(StoppedError):
        put(trail, head, records(30))


def test_the_first_batch_touches_the_catalogue_before_the_records(rig: TableRig, line: Line) -> None:
    """A log is listed under each day of its records and under the day of writing, once, before any record is there."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    line.calls.clear()
    head = put(trail, head, [record(1), record(2, time_ms=0), record(3, time_ms=86_400_000)])
    assert line.calls == ["PutItem"] * 6 + ["BatchWriteItem"]
    put(trail, head, records(1, first=4))
    assert line.calls[7:] == ["BatchWriteItem"]
    listed = {(item["pk"]["S"], item["sk"]["S"]) for item in items_of(rig) if item["pk"]["S"].startswith("CAT")}
    days = {"1970-01-01", "1970-01-02", "2026-11-23"}
    assert listed == {("CAT", day) for day in days} | {(f"CAT#{day}", head.log) for day in days}


def test_full_batches_cost_few_calls(rig: TableRig, line: Line) -> None:
    """Of a thousand records in one write, 25 go with each call."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    put(trail, head, records(1))
    line.calls.clear()
    put(trail, head, records(1000))
    assert line.calls == ["BatchWriteItem"] * 40


def test_a_lost_answer_to_a_transaction_does_not_hide_who_made_it(rig: TableRig, line: Line) -> None:
    """A transaction that was carried out and whose answer was lost is sent again under the same token."""
    tokens: list[str] = []

    def lose(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        tokens.append(body["ClientRequestToken"])
        return 500, {"__type": "InternalServerError"}

    def note(body: dict[str, Any]) -> None:
        tokens.append(body["ClientRequestToken"])

    line.plan("TransactWriteItems", lose, note)
    assert rig.trail().observe(observation("lost/observer"))
    assert len(tokens) == 2
    assert len(set(tokens)) == 1


@pytest.mark.parametrize(
    "codes",
    [("None", "ConditionalCheckFailed"), ("TransactionConflict", "None"), ("None", "ThrottlingError")],
)
def test_a_contended_transaction_is_tried_again(rig: TableRig, line: Line, codes: tuple[str, str]) -> None:
    """Another declarer that was quicker, or in the way, costs another look and another try."""
    line.plan("TransactWriteItems", cancelled(*codes), cancelled(*codes))
    assert rig.trail().observe(observation("contended/observer"))
    assert line.calls.count("TransactWriteItems") == 3


def test_a_transaction_that_cannot_succeed_is_raised(rig: TableRig, line: Line) -> None:
    """A cancellation for an illegal item is our own fault and not tried again."""
    line.plan("TransactWriteItems", cancelled("ValidationError", "None"))
    with pytest.raises(ClientError):
        rig.trail().observe(observation("illegal/observer"))


def test_a_seal_half_done_is_completed(rig: TableRig, line: Line) -> None:
    """A worker that died between the seal and the next genesis leaves a log that the next worker goes on from."""
    place = shard()
    first = rig.trail()
    sealed = put(first, first.open(place, sources(), "TRIM_HORIZON"), records(2))
    first.write_head(sealed)
    line.plan("PutItem", refused("ResourceNotFoundException"))
    with pytest.raises(ClientError):
        rig.trail().open(place, sources("renamed"), "TRIM_HORIZON")
    head = rig.trail().open(place, sources("renamed"), "TRIM_HORIZON")
    assert head.epoch == 2
    genesis = next(item for item in items_of(rig) if item["pk"]["S"] == f"LOG#{head.log}" and item["sk"]["S"] == "G")
    previous = genesis["previous"]["M"]
    assert previous["log"]["S"] == sealed.log
    assert previous["size"]["N"] == "2"
    assert bytes(previous["root"]["B"]) == sealed.root


def test_a_genesis_without_head_is_completed(rig: TableRig, line: Line) -> None:
    """A worker that died between genesis and head leaves a log that the next worker opens."""
    place = shard()
    line.plan("PutItem", lambda _: None, refused("ResourceNotFoundException"))
    with pytest.raises(ClientError):
        rig.trail().open(place, sources(), "TRIM_HORIZON")
    assert rig.trail().open(place, sources(), "TRIM_HORIZON").epoch == 1


def test_a_head_that_was_deleted_is_told(rig: TableRig) -> None:
    """A head that vanishes from under a worker names the item and does not start the log anew."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    rig.client.delete_item(TableName=rig.table, Key={"pk": {"S": f"LOG#{head.log}"}, "sk": {"S": "H"}})
    grown, _ = append(head, records(1))
    with pytest.raises(SetupError, match="was there and is gone"):
        trail.write_head(grown)


def test_an_answer_that_tells_of_no_unprocessed_items_acknowledges_nothing(rig: TableRig, line: Line) -> None:
    """Whatever stands between may answer anything; the records are put again."""
    trail = rig.trail()
    head = trail.open(shard(), sources(), "TRIM_HORIZON")
    line.plan("BatchWriteItem", lambda _: (200, {"status": "ok"}), lambda _: (200, {}))
    put(trail, head, records(3))
    assert line.calls.count("BatchWriteItem") == 3
    assert rig.bodies(head.log) == [each.body for each in records(3)]
