"""The rows of a session table, and what is decided from them. Pure.

A session's row is `S#<keyed hash of its token>`; a user's row `U#<user>` names the user's sessions and carries the
fence of the last login, so that a login that lost its lock cannot write. Times are whole epoch seconds: `expires`, the
earlier of the idle and the absolute deadline, is also what DynamoDB's own deletion goes by.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from lockside.aws.tables import PK
from lockside.errors import LimitError, SessionLimitError, SetupError
from lockside.stores.phrase_value import Json, json_text
from lockside.stores.tables import EXPIRES

USER: Final = "user"
CREATED: Final = "created"
UNTIL: Final = "until"
IDLE: Final = "idle"
DATA: Final = "data"
FENCE: Final = "fence"
VERSION: Final = "version"
"""Of the attributes, another with each write of them; a row whose attributes were never written again has none."""

LISTED: Final = "s:"
"""What a user's row calls its sessions by: this and the session's id."""

SESSION_PREFIX: Final = "S#"
USER_PREFIX: Final = "U#"
KEY_BYTES_MIN: Final = 32
USER_BYTES_MAX: Final = 1_024
DATA_BYTES_MAX: Final = 390_000
SESSIONS_MAX: Final = 1_000
"""Of one user, whatever the policy: their names share one row."""

TTL_SECONDS_MAX: Final = 10 * 366 * 86_400
TOUCH_SHARE: Final = 20
"""A touch that would move the idle deadline by less than this share of it is not written."""

Policy = Literal["refuse", "evict"]


@dataclass(frozen=True, slots=True)
class Session:
    """A live session. `id` is the keyed hash of its token: it names the session and does not open it.

    `user` is None for a visitor who has not logged in. Times are epoch seconds; `idle_seconds` is None without an idle
    deadline.
    """

    id: str
    user: str | None
    created: int
    until: int
    expires: int
    idle_seconds: int | None
    attributes: Mapping[str, Json] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a session lives at most, and without being touched, in seconds."""

    seconds: int
    idle_seconds: int | None

    def ends(self, now_s: int) -> tuple[int, int]:
        """Return the absolute deadline of a session that begins now, and the earlier one of both."""
        until = now_s + self.seconds
        return until, until if self.idle_seconds is None else min(until, now_s + self.idle_seconds)


