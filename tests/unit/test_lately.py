"""What two changes of sessions tell together: rotated ids, ids in use again, and what is neither."""

import json
from dataclasses import replace
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]
import pytest

from lockside.core.change import Change
from lockside.core.entity import PUBLIC_KEYS, EntityKey, pseudonym
from lockside.core.event import Event, EventType
from lockside.core.lately import ALONE_MAX, ENDED_MAX, Lately, Notice, Reused, Rotated
from lockside.core.row import SessionRow
from tests.fakes.changes import CREATED_MS, SHARD, recipe
from tests.fakes.shard import ShardRig
from tests.fakes.sources import source

ROW: Final = SessionRow(principal="ann", authenticated="yes", deadline_ms=None, payload="p")


class Story:
    """Changes of sessions in a shard, one position after the other."""

    def __init__(self, **settings: Any) -> None:
        """Begin with nothing remembered."""
        self.lately = Lately()
        self.recipe = recipe(kind="session", **settings)
        self.position = 0

    def tell(  # noqa: PLR0913 - the members of an event that count
        self,
        type_: EventType,
        key: str,
        user: str | None,
        *,
        at_ms: int = 0,
        reason: str = "removed",
        content: str | None = "p",
    ) -> Any:
        """Take in one event; return what it tells with earlier ones."""
        self.position += 1
        entity = EntityKey((("S", key),))
        change = Change(SHARD, self.position, "MODIFY", CREATED_MS + at_ms, entity, {}, {}, by_ttl=False)
        event = Event(
            type=type_,
            kind="session",
            key=entity,
            recorded=True,
            actor=user,
            previous_actor=None,
            flags=(),
            certainty="certain",
            reason=reason,
            authenticated="yes",
            before=replace(ROW, payload=content),
            after=replace(ROW, payload=content),
        )
        return self.lately.observe(event, change, self.recipe)

    def started(self, key: str, user: str | None, at_ms: int = 0) -> list[Notice]:
        """Let a session begin."""
        told: list[Notice] = self.tell("session.started", key, user, at_ms=at_ms)
        return told

    def ended(self, key: str, user: str | None, at_ms: int = 0, reason: str = "removed") -> list[Notice]:
        """Let a session end."""
        told: list[Notice] = self.tell("session.ended", key, user, at_ms=at_ms, reason=reason)
        return told


def test_an_id_that_takes_anothers_place_is_linked_in_either_order() -> None:
    """Express and PHP remove first, Django makes the new row first; within one request both take moments."""
    story = Story()
    assert story.ended("old", "ann") == []
    (told,) = story.started("new", "ann", at_ms=1_000)
    assert isinstance(told, Rotated)
    assert (told.user, told.old.position, told.new.position, told.position) == ("ann", 1, 2, 2)
    story = Story()
    assert story.started("new", "ann") == []
    (told,) = story.ended("old", "ann", at_ms=1_000)
    assert isinstance(told, Rotated)
    assert (told.old.position, told.new.position, told.position) == (2, 1, 2)


@pytest.mark.parametrize(
    ("user", "at_ms", "reason"),
    [("bob", 0, "removed"), (None, 0, "removed"), ("ann", 3_001, "removed"), ("ann", 0, "after_deadline")],
)
def test_what_is_not_linked(user: str | None, at_ms: int, reason: str) -> None:
    """Another user, nobody, another request, and an end that was due anyway."""
    story = Story()
    story.ended("old", user, reason=reason)
    assert story.started("new", "ann" if user is not None else None, at_ms=at_ms) == []


def test_a_session_without_a_deadline_may_have_been_rotated() -> None:
    """The original Django backend and dysession store none; Django makes the new row first."""
    story = Story()
    assert story.started("new", "ann") == []
    (told,) = story.ended("old", "ann", at_ms=1_000, reason="removed_without_deadline")
    assert isinstance(told, Rotated)
    assert (told.old.position, told.new.position) == (2, 1)


def test_other_content_is_another_session() -> None:
    """A logout on one device and a login on another at the same moment are no rotation."""
    story = Story()
    story.ended("old", "ann")
    assert story.tell("session.started", "new", "ann", content="q") == []


def test_one_end_is_linked_to_one_beginning() -> None:
    """A second login at the same moment has not the same predecessor."""
    story = Story()
    story.ended("old", "ann")
    assert len(story.started("new", "ann")) == 1
    assert story.started("newer", "ann") == []


def test_a_session_that_is_over_took_nobodys_place() -> None:
    """Two short sessions of one user, one after the other, are linked in their own order only."""
    story = Story()
    story.started("first", "ann")
    story.ended("first", "ann")
    (told,) = story.started("second", "ann")
    assert (told.old.position, told.new.position) == (2, 3)
    assert story.ended("second", "ann") == []


