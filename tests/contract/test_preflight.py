"""`init` and `check` on both backends: what they make, what they find, and what they say when nothing answers."""

import json
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from lockside.app import preflight, provision
from lockside.app.finding import Finding
from lockside.app.provision import Action
from lockside.aws.clients import Clients, clock_offset_ms, connect
from lockside.cli.main import main
from lockside.core.now import Now
from lockside.emulators.tables import create_lock_table, create_session_table
from lockside.engines.kcl.leases import lease_table
from lockside.engines.kcl.provision import KEYS
from lockside.errors import SetupError
from lockside.ops.clock import SystemClock
from lockside.settings import Settings, load

if TYPE_CHECKING:
    from lockside.emulators.emulator import Emulator

NUMBERS: Iterator[int] = count()
FULL_ROW = {
    "lock_key": {"S": "job"},
    "sort_key": {"S": "-"},
    "owner_name": {"S": "ann"},
    "lease_duration": {"N": "4.0"},
    "record_version_number": {"S": "v1"},
    "expiry_time": {"N": "1"},
}


class ShiftedClock:
    """The machine's clock, set wrong by so much."""

    def __init__(self, ahead_ms: int) -> None:
        """Be ahead by so many milliseconds."""
        self._ahead_ms = ahead_ms

    def now(self) -> Now:
        """Read it."""
        read = SystemClock().now()
        return Now(read.wall_ms + self._ahead_ms, read.mono_ms)


class Site:
    """One installation with tables of its own names: its settings file, settings and clients."""

    def __init__(self, endpoint_url: str, folder: Path) -> None:
        """Write the settings file."""
        self.name = f"preflight-{next(NUMBERS)}"
        self.file = folder / "lockside.toml"
        self.keys = folder / "keys.json"
        self.watched = f"{self.name}-locks"
        self.file.write_text(
            f'[aws]\nregion = "us-east-1"\nendpoint_url = "{endpoint_url}"\n[audit]\ntable = "{self.name}-audit"\n'
            f'[state]\ntable = "{self.name}-state"\n[keys]\nfile = "{self.keys}"\n'
            f'[[source]]\nid = "locks"\ntable = "{self.watched}"\nlayout = "pydynlock"\n',
            encoding="utf-8",
        )

    def write(self, old: str, new: str) -> None:
        """Change the settings file."""
        text = self.file.read_text(encoding="utf-8")
        assert old in text
        self.file.write_text(text.replace(old, new), encoding="utf-8")

    @property
    def settings(self) -> Settings:
        """The settings as the commands read them."""
        return load(self.file)

    @property
    def clients(self) -> Clients:
        """Clients as the commands make them."""
        return connect(self.settings.aws)

    def run(self, *arguments: str) -> Result:
        """Run a command with this installation's settings."""
        return CliRunner().invoke(main, [*arguments, "--config", str(self.file)])

    def examine(self, clock: Any = None) -> list[Finding]:
        """Return all findings that are not good ones."""
        found = preflight.examine(self.settings, self.clients, clock or SystemClock(), uuid4().hex)
        return [finding for finding in found if finding.level != "good"]


@pytest.fixture
def site(endpoint: "Emulator", tmp_path: Path) -> Site:
    """Stand before an installation of which nothing was made yet."""
    return Site(endpoint.endpoint_url, tmp_path)


def changes(site: Site) -> list[Action]:
    """Return what a new plan would do."""
    return [step.action for step in provision.plan(site.settings, site.clients).steps if step.changes]


def test_init_makes_everything_once(site: Site) -> None:
    """The first run makes tables and keys; the second finds nothing to do and changes nothing."""
    assert site.run("init").exit_code == 0
    keys = site.keys.read_bytes()
    assert site.keys.stat().st_mode & 0o777 == 0o600
    again = site.run("init")
    assert again.exit_code == 0
    assert changes(site) == []
    assert site.keys.read_bytes() == keys
    table = site.clients.dynamodb.describe_table(TableName=f"{site.name}-audit")["Table"]
    assert table["DeletionProtectionEnabled"]
    assert provision.ttl_attribute(site.clients.dynamodb, f"{site.name}-audit") == "exp"


