"""Law 1 from the bytes of a GetRecords answer on: botocore's parser and ours, the reader and the processor.

Each body is read by a whole shard reader over the real parsers. Whatever it holds, the reader goes on behind its
records, or halts before them; then every record is one thing or another.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from random import Random, SystemRandom
from typing import Any, Final, cast

import botocore.session
import pytest
import structlog
from botocore.parsers import ResponseParserFactory

from lockside.aws.fast_parse import FastParser
from lockside.aws.retrying import Retrier
from lockside.aws.tables import state_table
from lockside.core.telemetry import NoMeter
from lockside.engines.consumer import Start
from lockside.engines.embedded.plan import Settings
from lockside.engines.embedded.reader import ShardReader
from lockside.engines.embedded.services import Services
from lockside.engines.embedded.step import Progress
from lockside.engines.stream import StreamPlan
from lockside.errors import FaultyPageError
from lockside.ops.metrics import PrometheusMeter
from lockside.state.checkpoints import Checkpoints
from tests.fakes.clock import FakeClock, FakeStop
from tests.fakes.dynamodb import FakeDynamoDB
from tests.fakes.shard import ShardRig
from tests.fakes.sources import SHARD, source
from tests.properties.mutation import LAYOUTS, Mutator

REPLAY: Final = os.environ.get("LOCKSIDE_FUZZ_REPLAY", "")
SOAK_PAGES: Final = int(os.environ.get("LOCKSIDE_FUZZ_PAGES", "100_000"))
TEST_PAGES: Final = 600
PROGRESS_PAGES: Final = 10_000
BROKEN_READINGS: Final = 5
FIRST: Final = 10**20
"""Positions start here, so that numbers of a spoilt page may lie below and above."""

GOOD_END: Final = {"status_code": 200, "context": {"operation_name": "GetRecords"}}


def unsaid(_logger: Any, _name: str, _event: Any) -> Any:
    """Drop a log line."""
    raise structlog.DropEvent


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Leave the log out: thousands of warnings of spoilt pages are what is asked for."""
    structlog.configure(processors=[unsaid])


@cache
def output_shape() -> Any:
    """Return what botocore's model says of a GetRecords answer."""
    model = botocore.session.get_session().get_service_model("dynamodbstreams")
    return model.operation_model("GetRecords").output_shape


def parsed(body: bytes, *, fast: bool) -> Any:
    """Parse a body as a client does; raises what the parser raises."""
    parser = ResponseParserFactory().create_parser("json")
    answer = {**GOOD_END, "headers": {"x-amzn-requestid": "r"}, "body": body}
    return FastParser(parser).parse(answer, output_shape()) if fast else parser.parse(answer, output_shape())


class Pages:
    """A streams service that answers with one body, at every reading, and then with an empty last page."""

    def __init__(self, body: bytes, *, fast: bool) -> None:
        """Take the body, and the parser that reads it."""
        self._body, self._fast, self.readings = body, fast, 0

    def get_shard_iterator(self, **_request: Any) -> Mapping[str, Any]:
        """Begin at the body."""
        return {"ShardIterator": "first"}

    def get_records(self, **request: Any) -> Mapping[str, Any]:
        """Answer."""
        if request["ShardIterator"] != "first":
            return {"Records": []}
        self.readings += 1
        return cast("Mapping[str, Any]", parsed(self._body, fast=self._fast))


