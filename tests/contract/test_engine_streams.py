"""A table whose stream is switched off, on again, or goes with its table: the old one first, and nothing twice."""

import threading
from dataclasses import replace

import pytest

from lockside.core.ownership import Term
from lockside.emulators.emulator import Emulator
from lockside.engines.embedded.engine import EmbeddedEngine
from lockside.engines.stream import StreamPlan
from lockside.errors import SetupError
from lockside.state.ownership import owner_key
from lockside.state.streams import KnownStream
from tests.contract.test_engine_threads import AT_ONCE, engine
from tests.fakes.clock import FakeStop
from tests.fakes.rig import Rig

DAY = 24 * 3_600.0


@pytest.fixture
def rig(moto: Emulator) -> Rig:
    """Return an engine that follows its table, whose stream has one open shard."""
    made = Rig.on(moto, page_bytes_records=2)
    made.follow = True
    made.streams.add_shard(made.arn, "root")
    return made


def switch_off(rig: Rig) -> None:
    """Switch the table's stream off: its leaves close, and stay readable."""
    rig.streams.model.disable("locks", rig.clock.now().wall_ms)


def switch_on(rig: Rig, *keys: str) -> tuple[str, list[int]]:
    """Switch the stream on again; return the new ARN and the sequence numbers of its first changes."""
    rig.clock.advance(1)
    arn = rig.streams.model.add_stream("locks", rig.clock.now().wall_ms).arn
    rig.streams.add_shard(arn, "fresh")
    return arn, rig.streams.put(arn, "fresh", *keys)


def known(rig: Rig) -> tuple[KnownStream, ...]:
    """Return what is remembered of the table's streams."""
    return rig.tables().known(rig.arn)


def test_edge_26_the_old_stream_is_drained_before_the_new_one(rig: Rig) -> None:
    """Switched off and on while a worker runs: the old one's last change comes first, then all of the new one."""
    first = rig.streams.put(rig.arn, "root", "a")
    second: list[int] = []

    def replace_it(_number: int) -> None:
        if not second:
            first.extend(rig.streams.put(rig.arn, "root", "b", "c", "d"))
            switch_off(rig)
            second.extend(switch_on(rig, "e", "f")[1])

    rig.recorder.on_record = replace_it
    rig.run_once()
    assert rig.recorder.consumed() == first + second
    old, new = known(rig)
    assert (old.arn, old.drained, old.follows) == (rig.arn, True, False)
    assert (new.drained, new.follows) == (False, True)


def test_edge_26_a_restart_in_between_goes_on_with_the_old_stream(rig: Rig) -> None:
    """The table names only the new stream; what is remembered names both."""
    first = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    first += rig.streams.put(rig.arn, "root", "b")
    switch_off(rig)
    new, second = switch_on(rig, "c")
    rig.run_once(new)
    assert rig.recorder.consumed() == first + second
    assert rig.is_finished("root")


def test_a_restart_after_the_old_stream_is_drained_reads_the_new_one_only(rig: Rig) -> None:
    """What is drained is not read again, nor waited for when it is gone."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    switch_off(rig)
    new, _ = switch_on(rig, "b")
    rig.run_once(new)
    rig.streams.drop_stream(rig.arn)
    rig.recorder.log.clear()
    third = rig.streams.put(new, "fresh", "c")
    rig.run_once(new)
    assert rig.recorder.consumed() == third
    assert [name for name, _ in rig.recorder.initialized()] == ["fresh"]


def state_rows(rig: Rig, arn: str) -> list[tuple[str, str]]:
    """List the rows of the state table that tell of a stream: its own, its start and its shards' checkpoints."""
    items = rig.state.client.scan(TableName=rig.state.table, ConsistentRead=True)["Items"]
    keys = sorted((str(item["pk"]["S"]), str(item["sk"]["S"])) for item in items)
    return [(pk, sk) for pk, sk in keys if arn in pk or arn in sk]


def newest(rig: Rig) -> str:
    """Return the ARN of the table's newest stream."""
    return rig.streams.model.latest["locks"]


def own(rig: Rig, term: Term) -> None:
    """Let the next workers be those of a term."""
    rig.state.client.put_item(
        TableName=rig.state.table, Item={**owner_key(term.application), "epoch": {"N": str(term.epoch)}}
    )
    rig.state = replace(rig.state, term=term)