@pytest.mark.parametrize(("precision_ms", "linked"), [(1, 1), (1_000, 1), (60_000, 0)])
def test_a_backend_too_coarse_to_tell_requests_apart_links_nothing(precision_ms: int, linked: int) -> None:
    """Where creation times are rounded down to the minute, a logout and a login look like one request."""
    story = Story(precision_ms=precision_ms)
    story.ended("old", "ann")
    assert len(story.started("new", "ann")) == linked


@pytest.mark.parametrize("reason", ["removed", "after_deadline", "cleared_in_place"])
def test_an_ended_id_in_use_again_is_told_whoever_uses_it(reason: str) -> None:
    """However the session before it ended; and only once for each end."""
    story = Story()
    story.ended("id", "ann", reason=reason)
    (told,) = story.started("id", None, at_ms=10**9)
    assert isinstance(told, Reused)
    assert (told.user, told.old.position, told.new.position) == (None, 1, 2)
    assert story.started("id", None) == []


def test_a_row_that_ttl_removed_has_ended_too() -> None:
    """An id that outlives its row comes back from its cookie."""
    story = Story()
    story.tell("session.purged", "id", "ann", reason="ttl_removed_session")
    (told,) = story.started("id", "ann")
    assert isinstance(told, Reused)


def test_the_same_id_again_is_no_rotation() -> None:
    """A logout and a login on one id link nothing."""
    story = Story()
    story.ended("id", "ann")
    assert [type(told) for told in story.started("id", "ann")] == [Reused]


def test_memory_is_bounded() -> None:
    """The oldest is forgotten; the newest is not."""
    story = Story()
    for n in range(max(ENDED_MAX, ALONE_MAX) + 1):
        story.ended(f"id-{n}", f"user-{n}")
    assert story.started("id-0", "user-0") == []
    assert [type(told) for told in story.started(f"id-{ENDED_MAX}", "x")] == [Reused]
    assert [type(told) for told in story.started("other", f"user-{ENDED_MAX}")] == [Rotated]


LIVE_SECONDS: Final = 3_600


def put(shard: ShardRig, key: str, **content: Any) -> None:
    """Write a session as Flask-Session does."""
    until = shard.clock.now().wall_ms // 1000 + LIVE_SECONDS
    shard.table.put({"id": {"S": key}}, {"val": {"B": msgpack.packb(content)}, "expiration": {"N": str(until)}})


def observed(shard: ShardRig) -> list[dict[str, Any]]:
    """Return what was told of several changes."""
    bodies = [json.loads(body) for body in shard.trail.all_bodies()]
    return [body for body in bodies if body["type"].split(".")[3] in {"rotated", "revived"}]


def test_a_rotation_becomes_an_observer_record_of_the_new_id() -> None:
    """It names both ids by their pseudonyms, the user, and both changes; it is inferred."""
    shard = ShardRig(source("flask-session"))
    put(shard, "session:old-secret", _user_id="ann")
    shard.table.delete({"id": {"S": "session:old-secret"}})
    put(shard, "session:new-secret", _user_id="ann")
    shard.consume()
    (told,) = observed(shard)
    names = {
        which: pseudonym(PUBLIC_KEYS.entity, "session", EntityKey((("S", f"session:{which}-secret"),)).canonical)
        for which in ("old", "new")
    }
    data = told["data"]
    assert told["type"] == "dev.lockside.session.rotated.v1"
    assert told["subject"] == f"session/{names['new']}"
    assert (data["entity"]["name"], data["previous_entity"]["name"]) == (names["new"], names["old"])
    assert (data["actor"], data["certainty"]) == ("ann", "inferred")
    assert int(data["ended"]["sequence_number"]) < int(data["started"]["sequence_number"])
    assert b"secret" not in b"".join(shard.trail.all_bodies())


def test_it_is_told_once_however_often_it_is_read() -> None:
    """A crash before the checkpoint, and the same changes again, write nothing more."""
    shard = ShardRig(source("flask-session"))
    put(shard, "session:old", _user_id="ann")
    shard.table.delete({"id": {"S": "session:old"}})
    put(shard, "session:new", _user_id="ann")
    shard.table.delete({"id": {"S": "session:new"}})
    put(shard, "session:new", _user_id="bob")
    records = shard.unread()
    shard.processor.process_records(records, caught_up=True)
    before = observed(shard)
    assert [told["type"].split(".")[3] for told in before] == ["rotated", "revived"]
    shard.restart()
    shard.consume(records)
    assert observed(shard) == before


def test_an_id_in_use_again_is_a_revival_and_its_start_stays_what_it_is() -> None:
    """The change record is the same as of any session that begins."""
    shard = ShardRig(source("flask-session"))
    put(shard, "session:id", _user_id="ann")
    shard.table.delete({"id": {"S": "session:id"}})
    shard.consume()
    put(shard, "session:id", cart=1)
    shard.consume()
    (told,) = observed(shard)
    assert told["type"] == "dev.lockside.session.revived.v1"
    assert (told["data"]["via"], told["data"]["certainty"]) == ("reused_id", "certain")
    assert shard.events().count(("session.started", None)) == 1