class Reading:
    """A reader of one body with a real processor behind it, and what it came to.

    `halted` at a faulty page, or `broken`: it asks again, however often.
    """

    def __init__(self, layout: str, body: bytes, *, fast: bool) -> None:
        """Read until the shard ends or halts, or the body was asked for so often that it would be for ever."""
        clock = FakeClock()
        self.rig = ShardRig(source(layout), clock=clock, meter=PrometheusMeter())
        state = FakeDynamoDB(state_table("state").create)
        self.checkpoints = Checkpoints(state.client, "state", Retrier(FakeStop(clock), NoMeter()), clock)
        service = Pages(body, fast=fast)
        services = Services(cast("Any", service), self.checkpoints, clock, NoMeter(), lambda: 0.5, Settings())
        plan = StreamPlan(SHARD.table, SHARD.stream_arn, precision_ms=1_000)
        reader = ShardReader(plan, SHARD, Start(), self.rig.processor, services)
        self.halted = self.broken = False
        waits: list[float] = []
        try:
            while not self.broken and (step := reader.step()).progress is not Progress.ENDED:
                waits.append(step.wait_seconds)
                self.broken = service.readings == BROKEN_READINGS
            assert self.broken or len(waits) < len(("page", "last page"))
        except FaultyPageError:
            reader.abandon()
            self.halted = True
        assert service.readings == (BROKEN_READINGS if self.broken else 2 if self.halted else 1)
        assert not self.broken or waits == sorted(set(waits))

    @property
    def stands(self) -> bool:
        """Whether the reader got no further than before the body."""
        return self.halted or self.broken

    @property
    def outcome(self) -> Any:
        """Return whether it stands still, the position, and the records."""
        checkpoint = self.checkpoints.load(SHARD.stream_arn).shards.get(SHARD.shard_id)
        position = None if checkpoint is None else checkpoint.position
        return self.stands, position, sorted(self.rig.trail.items.items())

    def look(self) -> Counter[str]:
        """Check that nothing was consumed of a halted page, and that each record of another became one thing."""
        meter = cast("PrometheusMeter", self.rig.meter)
        consumed = round(meter.total("records"))
        became = {name: round(meter.total(name)) for name in ("events", "uneventful", "unclaimed", "undecodable")}
        assert sum(became.values()) == consumed
        assert meter.total("written") <= consumed
        if self.stands:
            assert (consumed, self.outcome[1], self.outcome[2]) == (0, None, [])
        return Counter(became) + Counter({"halted" if self.halted else "broken" if self.broken else "ended": 1})


def pages(number: int) -> Iterator[tuple[str, int]]:
    """Name pages by seed and number; with a replay asked for, that one only."""
    if REPLAY:
        seed, _, one = REPLAY.partition("/")
        yield seed, int(one)
        return
    seed = str(SystemRandom().randrange(10**12))
    yield from ((seed, each) for each in range(number))


def play(seed: str, number: int) -> Counter[str]:
    """Read one page with either parser.

    botocore refuses a whole page for one value, where ours leaves that value to the core, and reads base64 leniently.
    So where both go on, how far they go is compared, and not each record.
    """
    random = Random(f"page {seed}/{number}")  # noqa: S311 - to be played again, not to be secret
    layout = random.choice(LAYOUTS)
    body = Mutator(random).page(layout, FIRST)
    fast, slow = Reading(layout, body, fast=True), Reading(layout, body, fast=False)
    assert slow.stands or not fast.stands
    assert slow.stands or fast.outcome[1] == slow.outcome[1]
    slow.look()
    return fast.look()


def fuzz(number: int) -> Iterator[tuple[int, Counter[str]]]:
    """Play so many pages; yield the tally after each."""
    tally: Counter[str] = Counter()
    for count, (seed, each) in enumerate(pages(number), 1):
        try:
            tally += play(seed, each)
        except BaseException as error:
            error.add_note(f"play it again with LOCKSIDE_FUZZ_REPLAY={seed}/{each}")
            raise
        yield count, tally


def test_every_page_is_consumed_or_halts_the_shard() -> None:
    """With nothing of a halted one recorded, by either parser alike; the fuzz reaches both."""
    *_, (_, tally) = fuzz(TEST_PAGES)
    assert REPLAY or {"halted", "ended", "events", "undecodable"} <= set(tally)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_a_hundred_thousand_pages(capsys: pytest.CaptureFixture[str]) -> None:
    """The same at length, with its progress; `LOCKSIDE_FUZZ_PAGES` sets another size."""
    for count, tally in fuzz(SOAK_PAGES):
        if count % PROGRESS_PAGES == 0:
            with capsys.disabled():
                print(f"{count:>9} pages: {dict(tally)}", flush=True)  # noqa: T201
    assert REPLAY or {"halted", "ended", "events", "undecodable"} <= set(tally)


