"""The stores against models: whatever is done in whatever order, with answers lost and clocks moved."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from lockside.errors import (
    LockLostError,
    OutcomeUnknownError,
    SessionLimitError,
    VersionError,
)
from lockside.stores import Lock, LockClient, phrase_value
from lockside.stores.placement import jump, shard_of
from tests.fakes.faults import FaultyClient, lost_answer, throttled
from tests.fakes.store_desk import StoreDesk, make_desk

KEYS = st.sampled_from(["a", "b", "ab", "\uffff", "\U0001f600", "é", "b\0"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAMES = st.sampled_from(["one", "two"])
OWNERS = st.sampled_from(["a", "b", "c"])
LEASE_SECONDS = 10.0
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def fits(number: Decimal) -> bool:
    """Whether DynamoDB holds a number. Its digits are counted as they stand: `normalize` would round to 28."""
    return len(number.as_tuple().digits) <= 38 and -130 <= (number.adjusted() if number else 0) <= 125


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False).filter(fits)


def no_emulator(_kind: str) -> Any:
    """Stand for emulators that these tests do not need."""
    raise AssertionError("in memory only")


def memory() -> StoreDesk:
    """Return empty tables in memory."""
    return make_desk("memory", no_emulator, page_items=3)


@given(JSON | st.binary(max_size=40) | DECIMALS)
def test_every_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    """What is encoded is decoded as it was."""
    attributes, _ = phrase_value.encode(value, 0)
    found = phrase_value.decode(attributes)
    assert type(found) is type(value)
    assert repr(found) == repr(value) or (isinstance(value, Decimal) and found == value)


@given(st.integers(0, (1 << 64) - 1), st.integers(1, 64), st.integers(1, 64))
def test_more_shards_move_phrases_to_new_ones_only(number: int, fewer: int, more: int) -> None:
    """A phrase stays or goes to a shard that was not there before."""
    fewer, more = sorted((fewer, more))
    before, after = jump(number, fewer), jump(number, more)
    assert after == before or fewer <= after < more


@given(st.lists(TEXT, min_size=2, max_size=20))
def test_code_point_order_is_the_order_of_utf8(keys: list[str]) -> None:
    """Which is how DynamoDB sorts text."""
    assert sorted(keys) == sorted(keys, key=str.encode)


def test_shards_are_picked_alike_for_ever() -> None:
    """Another hash would lose every phrase there is: these are golden."""
    assert [shard_of("orders/", f"key-{number}", 8) for number in range(12)] == GOLDEN


GOLDEN = [2, 2, 5, 1, 5, 5, 1, 3, 1, 1, 4, 5]


class PhraseMachine(RuleBasedStateMachine):
    """One prefix against a dictionary, with shards raised in between."""

    def __init__(self) -> None:
        """Begin empty, on two shards."""
        super().__init__()
        self.desk = memory()
        self.faulty = FaultyClient(self.desk.client)
        self.phrases = self.desk.phrase_store(self.faulty.client, shards=2).prefix("p/")
        self.model: dict[str, tuple[Any, str]] = {}
        self.shards = 2

    @rule(key=KEYS, value=JSON)
    def write(self, key: str, value: Any) -> None:
        """Write over anything."""
        self.model[key] = (value, self.phrases.write(key, value))

    @rule(key=KEYS, value=st.integers(), right=st.booleans(), lost=st.booleans())
    def write_if(self, key: str, value: int, right: bool, lost: bool) -> None:  # noqa: FBT001 - drawn
        """Write over the version that is there, or over another; the answer may be lost."""
        there = self.model.get(key, (None, ""))[1]
        if lost:
            self.faulty.fail("put_item", lost_answer, throttled)
        try:
            version = self.phrases.write(key, value, if_version=there if right else "no such version")
        except VersionError:
            assert not right
        except OutcomeUnknownError:
            # A refusal whose answer was lost looks like one that came after our own success.
            assert lost
            assert not right
        else:
            assert right
            self.model[key] = (value, version)
        self.faulty._queued.clear()

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """Delete, there or not."""
        self.phrases.delete(key)
        self.model.pop(key, None)

    @rule(values=st.dictionaries(KEYS, JSON, max_size=6))
    def update(self, values: dict[str, Any]) -> None:
        """Write many."""
        versions = self.phrases.update(values)
        self.model |= {key: (value, versions[key]) for key, value in values.items()}

    @rule(more=st.integers(1, 3))
    def raise_shards(self, more: int) -> None:
        """Spread further."""
        self.shards += more
        self.desk.phrase_store_as_it_is().raise_shards(self.shards)
        self.desk.machine.advance(11)

    @rule(start=st.none() | KEYS, end=st.none() | KEYS, reverse=st.booleans(), limit=st.none() | st.integers(0, 5))
    def scan(self, start: str | None, end: str | None, reverse: bool, limit: int | None) -> None:  # noqa: FBT001 - drawn
        """Scan any part."""
        inside = [k for k in sorted(self.model) if (start is None or k >= start) and (end is None or k < end)]
        want = inside[::-1] if reverse else inside
        found = [
            (each.key, each.value, each.version) for each in self.phrases.phrases(start, end, limit, reverse=reverse)
        ]
        assert found == [(key, *self.model[key]) for key in want[:limit]]

    @invariant()
    def all_is_as_it_was_written(self) -> None:
        """Every reading agrees with the model."""
        for key in ("a", "\uffff"):
            found = self.phrases.read(key)
            assert (None if found is None else (found.value, found.version)) == self.model.get(key)
        assert self.phrases.count() == len(self.model)


class LockMachine(RuleBasedStateMachine):
    """Three clients over two locks: at no moment are two sure of one lock, and every fence is larger than the last."""

    held = Bundle("held")

    def __init__(self) -> None:
        """Begin with everything free."""
        super().__init__()
        self.desk = memory()
        self.faulty = {owner: FaultyClient(self.desk.client) for owner in ("a", "b", "c")}
        self.clients: dict[str, LockClient] = {
            owner: self.desk.lock_client(owner, client.client, lease=LEASE_SECONDS, keep_released=owner == "b")
            for owner, client in self.faulty.items()
        }
        self.locks: list[Lock] = []
        self.fences: dict[str, int] = {}

    @rule(target=held, owner=OWNERS, name=NAMES, lost=st.booleans())
    def take(self, owner: str, name: str, lost: bool) -> Any:  # noqa: FBT001 - drawn
        """Try a lock; the answer may be lost."""
        if any(lock.name == name and lock.owner == owner and not lock._state.ended for lock in self.locks):
            return multiple()
        if lost:
            self.faulty[owner].fail("transact_write_items", lost_answer)
        lock = self.clients[owner].try_lock(name)
        self.faulty[owner]._queued.clear()
        if lock is None:
            return multiple()
        assert lock.fence > self.fences.get(name, 0)
        self.fences[name] = lock.fence
        self.locks.append(lock)
        return lock

    @rule(lock=consumes(held), lost=st.booleans())
    def release(self, lock: Lock, lost: bool) -> None:  # noqa: FBT001 - drawn
        """Give one back; the answer may be lost."""
        if lost:
            self.faulty[lock.owner].fail("delete_item", lost_answer)
        lock.release()
        self.faulty[lock.owner]._queued.clear()

    @rule(lock=held, lost=st.booleans())
    def beat(self, lock: Lock, lost: bool) -> None:  # noqa: FBT001 - drawn
        """Send one heartbeat."""
        if lost:
            self.faulty[lock.owner].fail("update_item", lost_answer)
        lock.beat()
        self.faulty[lock.owner]._queued.clear()

    @rule(seconds=st.floats(0.1, 12))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.desk.machine.advance(seconds)

    @rule(owner=OWNERS)
    def watch(self, owner: str) -> None:
        """Let a client look at its clock."""
        self.clients[owner].keeper.watch_turn()

    @rule(seconds=st.floats(-10_000, 10_000))
    def step(self, seconds: float) -> None:
        """Set the wall clock."""
        self.desk.machine.step_wall(seconds)

    @rule(lock=held)
    def write_fenced(self, lock: Lock) -> None:
        """A check holds for nobody but the last holder."""
        try:
            item: Any = lock.check()
        except LockLostError:
            return
        self.desk.client.transact_write_items(TransactItems=[item])
        assert lock.fence == self.fences[lock.name]

    @invariant()
    def never_two(self) -> None:
        """One holder at most is sure of a lock."""
        for name in ("one", "two"):
            assert len([lock for lock in self.locks if lock.name == name and lock.held]) <= 1


class SessionMachine(RuleBasedStateMachine):
    """One user's sessions against a list of at most two."""

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        """Begin without any."""
        super().__init__()
        self.desk = memory()
        self.store = self.desk.session_store(self.desk.lock_client("web"), max_sessions_per_user=2)
        self.alive: dict[str, int] = {}

    @property
    def now(self) -> int:
        """The wall clock in seconds."""
        return self.desk.machine.wall_ms() // 1000

    @rule(target=tokens, ttl=st.integers(1, 50))
    def login(self, ttl: int) -> Any:
        """Log in, if there is room."""
        room = len([1 for until in self.alive.values() if until > self.now]) < 2
        try:
            token = self.store.login("alice", ttl=ttl)
        except SessionLimitError:
            assert not room
            return multiple()
        assert room
        self.alive[token] = self.now + ttl
        return token

    @rule(target=tokens, token=consumes(tokens))
    def rotate(self, token: str) -> Any:
        """Go on under a new token."""
        fresh = self.store.rotate(token)
        until = self.alive.pop(token, 0)
        assert (fresh is not None) == (until > self.now)
        if fresh is None:
            return multiple()
        self.alive[fresh] = until
        return fresh

    @rule(token=consumes(tokens))
    def logout(self, token: str) -> None:
        """End one."""
        assert self.store.logout(token) == (self.alive.pop(token, 0) > self.now)

    @rule()
    def everywhere(self) -> None:
        """End all."""
        live = len([1 for until in self.alive.values() if until > self.now])
        assert self.store.logout_everywhere("alice") == live
        self.alive.clear()

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.desk.machine.advance(seconds)

    @invariant()
    def what_lives_is_told(self) -> None:
        """By token and by user, the same sessions."""
        live = {token for token, until in self.alive.items() if until > self.now}
        assert {token for token in self.alive if self.store.read(token)} == live
        assert len(self.store.sessions_of("alice")) == len(live)


STEPS = settings(stateful_step_count=20)
"""Short runs: what goes wrong does so within a few steps, and there are many."""

TestPhrases = PhraseMachine.TestCase
TestPhrases.settings = STEPS
TestLocks = LockMachine.TestCase
TestLocks.settings = STEPS
TestSessions = SessionMachine.TestCase
TestSessions.settings = STEPS
