"""From the ground truth that a client told to the events that an auditor must see."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lockside.core.entity import Key, KeySchema, entity_key, pseudonym

Step = dict[str, Any]
Told = tuple[str, str | None, str | None]
"""An event, its actor (None: not compared), and what else must be: a flag, or whether somebody was logged in."""


def session_name(value: str | Mapping[str, str], key: Key) -> str:
    """Name a session of the truth as records do."""
    parts = value if isinstance(value, Mapping) else {"id": value}
    typed = entity_key({name: {"S": part} for name, part in parts.items()}, KeySchema(tuple(parts)))
    return pseudonym(key, "session", typed.canonical)


def expected(truth: Iterable[Step], key: Key, *, expiries: bool = False) -> dict[str, list[Told]]:
    """Turn the truth into events by the mapping in the captures' README, without what may stand anywhere or nowhere.

    Expiries need a table and a clock: they are expected of live runs only.
    """
    events: dict[str, list[Told]] = defaultdict(list)
    for step in sorted(truth, key=lambda step: float(step["t"])):
        if step["step"] == "expired" and ("lock" in step or "session" in step):
            name = step["lock"] if "lock" in step else session_name(step["session"], key)
            kind = "lock" if "lock" in step else "session"
            events[name] += [(f"{kind}.expired", step.get("owner", step.get("user")), None)] if expiries else []
        elif "lock" in step:
            events[step["lock"]] += lock_events(step, events[step["lock"]])
        elif "session" in step:
            if step["step"] == "rotated_login":
                events[session_name(step["old"], key)].append(("session.ended", None, "no"))
            events[session_name(step["session"], key)] += session_events(step)
    return {name: told for name, told in events.items() if told}


def lock_events(step: Step, before: list[Told]) -> Iterator[Told]:
    """Say which events a step in a lock's life must give."""
    match step["step"]:
        case "acquired" | "released":
            yield f"lock.{step['step']}", step["owner"], None
        case "taken_over" if step.get("previous") != step["owner"]:
            yield "lock.taken_over", step["owner"], None
        case "renewed" if before and before[-1][0] == "lock.released":
            yield "lock.renewed", step["owner"], "resurrected"
        case "ttl_deleted":
            yield "lock.purged", step.get("owner"), None


def session_events(step: Step) -> Iterator[Told]:
    """Say which events a step in a session's life must give."""
    user = step.get("user")
    match step["step"]:
        case "created":
            yield "session.started", user, "yes" if user else "no"
        case "rotated_login":
            yield "session.started", user, "yes"
        case "login":
            yield "session.authenticated", user, "id_not_rotated"
        case "changed":
            yield "session.changed", user, None
        case "switched":
            yield "session.changed", user, "principal_switched"
        case "logout":
            stays = step.get("row") == "stays"
            yield "session.deauthenticated" if stays else "session.ended", user, None if stays else "yes"
        case "ended":
            yield "session.ended", user, "yes" if user else "no"
        case "ttl_deleted":
            yield "session.purged", user, None
        case "deleted_on_read" | "reaped":
            yield "session.ended", user, "timing_uncertain"
