"""Calls that fail, data that is gone, errors nobody knows: retried, halted or raised, and nothing passed over."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from lockside.core.ownership import Term
from lockside.emulators.emulator import Emulator
from lockside.engines.consumer import CheckpointPolicy
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.stream import StreamPlan
from lockside.errors import FaultyPageError, FencedError, SetupError, StoppedError, UndecodableLimitError
from tests.fakes.clock import FakeStop
from tests.fakes.rig import Rig, ref
from tests.fakes.streams import spelled

DOWN = EndpointConnectionError(endpoint_url="http://localhost")


@pytest.fixture
def rig(moto: Emulator) -> Rig:
    """Return an engine over a stream of one open shard, two records a page, a checkpoint after each."""
    made = Rig.on(moto, page_bytes_records=2)
    made.settings = replace(made.settings, checkpoint=CheckpointPolicy(records=1))
    made.streams.add_shard(made.arn, "root")
    return made


def test_edge_13_an_expired_iterator_is_renewed_after_the_last_record(rig: Rig) -> None:
    """Nothing is read twice and nothing is left out."""
    numbers = rig.streams.put(rig.arn, "root", *"abcde")
    rig.recorder.on_record = lambda number: rig.streams.expire_iterators() if number == numbers[1] else None
    rig.streams.fail("get_records", "ExpiredIteratorException")
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    kinds = [call["ShardIteratorType"] for call in rig.streams.asked("get_shard_iterator")]
    assert kinds[:3] == ["TRIM_HORIZON", "TRIM_HORIZON", "AFTER_SEQUENCE_NUMBER"]


def test_at_the_limit_of_what_is_kept_the_pages_before_are_saved(rig: Rig) -> None:
    """They are done with, though no checkpoint was due; of the page that does not fit none is."""
    rig.settings = replace(rig.settings, checkpoint=CheckpointPolicy())
    numbers = rig.streams.put(rig.arn, "root", *"abcde")

    def refuse(number: int) -> None:
        if number == numbers[3]:
            raise UndecodableLimitError("too many are kept", number)

    rig.recorder.on_record = refuse
    with pytest.raises(UndecodableLimitError):
        rig.run_once()
    assert rig.position("root") == numbers[1]
    assert rig.recorder.verbs("root")[-2:] == ["flush", "lease_lost"]


def test_what_came_before_a_faulty_page_is_saved(rig: Rig) -> None:
    """No checkpoint was due, and the shard may stand halted for hours."""
    rig.settings = replace(rig.settings, checkpoint=CheckpointPolicy(interval_seconds=3_600))
    numbers = rig.streams.put(rig.arn, "root", *"abcdef")
    rig.streams.spoil(rig.arn, "root", 3)
    with pytest.raises(FaultyPageError):
        rig.run_once()
    assert rig.position("root") == numbers[1]
    assert rig.recorder.verbs("root")[-2:] == ["flush", "lease_lost"]


def test_an_iterator_that_keeps_expiring_is_not_asked_for_in_a_rush(rig: Rig) -> None:
    """The second expiry in a row is waited after."""
    rig.streams.put(rig.arn, "root", "a")
    rig.streams.fail("get_records", "ExpiredIteratorException", times=4)
    stop = rig.run_once()
    assert [wait for wait in stop.waits if wait > 0][:3] == [0.3, 0.6, 1.2]


@pytest.mark.parametrize("operation", ["get_records", "get_shard_iterator"])
@pytest.mark.parametrize(
    "code", ["ThrottlingException", "LimitExceededException", "InternalServerError", "AccessDeniedException"]
)
def test_edge_19_refused_calls_are_tried_again_ever_more_slowly(rig: Rig, operation: str, code: str) -> None:
    """Each failure in a row doubles the wait, up to a bound."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.streams.fail(operation, code, times=12)
    stop = rig.run_once()
    assert rig.recorder.consumed() == numbers
    backed_off = [wait for wait in stop.waits if wait > 0][:12]
    assert backed_off[:3] == pytest.approx([0.15, 0.3, 0.6])
    assert backed_off[-1] == pytest.approx(15.0)


def test_an_endpoint_that_is_down_is_waited_for(rig: Rig) -> None:
    """Nothing is lost while nobody answers."""
    numbers = rig.streams.put(rig.arn, "root", *"abc")
    rig.streams.fail_with("get_records", *[DOWN] * 5, ReadTimeoutError(endpoint_url="http://localhost"))
    rig.streams.fail_with("describe_stream", DOWN)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_one_shards_trouble_does_not_hold_others_up(rig: Rig) -> None:
    """Back-off is per shard."""
    rig.streams.add_shard(rig.arn, "side")
    rig.streams.put(rig.arn, "root", "a")
    numbers = rig.streams.put(rig.arn, "side", *"abcd")
    # Calls alternate; the first shard to be asked fails twice, the other reads on.
    rig.streams.fail("get_records", "ThrottlingException")
    rig.run_once()
    assert rig.recorder.consumed("side") == numbers
    assert len(rig.recorder.consumed("root")) == 1


