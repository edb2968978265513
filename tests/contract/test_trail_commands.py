"""`lockside tail` and `lockside query` as a person and a script see them, against moto."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import rfc8785
from click.testing import CliRunner, Result

from lockside.app.lookup import Lookup
from lockside.cli.main import main
from lockside.cli.record_line import record_line
from lockside.core.entity import EntityKey, Key, Keys
from lockside.core.records import Naming, rfc3339
from lockside.emulators.emulator import Emulator, Kind
from lockside.settings import load
from lockside.state import keys_file
from tests.contract.trails import TableRig, put, record, shard, sources, table_rig

SETTINGS = """
[aws]
endpoint_url = "{endpoint}"
region = "us-east-1"
[audit]
table = "{table}"
[keys]
file = "{keys}"
[[source]]
id = "locks"
table = "lock-table"
layout = "pydynlock"
[[source]]
id = "hidden"
table = "hidden-table"
layout = "pydynlock"
pseudonymise = ["name", "owner"]
[[source]]
id = "sessions"
table = "session-table"
layout = "flask-session"
"""
HOUR_AGO_MS: Final = (round(time.time()) - 3600) * 1000
"""The commands read the real clock, so the records are of the last hour."""

SECRET_ID = "Zm9vYmFy-a-session-id-that-opens-it"  # noqa: S105 - a made-up one


def naming(source: str, kind: str, hidden: tuple[str, ...], key: Key) -> Naming:
    """Name things as a source does."""
    return Naming(source_id=source, kind=kind, pseudonymise=hidden, default_sort=None, key=key)


@dataclass(frozen=True)
class Desk:
    """A settings file, its keys, the table behind it, and the commands."""

    rig: TableRig
    config: Path
    keys: Keys

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run the command with this desk's settings."""
        command, *rest = arguments
        return CliRunner().invoke(main, [command, "--config", str(self.config), *rest], input=stdin)

    def entity_id(self, source: str, kind: str, *parts: str, hidden: tuple[str, ...] = ()) -> str:
        """Identify an entity as the record path does."""
        key = EntityKey(tuple(("S", part) for part in parts))
        return naming(source, kind, hidden, self.keys.entity).entity_id(key)

    def put(self, *made: Any) -> list[bytes]:
        """Write records into a log of their own; return their bytes."""
        trail = self.rig.trail()
        head = put(trail, trail.open(shard(), sources(), "TRIM_HORIZON"), made)
        trail.write_head(head)
        return [each.body for each in made]


@pytest.fixture
def desk(emulator_of: Callable[[Kind], Emulator], tmp_path: Path) -> Iterator[Desk]:
    """Set up a desk on moto."""
    emulator = emulator_of("moto")
    rig = table_rig(emulator)
    keys_path = tmp_path / "keys.json"
    keys = keys_file.create(keys_path, "2026-11-23T06:00:00Z")
    config = tmp_path / "lockside.toml"
    config.write_text(SETTINGS.format(endpoint=emulator.endpoint_url, table=rig.table, keys=keys_path))
    yield Desk(rig, config, keys)
    rig.close()


def event_at(position: int, entity_id: str, **changes: Any) -> Any:
    """Build a record of this hour with a body such as the record path writes."""
    data: Any = {
        "entity": {"kind": "lock", "id": entity_id, "name": entity_id},
        "actor": changes.get("actor", "worker-1"),
        "flags": ["forced"],
        "certainty": "inferred",
    }
    time_ms = HOUR_AGO_MS + position * 1000
    body = {"id": str(position), "type": "dev.lockside.lock.acquired.v1", "time": rfc3339(time_ms), "data": data}
    facts: dict[str, Any] = {"pk": f"E#{entity_id}", "time_ms": time_ms, "body": rfc8785.dumps(body)}
    return record(position, **(facts | changes))


def lines(result: Result) -> list[bytes]:
    """Return what a script reads, line by line."""
    assert result.exit_code == 0, result.output
    return result.stdout_bytes.splitlines()


def test_json_lines_are_the_stored_bytes(desk: Desk) -> None:
    """`tail --json` and `query --json` print each record exactly as it is kept."""
    entity = desk.entity_id("locks", "lock", "nightly", "-")
    bodies = desk.put(*(event_at(position, entity) for position in (1, 2, 3)))
    assert lines(desk.run("tail", "--json")) == bodies
    assert lines(desk.run("query", "--json", "--lock", "nightly")) == bodies
    assert lines(desk.run("query", "--json", "--event", "lock.acquired")) == bodies
    assert lines(desk.run("query", "--json", "--actor", "worker-1", "--since", "-2h")) == bodies


def test_limit_prints_the_newest_in_order(desk: Desk) -> None:
    """Of a long history the newest are wanted, still oldest first; since and until cut it."""
    entity = desk.entity_id("locks", "lock", "nightly", "-")
    bodies = desk.put(*(event_at(position, entity) for position in range(1, 8)))
    assert lines(desk.run("query", "--json", "--lock", "nightly", "--limit", "2")) == bodies[-2:]
    since = rfc3339(HOUR_AGO_MS + 3000)
    assert lines(desk.run("query", "--json", "--lock", "nightly", "--since", since)) == bodies[2:]
    assert lines(desk.run("query", "--json", "--lock", "nightly", "--until", since)) == bodies[:2]


