"""Login sessions: how many a user has is decided once, a token opens one session, and nothing is half made."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from lockside.emulators.emulator import Emulator
from lockside.errors import (
    LimitError,
    LockLostError,
    LockTakenError,
    OutcomeUnknownError,
    SessionLimitError,
    SetupError,
)
from lockside.stores import LockClient, SessionStore, session_row
from tests.fakes.faults import FaultyClient, lost_answer, lost_request, throttled
from tests.fakes.store_desk import ATOMIC, BACKENDS, KEY, StoreDesk, make_desk


@pytest.fixture(params=ATOMIC)
def crowded(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return empty tables of each kind that many threads may use at once."""
    return make_desk(request.param, emulator_of, page_items=100)


@pytest.fixture(params=BACKENDS)
def desk(request: pytest.FixtureRequest, emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return empty tables of each kind."""
    return make_desk(request.param, emulator_of, page_items=100)


def store_of(desk: StoreDesk, client: Any = None, **options: Any) -> SessionStore:
    """Return a store with a lock client of its own."""
    return desk.session_store(desk.lock_client(f"worker-{desk.machine.version()}"), client, **options)


def stored(desk: StoreDesk) -> str:
    """Return all that the tables hold, as one text."""
    rows = desk.client.scan(TableName=desk.sessions, ConsistentRead=True)["Items"]
    return str([*rows, *desk.client.scan(TableName=desk.locks, ConsistentRead=True)["Items"]])


def crowd(desk: StoreDesk, user: str, number: int) -> None:
    """Give a user many sessions at once, as so many logins would leave them."""
    ids = [session_row.session_id(KEY, f"{user}-{each}") for each in range(number)]
    life, now_s = session_row.lifetime(1_000, None), desk.machine.wall_ms() // 1_000
    rows = [session_row.item_of(identity, user, life, now_s, "{}") for identity in ids]
    for at in range(0, number, 25):
        actions: Any = [{"PutRequest": {"Item": row}} for row in rows[at : at + 25]]
        desk.client.batch_write_item(RequestItems={desk.sessions: actions})
    names = {session_row.LISTED + identity: {"N": str(now_s)} for identity in ids}
    desk.client.put_item(TableName=desk.sessions, Item={**session_row.user_key(user), **names})


def test_a_session_from_login_to_logout(desk: StoreDesk) -> None:
    """Its token opens it, and stands nowhere."""
    store = store_of(desk)
    token = store.login("alice", ttl=100, idle_ttl=40, attributes={"role": "admin"})
    session = store.read(token)
    assert session is not None
    assert (session.user, session.attributes, session.idle_seconds) == ("alice", {"role": "admin"}, 40)
    assert session.until - session.created == 100
    assert session.expires - session.created == 40
    assert store.sessions_of("alice") == [session]
    assert token not in stored(desk)
    assert "admin" not in repr(session)
    assert store.logout(token)
    assert store.read(token) is None
    assert not store.logout(token)
    assert store.sessions_of("alice") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:0],
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token.swapcase(),
        lambda token: "\ud800" + token,
        lambda token: token + "\0",
        lambda token: token * 250,
    ],
)
def test_a_tampered_token_is_no_session(desk: StoreDesk, change: Callable[[str], str]) -> None:
    """It costs what a real one costs: one hash, one read; every call takes it as no session."""
    watched = FaultyClient(desk.client)
    store = store_of(desk, watched.client)
    token = store.login("alice")
    watched.calls.clear()
    assert store.read(change(token)) is None
    assert watched.calls == ["get_item"]
    bad = change(token)
    assert (store.touch(bad), store.write(bad, {}), store.rotate(bad), store.logout(bad)) == (None, False, None, False)


def test_a_session_ends_at_its_deadlines(desk: StoreDesk) -> None:
    """Touches move the idle one, up to the absolute one; a small move is not written."""
    watched = FaultyClient(desk.client)
    store = store_of(desk, watched.client)
    token = store.login("alice", ttl=100, idle_ttl=40)
    watched.calls.clear()
    assert store.touch(token) is not None
    assert "update_item" not in watched.calls
    for _ in range(3):
        desk.machine.advance(30)
        touched = store.touch(token)
        assert touched is not None
        assert store.read(token) == touched
        last = touched
    assert last.expires == last.until
    desk.machine.advance(10)
    assert store.read(token) is None
    assert store.touch(token) is None
    idle = store.login("alice", ttl=100, idle_ttl=40)
    desk.machine.advance(41)
    assert store.read(idle) is None
    assert store.sessions_of("alice") == []


def test_attributes_are_replaced_whole(desk: StoreDesk) -> None:
    """What cannot be kept is refused."""
    store = store_of(desk)
    token = store.login("alice", attributes={"a": 1})
    assert store.write(token, {"b": [1, "é"]})
    session = store.read(token)
    assert session is not None
    assert session.attributes == {"b": [1, "é"]}
    with pytest.raises(LimitError, match="attributes of 400008 bytes"):
        store.write(token, {"x": "y" * 400_000})
    with pytest.raises(LimitError, match="holds a set"):
        store.login("alice", attributes={"x": set()})  # type: ignore[dict-item]


def test_rotation_ends_the_old_token(desk: StoreDesk) -> None:
    """One transaction: at no time are both alive, nor neither."""
    store = store_of(desk, max_sessions_per_user=1)
    first = store.login("alice", attributes={"a": 1})
    before = store.read(first)
    second = store.rotate(first)
    assert second is not None
    assert before is not None
    after = store.read(second)
    assert after is not None
    assert store.read(first) is None
    assert (after.attributes, after.until, after.created) == (before.attributes, before.until, before.created)
    assert [each.id for each in store.sessions_of("alice")] == [after.id]
    third = store.rotate(second, attributes={"a": 2})
    assert third is not None
    found = store.read(third)
    assert found is not None
    assert found.attributes == {"a": 2}
    assert store.rotate(first) is None


def test_a_write_during_a_rotation_is_not_lost(desk: StoreDesk) -> None:
    """The rotation begins anew with what was written."""
    slow = FaultyClient(desk.client)
    store = store_of(desk, slow.client)
    token = store.login("alice", attributes={"a": 1})

    def written(_operation: str, call: Callable[[], Any]) -> Any:
        store.write(token, {"a": 2})
        return call()

    slow.fail("transact_write_items", written)
    rotated = store.rotate(token)
    assert rotated is not None
    found = store.read(rotated)
    assert found is not None
    assert found.attributes == {"a": 2}
    assert len(store.sessions_of("alice")) == 1


def test_refuse_keeps_the_sessions_that_are(desk: StoreDesk) -> None:
    """The message says how many there may be; an ended or a lapsed one makes room."""
    store = store_of(desk, max_sessions_per_user=2)
    first, second = store.login("alice", ttl=50), store.login("alice")
    with pytest.raises(SessionLimitError, match='user "alice": has 2 of 2 sessions; log one out'):
        store.login("alice")
    assert store.read(first)
    store.login("bob")
    store.logout(second)
    third = store.login("alice")
    desk.machine.advance(51)
    store.login("alice")
    assert store.read(first) is None
    assert store.read(third)
    assert len(store.sessions_of("alice")) == 2


def test_evict_ends_the_oldest(desk: StoreDesk) -> None:
    """In the transaction that begins the new one."""
    store = store_of(desk, max_sessions_per_user=2, policy="evict")
    tokens = []
    for _ in range(4):
        tokens.append(store.login("alice"))
        desk.machine.advance(1)
    assert [store.read(token) is not None for token in tokens] == [False, False, True, True]
    fewer = store_of(desk, max_sessions_per_user=1, policy="evict")
    token = fewer.login("alice")
    assert [each.id for each in fewer.sessions_of("alice")] == [fewer.read(token).id]  # type: ignore[union-attr]


def test_hundreds_of_sessions_are_evicted_and_logged_out(desk: StoreDesk) -> None:
    """More than one transaction can hold."""
    crowd(desk, "alice", 205)
    few = store_of(desk, max_sessions_per_user=3, policy="evict")
    token = few.login("alice")
    assert few.read(token)
    assert len(few.sessions_of("alice")) == 3
    crowd(desk, "bob", 205)
    assert few.logout_everywhere("bob") == 205
    assert few.sessions_of("bob") == []
    assert few.logout_everywhere("bob") == 0
    assert stored(desk).count("'user'") == 3


def test_a_visitor_becomes_a_user(desk: StoreDesk) -> None:
    """A login may replace the session from before, whoever's it was; its token is another."""
    store = store_of(desk, max_sessions_per_user=1)
    visitor = store.start(attributes={"cart": [1]})
    session = store.read(visitor)
    assert session is not None
    assert session.user is None
    first = store.login("alice", replacing=visitor)
    assert store.read(visitor) is None
    second = store.login("alice", replacing=first)
    assert store.read(first) is None
    third = store.login("bob", replacing=second)
    assert (store.read(second), store.sessions_of("alice")) == (None, [])
    assert store.read(third)
    lonely = store.start()
    rotated = store.rotate(lonely)
    assert rotated is not None
    assert store.logout(rotated)


def test_a_login_that_was_overtaken_is_refused(desk: StoreDesk) -> None:
    """It held the lock in good faith; the user's row carries a later fence, or the lock's row another owner."""
    slow = FaultyClient(desk.client)
    store, other = store_of(desk, slow.client, max_sessions_per_user=1), store_of(desk, max_sessions_per_user=1)

    def overtaken(_operation: str, call: Callable[[], Any]) -> Any:
        desk.drop("session:alice")
        other.login("alice")
        return call()

    slow.fail("transact_write_items", overtaken)
    with pytest.raises(LockLostError, match="overtook this one; nothing was written"):
        store.login("alice")
    assert len(store.sessions_of("alice")) == 1
    slow.fail("update_item", overtaken)
    with pytest.raises(SessionLimitError):
        store.login("alice")
    other.logout_everywhere("alice")
    slow.fail("update_item", overtaken)
    with pytest.raises(LockLostError):
        store.login("alice")
    assert len(store.sessions_of("alice")) == 1


def test_logout_everywhere_refuses_a_login_under_way(desk: StoreDesk) -> None:
    """Who changed a password can rely on it."""
    slow = FaultyClient(desk.client)
    store = store_of(desk, slow.client)

    def everywhere(_operation: str, call: Callable[[], Any]) -> Any:
        desk.drop("session:alice")
        store_of(desk).logout_everywhere("alice")
        return call()

    slow.fail("transact_write_items", everywhere)
    with pytest.raises(LockLostError):
        store.login("alice")
    assert store.sessions_of("alice") == []


def test_a_lost_answer_makes_no_second_session(desk: StoreDesk) -> None:
    """The transaction is asked for again and done once; or its session shows that it was done."""
    lossy = FaultyClient(desk.client)
    store = store_of(desk, lossy.client, max_sessions_per_user=1)
    lossy.fail("transact_write_items", lost_answer, throttled, lost_answer)
    token = store.login("alice")
    assert store.read(token)
    assert len(store.sessions_of("alice")) == 1
    lossy.fail("update_item", lost_answer)
    desk.machine.advance(1)
    assert store.write(token, {"a": 1})


def test_a_login_that_nobody_answers_leaves_nothing_half_made(desk: StoreDesk) -> None:
    """It is told as unknown; the user's row and the session's agree."""
    lossy = FaultyClient(desk.client)
    store = store_of(desk, lossy.client)
    lossy.always["transact_write_items"] = lost_request
    with pytest.raises(OutcomeUnknownError, match="its rows do not tell"):
        store.login("alice")
    del lossy.always["transact_write_items"]
    assert store.sessions_of("alice") == []
    store.login("alice")


def test_a_hundred_logins_at_once_leave_one_session(crowded: StoreDesk) -> None:
    """Five processes' worth of clients, one user, one session allowed: one wins, whichever policy."""
    locks = [LockClient(crowded.client, crowded.locks, owner=f"host-{number}") for number in range(5)]
    stores = [SessionStore(crowded.client, crowded.sessions, each, key=KEY, max_sessions_per_user=1) for each in locks]
    won: list[str] = []
    refused: list[str] = []

    def login(store: SessionStore) -> None:
        try:
            won.append(store.login("alice", wait=100))
        except SessionLimitError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=login, args=(stores[number % 5],)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in locks:
        each.close()
    assert (len(won), len(refused)) == (1, 99)
    assert [each.id for each in stores[0].sessions_of("alice")] == [stores[0].read(won[0]).id]  # type: ignore[union-attr]


def test_a_login_waits_for_another_and_gives_up(desk: StoreDesk) -> None:
    """A user whose lock is held elsewhere."""
    desk.lock_client("elsewhere").acquire("session:alice", lease=1_000)
    with pytest.raises(LockTakenError, match='held by "elsewhere" for all of the 5 s'):
        store_of(desk).login("alice", wait=5)


def test_keys_may_be_renewed(desk: StoreDesk) -> None:
    """Sessions under an old key are found until they end; a rotation moves them to the new one."""
    token = store_of(desk).login("alice")
    locks = desk.lock_client("b")
    fresh = SessionStore(desk.client, desk.sessions, locks, key=b"n" * 32, old_keys=[KEY], machine=desk.machine)
    assert fresh.read(token)
    rotated = fresh.rotate(token)
    assert rotated is not None
    assert SessionStore(desk.client, desk.sessions, locks, key=b"n" * 32, machine=desk.machine).read(rotated)


def test_what_cannot_be_is_refused(desk: StoreDesk) -> None:
    """A short key, a number of sessions, a user, a lifetime; a table that is not there; a row that is not ours."""
    locks = desk.lock_client("a")
    with pytest.raises(LimitError, match="key of 5 bytes: give at least 32") as refusal:
        SessionStore(desk.client, desk.sessions, locks, key=b"short")
    assert "short" not in str(refusal.value)
    with pytest.raises(LimitError, match="max_sessions_per_user = 0"):
        store_of(desk, max_sessions_per_user=0)
    store = store_of(desk)
    for user in ("", "x" * 1_025, "\ud800"):
        with pytest.raises(LimitError, match="user"):
            store.login(user)
    with pytest.raises(LimitError, match="ttl = 0"):
        store.login("alice", ttl=0)
    with pytest.raises(LimitError, match="idle_ttl = -1"):
        store.login("alice", idle_ttl=-1)
    with pytest.raises(SetupError, match='table "nowhere": there is no such table'):
        SessionStore(desk.client, "nowhere", locks, key=KEY).read("token")
    token = store.login("alice")
    session = store.read(token)
    assert session is not None
    key = {"pk": {"S": f"S#{session.id}"}}
    desk.client.put_item(TableName=desk.sessions, Item={**key, "data": {"S": "{}"}})
    with pytest.raises(SetupError, match="something else wrote it"):
        store.read(token)


def test_sessions_that_are_over_are_unlisted_some_at_a_time(desk: StoreDesk) -> None:
    """A user's row may name more of them than one update can; their rows end too, so that no clock revives them."""
    crowd(desk, "alice", 300)
    watched = FaultyClient(desk.client)
    store = store_of(desk, watched.client)
    desk.machine.advance(2_000)
    token = store.login("alice")
    updates = [
        action["Update"]["UpdateExpression"]
        for request in watched.requests
        for action in request.get("TransactItems", ())
        if "Update" in action
    ]
    assert max(len(update) for update in updates) < 4_096 // 2
    assert [session.id for session in store.sessions_of("alice")] == [session_row.session_id(KEY, token)]
    user_row = desk.client.get_item(TableName=desk.sessions, Key=session_row.user_key("alice"))["Item"]
    assert len(session_row.listed(user_row)) == 1
    rows = desk.client.scan(TableName=desk.sessions, ConsistentRead=True)["Items"]
    assert len([row for row in rows if row["pk"]["S"].startswith(session_row.SESSION_PREFIX)]) == 1


def test_a_replaced_session_that_runs_out_meanwhile_is_named_once(desk: StoreDesk) -> None:
    """It was alive when it was read, and is over when its user's row is."""
    watched = FaultyClient(desk.client)
    store = store_of(desk, watched.client)
    token = store.login("alice", ttl=10)

    def later(_operation: str, call: Callable[[], Any]) -> Any:
        desk.machine.advance(11)
        return call()

    watched.fail("update_item", later)
    fresh = store.login("alice", replacing=token)
    assert [session.id for session in store.sessions_of("alice")] == [session_row.session_id(KEY, fresh)]


@pytest.mark.parametrize("way", ["logout_everywhere", "evict", "replacing"])
def test_a_token_that_is_rotated_in_between_ends_too(desk: StoreDesk, way: str) -> None:
    """Its successor neither outlives a logout everywhere nor comes on top of what a user may have."""
    slow = FaultyClient(desk.client)
    other = store_of(desk)
    store = store_of(desk, slow.client, max_sessions_per_user=1, policy="evict")
    token = other.login("alice")
    successors: list[str | None] = []

    def rotated(_operation: str, call: Callable[[], Any]) -> Any:
        successors.append(other.rotate(token))
        return call()

    slow.fail("transact_write_items", rotated)
    match way:
        case "logout_everywhere":
            assert store.logout_everywhere("alice") == 1
            assert other.sessions_of("alice") == []
        case _:
            fresh = store.login("alice", replacing=token if way == "replacing" else None)
            assert [each.id for each in other.sessions_of("alice")] == [session_row.session_id(KEY, fresh)]
    assert successors[0] is not None
    assert other.read(successors[0]) is None