def test_init_makes_a_fleets_tables(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of each stream that is there, so that its workers need no right to make any; KCL's own shape."""
    arn = create_lock_table(site.clients.dynamodb, site.watched)
    assert site.run("init").exit_code == 0
    monkeypatch.setenv("LOCKSIDE_ENGINE__KIND", "kcl")
    result = site.run("init")
    assert result.exit_code == 0, result.output
    name = lease_table(site.settings.application, arn)
    for suffix, key in KEYS.items():
        assert f"{name}{suffix}" in result.stdout
        table = provision.describe(site.clients.dynamodb, name + suffix)
        assert table is not None
        assert [each["AttributeName"] for each in table["KeySchema"]] == [key]
    assert changes(site) == []


def test_a_dry_run_prints_the_plan_and_changes_nothing(site: Site) -> None:
    """The plan names each table and the keys file; afterwards none of them is there."""
    result = site.run("init", "--dry-run")
    assert result.exit_code == 0
    for subject in (f"{site.name}-audit", f"{site.name}-state", str(site.keys)):
        assert subject in result.stdout
    assert not site.keys.exists()
    assert provision.describe(site.clients.dynamodb, f"{site.name}-audit") is None
    assert [json.loads(line)["action"] for line in site.run("init", "--dry-run", "--json").stdout.splitlines()]


def test_init_takes_up_where_another_left_off(site: Site) -> None:
    """What is missing of existing tables is turned on: deletion protection and TTL."""
    (audit, _) = provision.definitions(site.settings)
    client: Any = site.clients.dynamodb
    client.create_table(**{**audit.create, "DeletionProtectionEnabled": False})
    assert Action.PROTECT in changes(site)
    assert Action.EXPIRE in changes(site)
    assert site.run("init").exit_code == 0
    assert changes(site) == []


def test_a_table_of_another_shape_is_refused(site: Site) -> None:
    """A table of that name with other keys is named with its keys, those needed and the setting to change."""
    create_lock_table(site.clients.dynamodb, f"{site.name}-audit")
    result = site.run("init")
    assert result.exit_code == 2
    assert f'audit.table = "{site.name}-audit"' in result.stderr
    assert "lock_key (S, HASH)" in result.stderr
    assert "pk (S, HASH)" in result.stderr
    levels = {(finding.level, finding.setting) for finding in site.examine()}
    assert ("fault", "audit.table") in levels


def test_an_empty_place_is_all_faults(site: Site) -> None:
    """Before anything is made, each missing part is a fault with its fix, and the exit code is 1."""
    result = site.run("check", "--json")
    assert result.exit_code == 1
    faults = [found for found in map(json.loads, result.stdout.splitlines()) if found["level"] == "fault"]
    assert [fault["setting"] for fault in faults] == ["keys.file", "audit.table", "state.table", "source[0].table"]
    assert all(fault["fix"] for fault in faults)


def test_a_good_place_could_run(site: Site) -> None:
    """With tables, keys, stream and fitting rows there are no faults, and the exit code is 0."""
    site.run("init")
    create_lock_table(site.clients.dynamodb, site.watched)
    site.clients.dynamodb.put_item(TableName=site.watched, Item=FULL_ROW)
    result = site.run("check")
    assert (result.exit_code, [finding for finding in site.examine() if finding.level == "fault"]) == (0, [])
    assert "fits all 1 sampled rows" in result.stdout


def test_a_lease_in_another_unit_is_warned_of(site: Site) -> None:
    """Rows that fit by their names may be read absurdly: 20,000 seconds are 20 in milliseconds."""
    site.run("init")
    create_lock_table(site.clients.dynamodb, site.watched)
    row = {**FULL_ROW, "lease_duration": {"N": "20000"}}
    site.clients.dynamodb.put_item(TableName=site.watched, Item=row)
    (warned,) = [finding for finding in site.examine() if "none that people store" in finding.what]
    assert (warned.level, warned.table) == ("warning", site.watched)


def test_rows_of_another_kind_are_a_fault(site: Site) -> None:
    """A layout that fits no row would audit nothing, silently; one that fits some is a warning."""
    create_lock_table(site.clients.dynamodb, site.watched)
    alien = {"lock_key": {"S": "x"}, "sort_key": {"S": "-"}, "colour": {"S": "red"}}
    site.clients.dynamodb.put_item(TableName=site.watched, Item=alien)
    assert [f.level for f in site.examine() if f.setting == "source[0].layout"] == ["fault"]
    site.clients.dynamodb.put_item(TableName=site.watched, Item=FULL_ROW)
    (finding,) = (f for f in site.examine() if f.setting == "source[0].layout")
    assert (finding.level, finding.what) == ("warning", "layout pydynlock fits 1 of 2 sampled rows")


def test_a_session_layout_on_a_lock_table_is_a_fault(site: Site) -> None:
    """A session layout takes every row of its table: that it takes locks too must not look like a fit."""
    create_lock_table(site.clients.dynamodb, site.watched)
    site.clients.dynamodb.put_item(TableName=site.watched, Item=FULL_ROW)
    site.write('layout = "pydynlock"', 'layout = "flask-session"')
    (finding,) = (f for f in site.examine() if f.setting == "source[0].layout" and "TTL" not in f.what)
    assert (finding.level, finding.what) == ("fault", "layout flask-session is not that of the 1 sampled rows")
    assert finding.fix == "they look like pydynlock (sure)"


def test_a_table_without_the_layouts_sort_key_is_a_fault(site: Site) -> None:
    """No row of it could be in the layout: the check and the worker both say so."""
    assert site.run("init").exit_code == 0
    create_session_table(site.clients.dynamodb, site.watched)
    (finding,) = (f for f in site.examine() if f.setting == "source[0].layout")
    told = f'rows of pydynlock have two keys (lock_key and sort_key), table "{site.watched}" has id alone'
    assert (finding.level, finding.what, finding.fix) == ("fault", told, "correct table or layout")
    result = site.run("run", "--once")
    assert (result.exit_code, told in result.stderr) == (2, True)


def test_a_keys_file_open_to_others_is_told_with_its_own_way_out(site: Site) -> None:
    """The fix of a wrong mode is chmod: `lockside init` would not mend it."""
    site.run("init")
    site.keys.chmod(0o644)
    (finding,) = (f for f in site.examine() if f.setting == "keys.file")
    assert (finding.level, finding.fix) == ("fault", f"chmod 600 {site.keys}")


def test_a_retention_that_removes_nothing_is_told(site: Site) -> None:
    """Days of retention without TTL on the audit table are a promise nobody keeps."""
    site.write("[state]", "retention_days = 30\n[state]")
    (audit, state) = provision.definitions(site.settings)
    client: Any = site.clients.dynamodb
    client.create_table(**audit.create)
    client.create_table(**state.create)
    assert [f.level for f in site.examine() if f.setting == "audit.retention_days"] == ["warning"]
    assert site.run("init").exit_code == 0
    assert [f for f in site.examine() if f.setting == "audit.retention_days"] == []


def test_the_worker_and_readers_refuse_a_table_of_another_shape(site: Site) -> None:
    """A table of ours with other keys is told at start, with the setting, and not by the first write that fails."""
    assert site.run("init").exit_code == 0
    create_lock_table(site.clients.dynamodb, site.watched)
    site.write(f'table = "{site.name}-audit"', f'table = "{site.watched}-2"')
    create_lock_table(site.clients.dynamodb, f"{site.watched}-2")
    for command in (["run", "--once"], ["tail"]):
        result = site.run(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f'audit.table = "{site.watched}-2": its key is lock_key (S, HASH)' in result.stderr
        assert "`lockside init`" in result.stderr


def test_the_worker_names_the_source_whose_layout_is_wrong(site: Site) -> None:
    """An unknown layout, and an attribute that a layout does not have, are told with the source they stand in."""
    assert site.run("init").exit_code == 0
    create_lock_table(site.clients.dynamodb, site.watched)
    site.write('layout = "pydynlock"', 'layout = "pydynlok"')
    assert "lockside: source[0].layout: layout 'pydynlok' is not known" in site.run("run", "--once").stderr
    site.write('layout = "pydynlok"', 'layout = "pydynlock"\nattributes = { ownr = "x" }')
    assert "lockside: source[0]: overrides of layout 'pydynlock': 'ownr'" in site.run("run", "--once").stderr


def test_init_names_the_next_command_as_it_must_be_typed(site: Site) -> None:
    """With the settings file it was given, unless it is the one that is found by itself."""
    assert site.run("init").stdout.splitlines()[-1] == f"Ready. Next: lockside check --config {site.file}"


@pytest.mark.parametrize("view", [None, "KEYS_ONLY"])
def test_a_stream_that_is_off_or_half_blind_is_a_fault(site: Site, view: str | None) -> None:
    """The fix is the command that turns the right stream on."""
    client: Any = site.clients.dynamodb
    stream = {} if view is None else {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": view}}
    client.create_table(
        TableName=site.watched,
        KeySchema=[{"AttributeName": "lock_key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "lock_key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        **stream,
    )
    (finding,) = (f for f in site.examine() if f.setting == "source[0].table")
    assert finding.level == "fault"
    assert "StreamViewType=NEW_AND_OLD_IMAGES" in finding.fix


@pytest.mark.parametrize(("ahead_ms", "level"), [(60_000, "warning"), (-60_000, "warning"), (600_000, "fault")])
def test_a_clock_that_is_off_is_found(site: Site, ahead_ms: int, level: str) -> None:
    """The endpoint's Date header tells; beyond five minutes AWS itself would refuse."""
    (finding,) = (f for f in site.examine(ShiftedClock(ahead_ms)) if f.setting == "recipe.clock_margin_ms")
    assert finding.level == level
    assert ("ahead of" if ahead_ms > 0 else "behind") in finding.what
    offset_ms = clock_offset_ms(site.clients.dynamodb, "audit", ShiftedClock(ahead_ms))
    assert offset_ms is not None
    assert abs(offset_ms - ahead_ms) <= 2_000


def test_an_unknown_layout_and_no_source_are_faults(site: Site) -> None:
    """The settings' faults that only the layouts know of are findings too."""
    text = site.file.read_text(encoding="utf-8")
    site.file.write_text(text.replace('layout = "pydynlock"', 'layout = "pydynlok"'), encoding="utf-8")
    (finding,) = (f for f in site.examine() if f.setting == "source[0].layout")
    assert finding.what.startswith("layout 'pydynlok' is not known; did you mean 'pydynlock'?")
    site.file.write_text(text.partition("[[source]]")[0], encoding="utf-8")
    assert ("fault", "source") in {(f.level, f.setting) for f in site.examine()}


@pytest.mark.parametrize("command", ["check", "init"])
def test_no_answer_is_one_message(tmp_path: Path, command: str) -> None:
    """An endpoint that is down is named, with the setting to look at, and the exit code is 2."""
    result = Site("http://127.0.0.1:9", tmp_path).run(command)
    assert result.exit_code == 2
    assert "no answer from http://127.0.0.1:9" in result.stderr
    assert "aws.endpoint_url" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["check", "init"])
def test_no_credentials_are_one_message(tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing credentials are told before anything is sent."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    result = Site("http://127.0.0.1:9", tmp_path).run(command)
    assert result.exit_code == 2
    assert "no AWS credentials" in result.stderr


def test_a_missing_region_or_profile_names_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each names the key to set."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SetupError, match=r"aws\.region"):
        connect(load(None).aws)
    with pytest.raises(SetupError, match=r"aws\.profile"):
        connect(load(None, {"aws.profile": "nix"}).aws)


def test_a_table_that_never_becomes_active_ends_in_a_message() -> None:
    """Waiting is bounded and ends on shutdown; `init` may then be run again."""

    class Creating:
        """A client whose table stays where it is."""

        def describe_table(self, TableName: str) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
            return {"Table": {"TableName": TableName, "TableStatus": "CREATING"}}

    stop = threading.Event()
    stop.set()
    with pytest.raises(SetupError, match="run `lockside init` again"):
        provision.wait_active(Creating(), "slow", stop, print)


def test_a_fleets_requests_are_counted(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the stream's shards, with the profile named; without KCL's jars it could not run."""
    monkeypatch.setenv("M2_REPO", str(tmp_path / "empty"))
    site.write("[keys]", '[engine]\nkind = "kcl"\n[keys]')
    create_lock_table(site.clients.dynamodb, site.watched)
    site.run("init")
    found = site.examine()
    (requests,) = [finding.what for finding in found if finding.setting == "engine.kcl.profile"]
    assert "1 open of 1 shards; each second about 1.0 GetRecords" in requests
    assert "(profile default, one worker)" in requests
    faults = [finding.fix for finding in found if finding.setting == "engine.kind" and finding.level == "fault"]
    assert faults == ["run lockside kcl jars"]
