"""One record of the trail as one line: the stored bytes for a script, aligned cells for people."""

from typing import TYPE_CHECKING, Any, Final

import click

from lockside.cli.rendering import shown

if TYPE_CHECKING:
    from lockside.audit.stored import Stored

EVENT_WIDTH: Final = 23
ENTITY_WIDTH: Final = 32
ACTOR_WIDTH: Final = 14
COLOURS: Final = {
    "acquired": "green",
    "started": "green",
    "authenticated": "green",
    "expired": "red",
    "taken_over": "red",
    "purged": "red",
    "gap": "red",
    "undecodable": "red",
    "revived": "yellow",
    "rotated": "cyan",
    "stale": "yellow",
    "transferred": "yellow",
    "changed": "yellow",
}


def print_record(stored: "Stored", *, as_json: bool) -> None:
    """Print one record; as JSON exactly the bytes that are kept, and hashed."""
    click.echo(stored.body if as_json else record_line(stored.entry.type, stored.event))


def record_line(event_type: str, event: dict[str, Any]) -> str:
    """Spell a record for people. Names and owners are whatever an application wrote, so nothing of them is trusted."""
    data = event.get("data") or {}
    entity = data.get("entity") or {}
    name = shown(str(entity.get("name") or event.get("subject", "")))
    actor = data.get("actor") or "-"
    previous = data.get("previous_actor")
    if previous is not None and previous != data.get("actor"):
        actor = f"{previous} -> {actor}"
    cells = (
        str(event.get("time", "")).ljust(24),
        click.style(event_type.ljust(EVENT_WIDTH), fg=COLOURS.get(event_type.rpartition(".")[2])),
        name.ljust(ENTITY_WIDTH),
        shown(str(actor)).ljust(ACTOR_WIDTH),
        " ".join(_notes(data)),
    )
    return "  ".join(cells).rstrip()


def _notes(data: dict[str, Any]) -> list[str]:
    notes = [shown(str(flag)) for flag in data.get("flags") or []]
    notes += [f"{name}={shown(str(data[name]))}" for name in ("via", "event", "reason") if data.get(name)]
    if data.get("certainty") not in {None, "certain"}:
        notes.append(f"({data['certainty']})")
    return notes