def test_a_drained_stream_is_forgotten_when_its_day_is_over(rig: Rig) -> None:
    """Its shards' rows, its start and its own; not before, and never the newest, which goes on as it was."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    switch_off(rig)
    new, _ = switch_on(rig, "b")
    rig.run_once(new)
    rig.clock.advance(0.9 * DAY)
    rig.run_once(new)
    assert [stream.drained for stream in known(rig)] == [True, False]
    assert rig.is_finished("root")
    rig.clock.advance(0.2 * DAY)
    rig.recorder.log.clear()
    more = rig.streams.put(new, "fresh", "c")
    rig.run_once(new)
    assert known(rig) == (KnownStream(new, drained=False, follows=True),)
    assert state_rows(rig, rig.arn) == []
    assert rig.recorder.consumed() == more
    rig.run_once(new)
    assert rig.recorder.consumed() == more, "the old one is not found anew, though it may still be listed"


def test_a_later_owner_forgets_what_an_earlier_one_drained(rig: Rig) -> None:
    """The rows bear the epoch of who read them; whoever removes them has claimed them."""
    own(rig, Term("app", 1))
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    switch_off(rig)
    new, _ = switch_on(rig, "b")
    rig.run_once(new)
    rig.clock.advance(2 * DAY)
    own(rig, Term("app", 2))
    rig.run_once(new)
    assert state_rows(rig, rig.arn) == []


def test_streams_that_come_and_go_leave_a_bounded_number_of_rows(rig: Rig) -> None:
    """Switched off and on each day, for weeks."""
    counts: list[int] = []
    for number in range(12):
        rig.streams.put(newest(rig), "root" if number == 0 else "fresh", f"k{number}")
        rig.run_once(newest(rig))
        switch_off(rig)
        switch_on(rig)
        rig.clock.advance(DAY)
        rig.run_once(newest(rig))
        counts.append(len(state_rows(rig, "table/locks")))
    assert max(counts) <= 9
    assert counts[-1] <= max(counts[:4])


def test_the_new_stream_of_a_table_begun_at_latest_is_read_from_its_beginning(rig: Rig) -> None:
    """LATEST was where the table began; since then nothing may be left out, also across restarts."""
    rig.start = "LATEST"
    rig.streams.put(rig.arn, "root", "before")
    rig.clock.advance(60)
    rig.run_once()
    switch_off(rig)
    new, second = switch_on(rig, "a")
    rig.clock.advance(60)
    rig.run_once(new)
    assert rig.recorder.consumed() == second
    rig.recorder.log.clear()
    third = rig.streams.put(new, "fresh", "b")
    rig.clock.advance(3_600)
    rig.run_once(new)
    assert rig.recorder.consumed() == third


def test_the_new_stream_begins_at_its_beginning_when_nothing_was_read_of_it_before_a_restart(rig: Rig) -> None:
    """It is remembered that it took another's place, before anything else is."""
    rig.start = "LATEST"
    rig.run_once()
    switch_off(rig)
    new, second = switch_on(rig, "a")
    rig.tables().found(new, follows=True)
    rig.clock.advance(3_600)
    rig.run_once(new)
    assert rig.recorder.consumed() == second


def test_edge_26_an_old_stream_that_is_gone_is_a_gap_in_its_shards(rig: Rig) -> None:
    """A worker that was down for more than a day: the rest of the old stream is lost, the new one is read."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.put(rig.arn, "root", "lost")
    switch_off(rig)
    new, second = switch_on(rig, "b")
    rig.clock.advance(2 * DAY)
    rig.streams.drop_stream(rig.arn)
    rig.run_once(new)
    assert [(gap.loss, gap.after, gap.until) for gap in rig.recorder.gaps("root")] == [("aged_out", numbers[0], None)]
    assert rig.recorder.consumed("fresh") == second
    assert [stream.drained for stream in known(rig)] == [True, False]


def test_a_stream_that_is_off_is_waited_for(rig: Rig) -> None:
    """Drained, the engine goes on asking the table, says that its stream is off, and reads the new one at once."""
    rig.settings = AT_ONCE
    numbers = rig.streams.put(rig.arn, "root", "a")
    switch_off(rig)
    stop = threading.Event()
    running = engine(rig, tables=rig.tables())
    second: list[int] = []
    seen: list[list[str]] = []

    def on_verb(verb: str, shard: str) -> None:
        if verb == "flush" and shard == "fresh":
            stop.set()

    def switched(number: int) -> None:
        if number in second:
            stop.set()

    rig.recorder.on_verb, rig.recorder.on_record = on_verb, switched
    thread = threading.Thread(target=running.run, args=(stop,))
    thread.start()
    while not rig.is_finished("root"):
        stop.wait(0.005)
    while not running.unread(60):
        stop.wait(0.005)
    seen.append(running.unread(60))
    second.extend(switch_on(rig, "b")[1])
    thread.join(20)
    assert not thread.is_alive()
    assert seen == [["table locks: its stream is switched off"]]
    assert rig.recorder.consumed() == numbers + second


def test_edge_15_a_table_that_is_deleted_is_drained_and_told(rig: Rig) -> None:
    """Its stream stays readable for a day (API reference, DeleteTable): nothing is lost."""
    rig.settings = AT_ONCE
    numbers = rig.streams.put(rig.arn, "root", "a", "b", "c")
    switch_off(rig)
    rig.streams.model.latest.pop("locks")
    with pytest.raises(SetupError, match=r'table "locks" was deleted'):
        engine(rig, tables=rig.tables()).run(threading.Event())
    assert rig.recorder.consumed() == numbers
    assert rig.is_finished("root")
    assert rig.recorder.gaps() == []


def test_edge_15_a_table_that_vanished_with_its_stream_is_told(rig: Rig) -> None:
    """As emulators do it: what was caught up with just now lost nothing, and the worker ends with a clear message."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    rig.streams.model.delete_table("locks")
    with pytest.raises(SetupError, match=r'table "locks" was deleted'):
        rig.engine().run_once(FakeStop(rig.clock))
    assert rig.recorder.gaps() == []
    assert rig.is_finished("root")