@pytest.mark.parametrize("spelled", [SECRET_ID, f"session:{SECRET_ID}", "-", "pseudonym"])
def test_a_session_is_found_by_id_key_and_pseudonym(desk: Desk, spelled: str) -> None:
    """However a session is named, its history is found, and its id is printed nowhere."""
    entity = desk.entity_id("sessions", "session", f"session:{SECRET_ID}")
    bodies = desk.put(event_at(1, entity))
    text = entity.partition(":")[2] if spelled == "pseudonym" else spelled
    result = desk.run("query", "--json", "--session", text, stdin=f"{SECRET_ID}\n")
    assert lines(result) == bodies
    assert SECRET_ID not in result.output


def test_an_unknown_session_is_not_echoed(desk: Desk) -> None:
    """A session that is not in the trail is said not to be found, without repeating its id."""
    result = desk.run("query", "--session", SECRET_ID)
    assert result.exit_code == 0
    assert "Nothing found" in result.stderr
    assert SECRET_ID not in result.output


def test_pseudonymised_names_and_owners_are_found_in_clear(desk: Desk) -> None:
    """Whoever has the keys file asks by the name or the owner itself."""
    hidden = ("name", "owner")
    entity = desk.entity_id("hidden", "lock", "payroll", "-", hidden=hidden)
    actor = naming("hidden", "lock", hidden, desk.keys.entity).actor("host-7")
    bodies = desk.put(event_at(1, entity, actor=actor))
    assert lines(desk.run("query", "--json", "--lock", "payroll")) == bodies
    assert lines(desk.run("query", "--json", "--lock", entity)) == bodies
    asked = ("query", "--json", "--actor")
    assert lines(desk.run(*asked, "host-7")) == bodies
    assert lines(desk.run(*asked, str(actor))) == bodies


def test_names_are_read_in_every_way_a_key_may_be_built(desk: Desk) -> None:
    """Sort keys after a slash, defaults, and numbers are tried."""
    lookup = Lookup(load(desk.config), lambda: desk.keys)
    spelling = naming("locks", "lock", (), Key("x", b"x"))
    asked = set(lookup.lock_pks("a/7"))
    for parts in ((("S", "a/7"), ("S", "-")), (("S", "a"), ("N", "7")), (("S", "a"), ("S", "7")), (("S", "a/7"),)):
        assert f"E#{spelling.entity_id(EntityKey(parts))}" in asked
    assert len(lookup.lock_pks("/" * 500)) < 60


def test_lines_for_people_tell_the_event(desk: Desk) -> None:
    """Time, event, entity, actor, flags and certainty stand on one line, without colours off a terminal."""
    desk.put(event_at(1, desk.entity_id("locks", "lock", "nightly", "-")))
    result = desk.run("tail")
    assert result.exit_code == 0
    [line] = result.stdout.splitlines()
    for part in (rfc3339(HOUR_AGO_MS + 1000), "lock.acquired", "nightly", "worker-1", "forced", "(inferred)"):
        assert part in line
    assert "\x1b" not in result.stdout


def test_names_cannot_steer_a_terminal() -> None:
    """Escape sequences in names and owners are shown, not obeyed."""
    data = {"entity": {"name": "\x1b[2Jevil\n"}, "actor": "\x07", "previous_actor": "old\r", "flags": ["\x1b"]}
    line = record_line("lock.released", {"time": "t", "data": data}).replace("\x1b[0m", "")
    assert not any(ord(letter) < 32 for letter in line)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["query"], "exactly one of"),
        (["query", "--lock", "a", "--actor", "b"], "--lock and --actor"),
        (["query", "--lock", ""], "is empty"),
        (["query", "--event", "lock.expird"], "did you mean lock.expired"),
        (["query", "--event", "nonsense"], "known are"),
        (["query", "--lock", "a", "--since", "soon"], "RFC 3339"),
        (["query", "--lock", "a", "--limit", "0"], "--limit"),
        (["tail", "--since", "soon"], "RFC 3339"),
    ],
)
def test_wrong_use_is_told_with_the_way_out(desk: Desk, arguments: list[str], told: str) -> None:
    """A question that makes no sense ends with exit code 2 and says what would."""
    result = desk.run(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_missing_table_is_told(desk: Desk) -> None:
    """Without an audit table the message names the setting and the command that makes it."""
    desk.config.write_text(desk.config.read_text().replace(desk.rig.table, "no-such-table"))
    for arguments in (["tail"], ["query", "--lock", "a"]):
        result = desk.run(*arguments)
        assert result.exit_code == 2
        assert "audit.table" in result.stderr
        assert "lockside init" in result.stderr


def test_missing_records_are_told_on_stderr(desk: Desk) -> None:
    """A tail that meets a hole says where, and prints the rest."""
    entity = desk.entity_id("locks", "lock", "nightly", "-")
    made = [event_at(position, entity) for position in (1, 2, 3)]
    bodies = desk.put(*made)
    key = {"pk": {"S": made[1].pk}, "sk": {"S": f"{made[1].sort}#1"}}
    desk.rig.client.delete_item(TableName=desk.rig.table, Key=key)
    result = desk.run("tail", "--json", "--hole-wait", "0")
    assert lines(result) == [bodies[0], bodies[2]]
    assert "index 1;" in result.stderr
    assert [orjson.loads(line)["id"] for line in lines(result)] == ["1", "3"]