def lifetime(ttl: float, idle_ttl: float | None) -> Lifetime:
    """Check and round a lifetime up to whole seconds. Raises LimitError."""
    for name, seconds in (("ttl", ttl), ("idle_ttl", idle_ttl)):
        if seconds is not None and not 0 < seconds <= TTL_SECONDS_MAX:
            raise LimitError(f"{name} = {seconds} s: give more than 0 and at most {TTL_SECONDS_MAX} s")
    return Lifetime(-int(-ttl // 1), None if idle_ttl is None else -int(-idle_ttl // 1))


def session_id(key: bytes, token: str) -> str:
    """Return the id that a token has under a key. Any text has one: a made-up token costs the same as a real one."""
    return hmac.new(key, token.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def checked_key(key: bytes) -> bytes:
    """Return a key that is long enough. Raises LimitError, which does not show it."""
    if len(key) < KEY_BYTES_MIN:
        raise LimitError(f"key of {len(key)} bytes: give at least {KEY_BYTES_MIN} random bytes, kept in a secret store")
    return key


def checked_user(user: str) -> str:
    """Return a user's name that can be part of a key. Raises LimitError."""
    try:
        size = len(user.encode())
    except UnicodeEncodeError:
        raise LimitError("user: holds a lone surrogate, which UTF-8 cannot spell") from None
    if not 0 < size <= USER_BYTES_MAX:
        raise LimitError(f"user of {size} bytes: give 1 to {USER_BYTES_MAX} bytes of UTF-8")
    return user


def session_key(identity: str) -> dict[str, Any]:
    """Return the key of a session's row."""
    return {PK: {"S": SESSION_PREFIX + identity}}


def user_key(user: str) -> dict[str, Any]:
    """Return the key of a user's row."""
    return {PK: {"S": USER_PREFIX + user}}


def item_of(identity: str, user: str | None, life: Lifetime, now_s: int, data: str) -> Any:
    """Build the row of a session that begins now, with attributes as `data_text` spells them."""
    until, expires = life.ends(now_s)
    item: dict[str, Any] = {
        **session_key(identity),
        CREATED: {"N": str(now_s)},
        UNTIL: {"N": str(until)},
        EXPIRES: {"N": str(expires)},
        DATA: {"S": data},
    }
    if user is not None:
        item[USER] = {"S": user}
    if life.idle_seconds is not None:
        item[IDLE] = {"N": str(life.idle_seconds)}
    return item


def data_text(attributes: Mapping[str, Json]) -> str:
    """Spell a session's attributes. Raises LimitError."""
    text = json_text(dict(attributes))
    size = len(text.encode())
    if size > DATA_BYTES_MAX:
        raise LimitError(
            f"attributes of {size} bytes: a session holds {DATA_BYTES_MAX}; store what is larger elsewhere"
        )
    return text


def session_of(item: Mapping[str, Any] | None, now_s: int) -> Session | None:
    """Read a session's row; None where there is none, or a deadline is over. Raises SetupError for a foreign row."""
    if not item:
        return None
    try:
        read = Session(
            id=item[PK]["S"].removeprefix(SESSION_PREFIX),
            user=item[USER]["S"] if USER in item else None,
            created=int(item[CREATED]["N"]),
            until=int(item[UNTIL]["N"]),
            expires=int(item[EXPIRES]["N"]),
            idle_seconds=int(item[IDLE]["N"]) if IDLE in item else None,
            attributes=json.loads(item[DATA]["S"]),
        )
    except (KeyError, TypeError, ValueError):
        raise SetupError("a session's row has not the attributes of this store; something else wrote it") from None
    return read if now_s < min(read.expires, read.until) else None


def listed(user_item: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids that a user's row names."""
    return tuple(sorted(name.removeprefix(LISTED) for name in user_item if name.startswith(LISTED)))


def touched(session: Session, now_s: int) -> int | None:
    """Return the deadline that a touch moves a session's to; None where it is not worth a write."""
    if session.idle_seconds is None:
        return None
    expires = min(session.until, now_s + session.idle_seconds)
    return expires if expires - session.expires >= max(1, session.idle_seconds // TOUCH_SHARE) else None


ALIVE: Final = "#expires > :now AND #until > :now"


def moving(table: str, identity: str, expires: int, now_s: int) -> dict[str, Any]:
    """Build the update that moves a live session's deadline: ahead, and never back, however late it is sent again."""
    return {
        "TableName": table,
        "Key": session_key(identity),
        "UpdateExpression": "SET #expires = :moved",
        "ConditionExpression": f"{ALIVE} AND #expires < :moved",
        "ExpressionAttributeNames": {"#expires": EXPIRES, "#until": UNTIL},
        "ExpressionAttributeValues": {":moved": {"N": str(expires)}, ":now": {"N": str(now_s)}},
    }


def rewriting(table: str, before: Mapping[str, Any], data: str, version: str, now_s: int) -> dict[str, Any]:
    """Build the update that replaces a live session's attributes as read: done once, and never over later ones."""
    same = "#version = :before" if VERSION in before else "attribute_not_exists(#version)"
    values = {":data": {"S": data}, ":version": {"S": version}, ":now": {"N": str(now_s)}}
    return {
        "TableName": table,
        "Key": {PK: before[PK]},
        "UpdateExpression": "SET #data = :data, #version = :version",
        "ConditionExpression": f"{ALIVE} AND {same}",
        "ExpressionAttributeNames": {"#expires": EXPIRES, "#until": UNTIL, "#data": DATA, "#version": VERSION},
        "ExpressionAttributeValues": {**values, ":before": before[VERSION]} if VERSION in before else values,
    }


def claiming(table: str, user: str, fence: int) -> dict[str, Any]:
    """Build the update that puts a login's fence into the user's row and hands the row back."""
    return {
        "TableName": table,
        "Key": user_key(user),
        "UpdateExpression": "SET #fence = :fence",
        "ConditionExpression": "attribute_not_exists(#fence) OR #fence <= :fence",
        "ExpressionAttributeNames": {"#fence": FENCE},
        "ExpressionAttributeValues": {":fence": {"N": str(fence)}},
        "ReturnValues": "ALL_NEW",
    }


def evicted(live: Sequence[Session], sessions_max: int, policy: Policy, user: str) -> tuple[Session, ...]:
    """Return which sessions must end so that one more may begin, the oldest first. Raises SessionLimitError."""
    too_many = len(live) + 1 - sessions_max
    if too_many <= 0:
        return ()
    if policy == "refuse":
        raise SessionLimitError(
            f'user "{user}": has {len(live)} of {sessions_max} sessions; log one out, or allow more in '
            "max_sessions_per_user"
        )
    return tuple(sorted(live, key=lambda session: (session.created, session.id))[:too_many])


@dataclass(frozen=True, slots=True)
class UserChange:
    """A change of a user's row, on the condition that it still carries this fence; None: whatever it carries.

    With a fence, what ends must still be named too: a session that was rotated meanwhile goes on under another id.
    """

    user: str
    begins: str | None = None
    begun: int = 0
    ends: tuple[str, ...] = ()
    fence: int | None = None

    def update(self, table: str) -> dict[str, Any]:
        """Build the update."""
        names = {f"#end{at}": LISTED + identity for at, identity in enumerate(self.ends)}
        removes = f"REMOVE {', '.join(names)}" if names else ""
        request: dict[str, Any] = {"TableName": table, "Key": user_key(self.user)}
        values: dict[str, Any] = {}
        sets = ""
        if self.begins is not None:
            sets, names["#begin"], values[":begun"] = (
                "SET #begin = :begun ",
                LISTED + self.begins,
                {"N": str(self.begun)},
            )
        if self.fence is not None:
            names["#fence"], values[":fence"] = FENCE, {"N": str(self.fence)}
            request["ConditionExpression"] = " AND ".join(
                ("#fence = :fence", *(f"attribute_exists(#end{at})" for at in range(len(self.ends))))
            )
        request["UpdateExpression"] = (sets + removes).strip()
        request["ExpressionAttributeNames"] = names
        if values:
            request["ExpressionAttributeValues"] = values
        return {"Update": request}


def putting(table: str, item: Any) -> dict[str, Any]:
    """Build the item of a transaction that begins a session, which must not be there."""
    return {
        "Put": {
            "TableName": table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(#pk)",
            "ExpressionAttributeNames": {"#pk": PK},
        }
    }


def superseding(table: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Build the item of a transaction that ends a session if it holds what was read: its successor holds that too."""
    return {
        "Delete": {
            "TableName": table,
            "Key": {PK: item[PK]},
            "ConditionExpression": "#data = :data",
            "ExpressionAttributeNames": {"#data": DATA},
            "ExpressionAttributeValues": {":data": item[DATA]},
        }
    }


def ending(table: str, identity: str, *, must_be: bool) -> dict[str, Any]:
    """Build the item of a transaction that ends a session; `must_be`: only if it is there."""
    request: dict[str, Any] = {"TableName": table, "Key": session_key(identity)}
    if must_be:
        request["ConditionExpression"] = "attribute_exists(#pk)"
        request["ExpressionAttributeNames"] = {"#pk": PK}
    return {"Delete": request}


def endings(table: str, identities: Iterable[str]) -> list[dict[str, Any]]:
    """Build the items that end sessions, whether they are still there or not."""
    return [ending(table, identity, must_be=False) for identity in identities]