BROKEN: Final[dict[str, Any]] = {
    "no JSON": b'{"Records":[{"dyn',
    "no text": b"\xff\xfe",
    "broken off inside a character": b'{"Records":[{"eventID":"\xc3',
    "nothing": b"",
    "no records": b"{}",
    "no records but an iterator": b'{"NextShardIterator":"next"}',
    "records null": b'{"Records":null,"NextShardIterator":"next"}',
}
SPOILT: Final[dict[str, Any]] = {
    "no object": b"[]",
    "records a map": b'{"Records":{"a":1}}',
    "records of text": b'{"Records":["a"]}',
    "records of null": b'{"Records":[null]}',
    "iterator a number": b'{"Records":[],"NextShardIterator":5}',
    "iterator empty": b'{"Records":[],"NextShardIterator":""}',
    "too deep": b'{"Records":' + b"[" * 100_000,
    "not a time": b'{"Records":[{"dynamodb":{"SequenceNumber":"1","ApproximateCreationDateTime":"soon"}}]}',
    "sequence number a number": b'{"Records":[{"dynamodb":{"SequenceNumber":7}}]}',
    "sequence number null": b'{"Records":[{"dynamodb":{"SequenceNumber":null}}]}',
    "sequence number a word": b'{"Records":[{"dynamodb":{"SequenceNumber":"seven"}}]}',
    "sequence number too long": b'{"Records":[{"dynamodb":{"SequenceNumber":"%s"}}]}' % (b"1" * 41),
    "no sequence number": b'{"Records":[{"dynamodb":{}}]}',
    "no body": b'{"Records":[{}]}',
    "order descending": b'{"Records":[{"dynamodb":{"SequenceNumber":"2"}},{"dynamodb":{"SequenceNumber":"1"}}]}',
    "one place, two records": (
        b'{"Records":[{"dynamodb":{"SequenceNumber":"1"}},{"eventName":"REMOVE","dynamodb":{"SequenceNumber":"1"}}]}'
    ),
}


@pytest.mark.parametrize("fast", [True, False], ids=["orjson", "botocore"])
@pytest.mark.parametrize("body", SPOILT.values(), ids=SPOILT.keys())
def test_a_faulty_page_is_read_again_and_then_halts_the_shard(body: bytes, fast: bool) -> None:  # noqa: FBT001
    """Nothing of it is consumed, no checkpoint is written, and the shard is not taken for ended."""
    reading = Reading("pydynlock", body, fast=fast)
    assert reading.halted
    reading.look()


@pytest.mark.parametrize("fast", [True, False], ids=["orjson", "botocore"])
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_is_not_whole_is_asked_for_again_ever_more_slowly(body: bytes, fast: bool) -> None:  # noqa: FBT001
    """It is no page, faulty or not, and no end: however often it comes, the shard is not halted."""
    reading = Reading("pydynlock", body, fast=fast)
    assert reading.broken
    reading.look()


@pytest.mark.parametrize("fast", [True, False], ids=["orjson", "botocore"])
@pytest.mark.parametrize("last", ["null", "absent"])
def test_a_last_page_is_no_faulty_one(last: str, fast: bool) -> None:  # noqa: FBT001
    """Records together with a null iterator, or none, end the shard behind them."""
    random = Random(1)  # noqa: S311 - to be played again
    records = [json.loads(json.dumps(Mutator(random).good("pydynlock", FIRST + n))) for n in range(3)]
    page = {"Records": records, **({"NextShardIterator": None} if last == "null" else {})}
    reading = Reading("pydynlock", json.dumps(page).encode(), fast=fast)
    assert (reading.halted, reading.outcome[1]) == (False, FIRST + 2)
    reading.look()