def test_edge_14_a_horizon_that_moves_at_the_start_is_followed(rig: Rig) -> None:
    """Between two calls records may be trimmed that nobody was promised."""
    numbers = rig.streams.put(rig.arn, "root", *"abc")
    rig.streams.fail("get_records", "TrimmedDataAccessException", times=2)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_edge_15_a_shard_that_is_not_found_once_is_no_shard_that_ended(rig: Rig) -> None:
    """ResourceNotFound is asked again about: the shard is listed, so it is read on."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.fail("get_records", "ResourceNotFoundException", times=3)
    numbers += rig.streams.put(rig.arn, "root", "b")
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert (rig.position("root"), rig.is_finished("root")) == (numbers[-1], False)
    assert rig.recorder.gaps() == []


def test_edge_15_a_stream_that_is_gone_is_told_of(rig: Rig) -> None:
    """The message names stream and table and what to do; other streams are drained first."""
    other = rig.streams.add_stream("sessions")
    rig.streams.add_shard(other, "side")
    numbers = rig.streams.put(other, "side", "a")
    rig.streams.drop_stream(rig.arn)
    with pytest.raises(SetupError, match=r"stream arn.*locks.*lockside check"):
        rig.run_once(rig.arn, other)
    assert rig.recorder.consumed("side") == numbers


def test_a_refusal_nobody_knows_is_raised_as_it_came(rig: Rig) -> None:
    """A validation error would come again for ever."""
    rig.streams.fail("get_records", "ValidationException")
    with pytest.raises(ClientError, match="ValidationException"):
        rig.run_once()


def test_law_1_an_unknown_error_moves_no_checkpoint(rig: Rig) -> None:
    """It comes out as it was; the shard stays at its last good page, the others checkpoint."""
    rig.streams.add_shard(rig.arn, "side")
    side = rig.streams.put(rig.arn, "side", "a")
    numbers = rig.streams.put(rig.arn, "root", *"abcde")

    def fail(number: int) -> None:
        if number == numbers[3]:
            raise ZeroDivisionError

    rig.recorder.on_record = fail
    with pytest.raises(ZeroDivisionError):
        rig.run_once()
    assert rig.position("root") == numbers[1]
    assert rig.position("side") == side[-1]
    assert rig.recorder.verbs("root")[-1] == "lease_lost"
    rig.recorder.on_record = lambda _number: None
    rig.run_once()
    assert rig.recorder.consumed("root") == numbers


def test_law_4_nothing_is_checkpointed_before_the_flush(rig: Rig) -> None:
    """A flush that fails leaves the checkpoint where it was."""
    rig.streams.put(rig.arn, "root", "a")

    def fail(verb: str, _shard: str) -> None:
        if verb == "flush":
            raise ZeroDivisionError

    rig.recorder.on_verb = fail
    with pytest.raises(ZeroDivisionError):
        rig.run_once()
    assert rig.position("root") is None


def test_a_processor_that_cannot_begin_stops_the_engine(rig: Rig) -> None:
    """An error of `initialize` comes out, and nothing was read."""

    def fail(_verb: str, _shard: str) -> None:
        raise ZeroDivisionError

    rig.recorder.on_verb = fail
    with pytest.raises(ZeroDivisionError):
        rig.run_once()
    assert rig.streams.asked("get_records") == []


def test_a_faulty_page_is_read_again(rig: Rig) -> None:
    """A record without a sequence number may have been spoilt on the way."""
    numbers = rig.streams.put(rig.arn, "root", *"abcd")
    rig.streams.spoil(rig.arn, "root", 3, readings=1)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_a_page_that_stays_faulty_halts_the_shard(rig: Rig) -> None:
    """Nothing on it is passed over, and the checkpoint stays before it."""
    numbers = rig.streams.put(rig.arn, "root", *"abcdef")
    rig.streams.spoil(rig.arn, "root", 3)
    with pytest.raises(FaultyPageError, match=f"root of table locks: .* follows position {numbers[1]}"):
        rig.run_once()
    assert rig.recorder.consumed() == numbers[:2]
    assert rig.position("root") == numbers[1]


def test_a_faulty_record_inside_a_page_counts_too(rig: Rig) -> None:
    """The processor finds it, and what came before it on the page is not consumed."""
    numbers = rig.streams.put(rig.arn, "root", *"abcd")
    rig.streams.spoil(rig.arn, "root", 2)
    with pytest.raises(FaultyPageError):
        rig.run_once()
    assert rig.recorder.consumed() == numbers[:2]


def test_a_fenced_worker_lets_go(rig: Rig) -> None:
    """When another owner has checkpointed, the processor is told and the error comes out."""
    rig.streams.put(rig.arn, "root", "a")
    replace(rig.state, term=Term("", 1)).advance(ref(rig.arn, spelled("root")), 1)
    with pytest.raises(FencedError):
        rig.run_once()
    assert rig.recorder.verbs("root")[-1] == "lease_lost"


def test_a_stop_inside_a_batch_keeps_what_was_acknowledged(rig: Rig) -> None:
    """StoppedError is no failure: the shard is closed with the position before the batch."""
    numbers = rig.streams.put(rig.arn, "root", *"abcd")
    stop = FakeStop(rig.clock)

    def stopped(number: int) -> None:
        if number == numbers[2]:
            stop.set()
            raise StoppedError

    rig.recorder.on_record = stopped
    rig.engine().run_once(stop)
    assert rig.position("root") == numbers[1]
    assert rig.recorder.verbs("root")[-2:] == ["shutdown_requested", "flush"]


class Beats:
    """Counts how often loops say that they turn."""

    def __init__(self) -> None:
        """Start at zero."""
        self.count = 0
        self.forgotten = 0

    def beat_here(self) -> None:
        """Count."""
        self.count += 1

    def forget_here(self) -> None:
        """Count."""
        self.forgotten += 1


def test_waiting_for_a_listing_is_a_sign_of_life(rig: Rig) -> None:
    """The coordinator that nobody answers turns; a restart would not help it."""
    rig.streams.fail_with("describe_stream", *[DOWN] * 9)
    beats = Beats()
    services = replace(rig.services(), loops=beats)
    EmbeddedEngine([StreamPlan("locks", rig.arn)], rig.recorder, services).run_once(FakeStop(rig.clock))
    assert beats.count > 9
    assert beats.forgotten == 1


def test_what_is_not_read_is_told(rig: Rig) -> None:
    """Not yet listed, failing for long, off, halted, gone: whoever asks whether the job is done must hear it."""
    engine = rig.engine()
    assert engine.unread(20) == ["table locks: its stream was not listed yet"]
    rig.streams.put(rig.arn, "root", "a")
    rig.streams.fail_with("get_records", *[DOWN] * 9)
    told: list[list[str]] = []
    stop = FakeStop(rig.clock)
    stop.on_wait = lambda: told.append(engine.unread(20))
    engine.run_once(stop)
    shard = f"table locks, shard {spelled('root')}"
    assert [] in told
    assert any(reasons and reasons[0].startswith(f"{shard}: cannot be read for ") for reasons in told)
    assert engine.unread(20) == []
    rig.streams.set_status(rig.arn, "DISABLED")
    (engine := rig.engine()).run_once(FakeStop(rig.clock))
    assert engine.unread(20) == ["table locks: its stream is switched off"]
    rig.streams.set_status(rig.arn, "ENABLED")
    rig.streams.put(rig.arn, "root", "b")
    rig.streams.spoil(rig.arn, "root", 1)
    with pytest.raises(FaultyPageError):
        (engine := rig.engine()).run_once(FakeStop(rig.clock))
    assert engine.unread(20) == [f"{shard}: halted (FaultyPageError)"]
    rig.streams.drop_stream(rig.arn)
    with pytest.raises(SetupError):
        (engine := rig.engine()).run_once(FakeStop(rig.clock))
    assert engine.unread(20) == ["table locks: its stream is gone"]


@pytest.mark.parametrize("verb", ["initialize", "record"])
def test_a_step_that_does_not_end_is_told(rig: Rig, verb: str) -> None:
    """A page that cannot be consumed, or a shard that cannot be begun, is not read either, whatever holds it up."""
    rig.streams.put(rig.arn, "root", "a")
    engine, told = rig.engine(), []

    def held_up() -> None:
        rig.clock.advance(7_200)
        told.append(engine.unread(300))

    rig.recorder.on_verb = lambda met, _shard: held_up() if met == verb else None
    rig.recorder.on_record = lambda _number: held_up() if verb == "record" else None
    engine.run_once(FakeStop(rig.clock))
    assert told == [[f"table locks, shard {spelled('root')}: cannot be read for 7200 s"]]
    assert engine.unread(300) == []


def test_a_page_that_begins_before_the_position_is_faulty(rig: Rig) -> None:
    """Where the iterator leads behind the position, what stands before it could only be passed over."""
    numbers = rig.streams.put(rig.arn, "root", *"abcd")
    rig.streams.shard(rig.arn, "root").records[2]["dynamodb"]["SequenceNumber"] = str(numbers[0])
    with pytest.raises(FaultyPageError, match=f"root of table locks: .* follows position {numbers[1]}"):
        rig.run_once()
    assert rig.recorder.consumed() == numbers[:2]
    assert rig.position("root") == numbers[1]
