"""Edge cases of iterators, calls, records and starts: 13, 16 to 23, 28, 31, 34 to 38 and 41 of the list of them.

The real engine through boto3, against the fake streams server.
"""

import base64
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer

from lockside.core.change import ShardRef
from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import CheckpointPolicy
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.embedded.pace import Idle
from lockside.engines.stream import StreamPlan
from lockside.engines.tables import FollowedTables
from lockside.ops.clock import SystemClock
from lockside.state.streams import Streams
from tests.fakes.clock import FakeStop
from tests.fakes.processor import Recorder, RecordingProcessor
from tests.fakes.state_table import dynamodb
from tests.fakes.stream_model import made_record
from tests.fakes.stream_names import Numbering
from tests.fakes.stream_rig import ServerRig, check_lineages

FIFTEEN_MINUTES = 900.0
HOUR = 3_600.0


@pytest.fixture
def rig(moto: Emulator) -> Iterator[ServerRig]:
    """Return an engine over a stream of one open shard, two records a page, a checkpoint after each."""
    with ServerRig.over(moto) as made:
        made.settings = replace(made.settings, checkpoint=CheckpointPolicy(records=1), page_records=2)
        made.add("root")
        yield made


class Keeper(Recorder):
    """A recorder that keeps the raw records too."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.raw: list[Mapping[str, Any]] = []
        self.batches: list[int] = []

    def __call__(self, shard: ShardRef) -> "KeepingProcessor":
        """Make a shard's processor."""
        return KeepingProcessor(self, shard.shard_id.rsplit("-", 1)[-1])


class KeepingProcessor(RecordingProcessor):
    """Keeps what it is handed."""

    def __init__(self, keeper: Keeper, name: str) -> None:
        """Keep where to write."""
        super().__init__(keeper, name)
        self._keeper = keeper

    def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
        """Note the records, then consume them."""
        self._keeper.raw += records
        self._keeper.batches += [len(records)] if records else []
        super().process_records(records, caught_up=caught_up)


def kinds(rig: ServerRig) -> list[str]:
    """Return the kinds of iterators that were asked for, in order."""
    return [request["ShardIteratorType"] for request in rig.asked("GetShardIterator")]


# -- iterators ---------------------------------------------------------------------------------------------------------


def test_edge_13_expired_iterator_resumes_after_last_position(rig: ServerRig) -> None:
    """Processing took longer than an iterator lives: nothing is read twice and nothing is left out."""
    numbers = rig.put("root", *"abcde")
    rig.recorder.on_record = lambda number: rig.clock.advance(FIFTEEN_MINUTES + 1) if number == numbers[1] else None
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert kinds(rig) == ["TRIM_HORIZON", "AFTER_SEQUENCE_NUMBER"]
    assert rig.asked("GetShardIterator")[1]["SequenceNumber"] == str(numbers[1])


def test_edge_13_iterator_that_expires_before_the_first_record_starts_where_it_was_told_to(rig: ServerRig) -> None:
    """At the trim horizon once more, never at the latest record."""
    rig.start = "LATEST"
    rig.run_once()
    rig.server.service.calls.clear()
    rig.clock.advance(HOUR)
    numbers = rig.put("root", "a")
    fate = {"code": "ExpiredIteratorException", "times": 2}
    rig.fail("GetRecords", **fate)
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert set(kinds(rig)) == {"TRIM_HORIZON"}


def test_edge_13_no_iterator_is_taken_out_long_before_its_use(rig: ServerRig) -> None:
    """A shard that waits for its parent has none."""
    rig.add("child", "root")
    rig.run_once()
    assert [request["ShardId"][-4:] for request in rig.asked("GetShardIterator")] == ["root"]