def test_a_stream_that_cannot_be_found_though_the_table_names_it_is_asked_for_again(rig: Rig) -> None:
    """It was just switched on, or an answer was wrong: no shard is given up for that."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.streams.fail("describe_stream", "ResourceNotFoundException", times=1)
    stop = FakeStop(rig.clock)
    with pytest.raises(SetupError, match="not found"):
        rig.engine().run_once(stop)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_a_new_stream_without_images_is_not_read(rig: Rig) -> None:
    """Its view type cannot tell what changed; the engine says so and goes on asking."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    switch_off(rig)
    arn, _ = switch_on(rig, "b")
    rig.streams.model.streams[arn].view_type = "KEYS_ONLY"
    rig.run_once()
    assert rig.recorder.consumed() == numbers
    assert len(known(rig)) == 1


def test_one_tables_end_does_not_stop_the_others(rig: Rig) -> None:
    """A deleted table is told of at the end; the other one is drained."""
    other = rig.streams.add_stream("sessions")
    rig.streams.add_shard(other, "side")
    numbers = rig.streams.put(other, "side", "a", "b")
    rig.streams.model.delete_table("locks")
    with pytest.raises(SetupError, match="locks"):
        rig.engine(rig.arn, other).run_once(FakeStop(rig.clock))
    assert rig.recorder.consumed("side") == numbers


def test_a_table_that_cannot_be_described_is_asked_again(rig: Rig) -> None:
    """A throttled DescribeTable holds nothing up."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.streams.fail("describe_table", "ThrottlingException", times=5)
    rig.run_once()
    assert rig.recorder.consumed() == numbers


def test_streams_that_came_and_went_before_anyone_looked_are_drained_too(rig: Rig) -> None:
    """Switched off and on twice while the worker was down: the table names only the last one."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    for key in "bc":
        switch_off(rig)
        newest, more = switch_on(rig, key)
        numbers += more
    rig.run_once(newest)
    assert rig.recorder.consumed() == numbers
    assert [stream.drained for stream in known(rig)] == [True, True, False]


def test_a_child_that_shows_up_late_in_a_stream_that_is_off_is_not_left_behind(rig: Rig) -> None:
    """The old stream counts as drained only after a while in which nothing new showed up."""
    numbers = rig.streams.put(rig.arn, "root", "a")
    rig.streams.close(rig.arn, "root")
    rig.streams.add_shard(rig.arn, "late", "root")
    rig.streams.shard(rig.arn, "late").hidden_until_ms = rig.clock.now().wall_ms + 20_000
    numbers += rig.streams.put(rig.arn, "late", "b")
    switch_off(rig)
    new, more = switch_on(rig, "c")
    rig.tables().found(rig.arn, follows=False)
    rig.run_once(new)
    assert rig.recorder.consumed() == numbers + more


def test_streams_of_a_table_keep_their_own_checkpoints(rig: Rig) -> None:
    """Shard ids may repeat across streams: state is keyed by the ARN."""
    rig.streams.put(rig.arn, "root", "a")
    rig.run_once()
    switch_off(rig)
    rig.clock.advance(1)
    new = rig.streams.model.add_stream("locks", rig.clock.now().wall_ms).arn
    rig.streams.add_shard(new, "root")
    numbers = rig.streams.put(new, "root", "b")
    plan = StreamPlan("locks", new, precision_ms=1_000)
    EmbeddedEngine([plan], rig.recorder, replace(rig.services())).run_once(FakeStop(rig.clock))
    assert rig.recorder.consumed()[-1:] == numbers
    assert rig.is_finished("root")
    found = rig.checkpoint("root", new)
    assert found is not None
    assert (found.position, found.finished) == (numbers[-1], False)