def test_edge_16_only_iterators_that_every_endpoint_knows_are_asked_for(rig: ServerRig) -> None:
    """No AT_TIMESTAMP and no LATEST, whatever the start."""
    rig.start = "LATEST"
    rig.put("root", *"abc")
    rig.run_once()
    rig.clock.advance(HOUR)
    rig.put("root", *"de")
    rig.run_once()
    assert set(kinds(rig)) <= {"TRIM_HORIZON", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"}


# -- calls -------------------------------------------------------------------------------------------------------------


def test_edge_17_a_page_of_one_large_record_is_a_page(rig: ServerRig) -> None:
    """Two images of 400 KB leave room for no second record: the reader goes on page by page."""
    rig.settings = replace(rig.settings, page_records=1_000)
    keeper = Keeper()
    large = {"x": {"S": "x" * 400_000}}
    records = [made_record(f"key{number}", number, new=large) for number in range(4)]
    for record in records:
        record["dynamodb"]["OldImage"] = record["dynamodb"]["NewImage"]
    numbers = [int(number) for number in rig.order("put", shard_id="root", records=records)["numbers"]]
    rig.engine(processors=keeper).run_once(FakeStop(rig.clock))
    assert keeper.consumed() == numbers
    assert keeper.batches == [1, 1, 1, 1]


def test_edge_17_no_more_than_a_thousand_records_are_asked_for(rig: ServerRig) -> None:
    """A higher limit is refused."""
    rig.settings = replace(rig.settings, page_records=1_000)
    numbers = rig.put("root", *(f"key{number}" for number in range(1_200)))
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert max(request["Limit"] for request in rig.asked("GetRecords")) <= 1_000


def test_edge_18_a_shard_has_one_reader(rig: ServerRig) -> None:
    """A second reader of ours would take from the two that a shard bears: each page's iterator comes from the last."""
    numbers = rig.put("root", *"abcdefgh")
    rig.run_once()
    tokens = [request["ShardIterator"] for request in rig.asked("GetRecords")]
    assert len(kinds(rig)) == 1
    assert len(tokens) == len(set(tokens))
    assert rig.recorder.consumed() == numbers


@pytest.mark.parametrize("operation", ["GetRecords", "GetShardIterator"])
@pytest.mark.parametrize("code", ["ThrottlingException", "LimitExceededException", "InternalServerError"])
def test_edge_19_a_refused_shard_backs_off_and_the_other_does_not(rig: ServerRig, operation: str, code: str) -> None:
    """The waits double; what is written elsewhere meanwhile is read."""
    rig.add("side")
    numbers, side = rig.put("root", "a"), rig.put("side", *"abcd")
    refusals = {"code": code, "status": 500 if code == "InternalServerError" else 400, "times": 6}
    rig.fail(operation, **refusals)
    stop = rig.run_once()
    assert (rig.recorder.consumed("root"), rig.recorder.consumed("side")) == (numbers, side)
    assert stop.waits
    assert max(stop.waits) >= 0.3


@pytest.mark.parametrize("kind", ["dropped", "slow"])
def test_edge_19_a_connection_that_breaks_is_tried_again(rig: ServerRig, kind: str) -> None:
    """No answer, or one that takes its time, is no end."""
    numbers = rig.put("root", *"abc")
    for operation in ("DescribeStream", "GetShardIterator", "GetRecords"):
        rig.fail(operation, kind=kind, seconds=0.05, times=2)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


@pytest.mark.parametrize("kind", ["truncated", "garbled"])
@pytest.mark.parametrize("operation", ["DescribeStream", "GetShardIterator", "GetRecords"])
@pytest.mark.parametrize("times", [1, 8])
def test_edge_19_an_answer_that_broke_off_is_no_end(rig: ServerRig, operation: str, kind: str, times: int) -> None:
    """Botocore hands such a body on as an answer without members: no shards, no records, no next iterator."""
    numbers = rig.put("root", *"abc")
    rig.fail(operation, kind=kind, times=times)
    stop = rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert rig.recorder.gaps() == []
    assert not rig.is_finished("root")
    backed_off = [seconds for seconds in stop.waits if seconds > rig.settings.idle.max_seconds]
    assert bool(backed_off) == (times > 1), "the waits grow as they do when nobody answers"


@pytest.mark.parametrize("kind", ["truncated", "garbled"])
@pytest.mark.parametrize("operation", ["DescribeTable", "ListStreams"])
def test_edge_19_an_answer_about_the_table_that_broke_off_is_no_end(rig: ServerRig, operation: str, kind: str) -> None:
    """The table is not taken for gone, nor its new stream for the only one."""
    tables = dynamodb(rig.server.emulator)
    rig.known = FollowedTables(tables, Streams(rig.state.client, rig.state.table, rig.state.retrier))
    numbers = rig.put("root", *"abc")
    rig.run_once()
    rig.order("disable")
    rig.order("enable", shards=0)
    rig.order("add_shard", shard_id="new")
    numbers += rig.put("new", "d")
    rig.fail(operation, kind=kind, times=3)
    rig.run_once()
    tables.close()
    assert rig.recorder.consumed() == numbers


@pytest.mark.parametrize("kind", ["truncated", "garbled"])
def test_edge_19_a_broken_answer_about_an_unlisted_parent_is_no_word_on_it(rig: ServerRig, kind: str) -> None:
    """Nobody knows then whether it is there: it is asked for again, and read before its child."""
    rig.add("hole", hidden_listings=1_000)
    numbers = rig.put("hole", "a")
    rig.order("close", shard_id="hole")
    rig.add("leaf", "hole")
    numbers += rig.put("leaf", "b")
    rig.order("close", shard_id="root")
    rig.order("age_out", shard_id="root")
    rig.fail("GetShardIterator", kind=kind, times=3)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_19_broken_answers_and_faulty_pages_are_counted_apart(rig: ServerRig) -> None:
    """A page that is faulty once and then broken off many times is no page that is faulty twice."""
    numbers = rig.put("root", *"ab")
    rig.order("spoil", shard_id="root", index=1, readings=1)
    rig.fail("GetRecords", kind="truncated", passes=1, times=5)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


@pytest.mark.parametrize("digits", [21, 30, 40])
def test_edge_20_positions_of_every_length_pass_botocores_own_checks(rig: ServerRig, digits: int) -> None:
    """21 to 40 digits, as the API's model has it: a restart goes on after them."""
    shard = next(iter(rig.shards().values()))
    shard.numbering = Numbering(10 ** (digits - 1), 1, digits)
    numbers = rig.put("root", *"abc")
    rig.run_once()
    numbers += rig.put("root", "d")
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert {len(str(number)) for number in numbers} == {digits}


# -- records -----------------------------------------------------------------------------------------------------------


def test_edge_21_a_page_whose_answer_was_lost_is_consumed_once(rig: ServerRig) -> None:
    """The service gave it and we never got it: the same iterator, or one after the last position, gives it again."""
    numbers = rig.put("root", *"abcdef")
    rig.fail("GetRecords", kind="dropped", passes=1, times=2)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_22_an_items_order_holds_down_its_lineage_whatever_the_numbers_length(moto: Emulator) -> None:
    """Numbers that gain digits are compared as integers: also across restarts, rolls and splits."""
    with ServerRig.over(moto, shards=1, grows=True) as rig:
        written: list[int] = []
        for step in range(6):
            written += [int(number) for number in rig.order("put", keys=["one"] * 12)["numbers"]]
            rig.run_once()
            rig.order("split" if step == 2 else "roll")
        rig.run_once()
        assert rig.recorder.consumed() == written
        assert written == sorted(written)
        assert [str(number) for number in written] != sorted(str(number) for number in written)
        check_lineages(rig.recorder, rig.shards())


def test_edge_23_the_writes_of_one_transaction_come_apart_and_each_comes(moto: Emulator) -> None:
    """They lie in different shards, one of which cannot be read for a while: nothing waits for the other half."""
    with ServerRig.over(moto, shards=2) as rig:
        keys = [f"item{number}" for number in range(6)]
        numbers = [int(number) for number in rig.order("put", keys=keys)["numbers"]]
        held_back = [shard.shard_id for shard in rig.shards().values() if shard.numbers]
        assert len(held_back) == 2
        rig.fail("GetRecords", code="ThrottlingException", times=1)
        rig.run_once()
        assert sorted(rig.recorder.consumed()) == sorted(numbers)
        assert rig.recorder.consumed() != numbers


def test_edge_28_creation_times_out_of_order_change_nothing(rig: ServerRig) -> None:
    """Rounded down and not monotone: the order is that of the numbers."""
    now_ms = rig.clock.now().wall_ms
    numbers = [number for back_ms in (0, 5_000, 2_500) for number in rig.put("root", "a", created_ms=now_ms - back_ms)]
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_31_values_of_every_type_come_as_they_were_written(rig: ServerRig) -> None:
    """Absent is not empty; 38 digits, bytes, empty strings and NULL are what they were."""
    keeper = Keeper()
    raw = b"\x00\xff\x80"
    values: dict[str, Any] = {
        "n": {"N": "12345678901234567890123456789012345678"},
        "b": {"B": base64.b64encode(raw).decode()},
        "empty": {"S": ""},
        "null": {"NULL": True},
        "set": {"NS": ["1", "2.5"]},
        "deep": {"M": {"l": {"L": [{"BOOL": False}, {"BS": [base64.b64encode(raw).decode()]}]}}},
    }
    record = made_record("a", 1, new=values)
    record["dynamodb"]["Keys"] = {"id": {"B": base64.b64encode(raw).decode()}, "n": {"N": "7"}}
    bare = made_record("b", 2)
    bare["dynamodb"]["NewImage"] = {}
    bare["dynamodb"].pop("NewImage")
    empty = made_record("c", 3)
    empty["dynamodb"]["NewImage"] = {}
    rig.order("put", shard_id="root", records=[record, bare, empty])
    rig.engine(processors=keeper).run_once(FakeStop(rig.clock))
    bodies = [each["dynamodb"] for each in keeper.raw]
    read = {name: TypeDeserializer().deserialize(value) for name, value in bodies[0]["NewImage"].items()}
    assert read["n"] == Decimal(12345678901234567890123456789012345678)
    assert (read["empty"], read["null"], read["set"]) == ("", None, {Decimal(1), Decimal("2.5")})
    assert bodies[0]["NewImage"]["b"]["B"] == raw == bodies[0]["Keys"]["id"]["B"]
    assert "NewImage" not in bodies[1]
    assert bodies[2]["NewImage"] == {}


def test_edge_34_lost_permission_pauses_a_shard_and_moves_no_checkpoint(rig: ServerRig) -> None:
    """A person must mend it, and may while we wait: then it goes on as if nothing had been."""
    first = rig.put("root", "a")
    rig.run_once()
    rig.put("root", "b")
    rig.fail("GetRecords", code="AccessDeniedException", times=1_000)
    stop = FakeStop(rig.clock, waits_max=20)
    rig.engine().run_once(stop)
    found = rig.checkpoint("root")
    assert found is not None
    assert (found.position, found.finished) == (first[-1], False)
    rig.server.service.misfortunes.scripted.clear()
    rig.run_once()
    assert len(rig.recorder.consumed()) == 2


def test_edge_35_a_quiet_shard_is_asked_ever_more_seldom(rig: ServerRig) -> None:
    """Each GetRecords call is paid for: the pauses between them grow. On the real clock, as threads run on it."""
    rig.settings = replace(rig.settings, idle=Idle(0.02, 0.16))
    real, stop = SystemClock(), threading.Event()
    moments: list[int] = []

    def note(operation: str, _now_ms: int) -> None:
        if operation == "GetRecords":
            moments.append(real.now().mono_ms)
        if len(moments) == 19:
            stop.set()

    rig.server.service.before_call = note
    plan, services = StreamPlan("locks", rig.arn, precision_ms=1_000), replace(rig.services(), clock=real)
    EmbeddedEngine([plan], rig.recorder, services).run(stop)
    assert moments[18] - moments[17] >= 160


def test_edge_35_a_backlog_is_read_without_pauses(rig: ServerRig) -> None:
    """While there is data no time is lost between pages."""
    old_ms = rig.clock.now().wall_ms - 3_600_000
    numbers = rig.put("root", *(f"key{number}" for number in range(40)), created_ms=old_ms)
    began_ms = rig.clock.now().mono_ms
    ended: list[int] = []
    rig.recorder.on_record = lambda number: ended.append(rig.clock.now().mono_ms) if number == numbers[-1] else None
    rig.run_once()
    assert ended == [began_ms]


# -- starts ------------------------------------------------------------------------------------------------------------


def test_edge_28_latest_keeps_what_rounding_leaves_open(rig: ServerRig) -> None:
    """A change of the second of the start may be a later one: it is kept, an older one is not."""
    rig.start = "LATEST"
    rig.clock.advance(0.9)
    rig.put("root", "old", created_ms=rig.clock.now().wall_ms - 5_000)
    numbers = rig.put("root", "open")
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_36_latest_loses_nothing_between_discovery_and_the_first_page(rig: ServerRig) -> None:
    """A record and a roll come after the listing and before the first iterator."""
    rig.start = "LATEST"
    rig.put("root", *"abc", created_ms=rig.clock.now().wall_ms - 60_000)
    written: list[int] = []

    def meanwhile(operation: str, _now_ms: int) -> None:
        if operation == "GetShardIterator" and not written:
            written.extend(rig.put("root", "d"))
            rig.order("close", shard_id="root")
            rig.add("child", "root")
            written.extend(rig.put("child", "e"))

    rig.server.service.before_call = meanwhile
    rig.run_once()
    assert rig.recorder.consumed() == written


def test_edge_36_latest_survives_a_restart_before_the_first_checkpoint(rig: ServerRig) -> None:
    """What is written while no worker is up is not lost."""
    rig.start = "LATEST"
    rig.run_once()
    rig.clock.advance(HOUR)
    numbers = rig.put("root", "a")
    rig.clock.advance(HOUR)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_37_a_page_that_cannot_be_placed_is_read_again(rig: ServerRig) -> None:
    """A record without a sequence number may have been spoilt on its way."""
    numbers = rig.put("root", *"abcd")
    rig.order("spoil", shard_id="root", index=3, readings=1)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_38_the_checkpoint_is_what_was_flushed_and_no_more(rig: ServerRig) -> None:
    """What was handed over and is not done yet is read again after a restart."""
    numbers = rig.put("root", *"abcd")
    rig.recorder.unsafe = {numbers[2], numbers[3]}
    rig.run_once()
    rig.recorder.unsafe = set()
    rig.run_once()
    assert Counter(rig.recorder.consumed()) == Counter([*numbers, numbers[2], numbers[3]])


@pytest.mark.parametrize("ahead_seconds", [-HOUR, HOUR])
def test_edge_41_a_wrong_clock_of_ours_leaves_nothing_out(rig: ServerRig, ahead_seconds: float) -> None:
    """A start at LATEST is the endpoint's instant, by its Date header, not ours."""
    rig.start = "LATEST"
    endpoint_ms = rig.clock.now().wall_ms
    rig.server.service.clock = rig_clock = type(rig.clock)(endpoint_ms)
    rig.clock.step_wall(ahead_seconds)
    rig.put("root", "old", created_ms=endpoint_ms - 60_000)
    rig.run_once()
    rig_clock.advance(2)
    numbers = rig.put("root", "new", created_ms=rig_clock.now().wall_ms)
    rig.run_once()
    assert rig.recorder.consumed() == numbers
