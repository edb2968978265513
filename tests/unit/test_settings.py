"""The settings: layers, faults, and the commented example."""

import re
import tomllib
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import BaseModel

from lockside.app.fleet import knobs_of
from lockside.app.sources import specs_of
from lockside.engines.kcl.knobs import PROFILES
from lockside.errors import ConfigError
from lockside.layouts.registry import builtin
from lockside.layouts.schema import KeyRuleData, Rows
from lockside.settings import KclSettings, Settings, SourceSettings, listen_address, load

CONFIG = Path(__file__).parents[2] / "config"
SOURCE = '[[source]]\nid = "a"\ntable = "tab"\nlayout = "awslabs"\n'


def written(tmp_path: Path, text: str) -> Path:
    """Write a settings file."""
    path = tmp_path / "lockside.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path | None, **overrides: object) -> list[str]:
    """Load and return the fault lines."""
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_each_layer_wins_over_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults give way to the file, the file to the environment, the environment to flags; each key by itself."""
    path = written(tmp_path, '[ops]\nlog_level = "error"\nshutdown_seconds = 3\nlisten = "127.0.0.1:1"\n')
    monkeypatch.setenv("LOCKSIDE_OPS__LOG_LEVEL", "warning")
    monkeypatch.setenv("LOCKSIDE_OPS__LISTEN", "127.0.0.1:2")
    ops = load(path, {"ops.listen": "127.0.0.1:3", "ops.log_format": None}).ops
    assert (ops.log_format, ops.shutdown_seconds, ops.log_level, ops.listen) == ("auto", 3, "warning", "127.0.0.1:3")


def test_all_faults_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fault has its field, its value and what is allowed, wherever it came from."""
    monkeypatch.setenv("LOCKSIDE_OPS__LOG_LEVEL", "loud")
    monkeypatch.setenv("LOCKSIDE_AUDITT__TABLE", "x")
    path = written(
        tmp_path,
        '[engine]\nkind = "kafka"\nidle_min_ms = 3000\n[audit]\nretention_days = -1\n[aws]\nregoin = "x"\n'
        '[recipe]\ntime_precision_ms = "soon"\n[[source]]\nid = "a b"\nlayout = "z"\n',
    )
    assert faults(path, **{"ops.shutdown_seconds": -1}) == [
        'LOCKSIDE_AUDITT__TABLE: unknown section; did you mean "audit"?',
        'aws.regoin: unknown key; did you mean "region"?',
        "audit.retention_days = -1: should be greater than or equal to 0",
        "engine.kind = \"kafka\": should be 'embedded' or 'kcl'",
        "engine.idle_max_ms = 1000: should be at least idle_min_ms = 3000",
        'recipe.time_precision_ms = "soon": should be "auto" or whole milliseconds from 1 to 60000',
        "ops.log_level (from the environment) = \"loud\": should be 'debug', 'info', 'warning' or 'error'",
        "ops.shutdown_seconds (from a flag) = -1: should be greater than 0",
        "source[0].id = \"a b\": should match pattern '^[A-Za-z0-9._-]{1,64}$'",
        "source[0].table: is missing",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '[aws]\nsecret_access_key = "hunter2"\n',
        '[aws]\nendpoint_url = "https://me:hunter2@host"\n',
        '[aws.region]\nsecret = "hunter2"\n',
        '[aws]\nendpoint_url = "hunter2@host"\n',
    ],
)
def test_no_secret_put_in_the_wrong_place_is_repeated(tmp_path: Path, text: str) -> None:
    """What stands under an unknown key, in a table or before a host is not shown."""
    assert "hunter2" not in "".join(faults(written(tmp_path, text)))


def test_own_tables_cannot_be_watched(tmp_path: Path) -> None:
    """The audit table as a source would record itself for ever; the state table likewise."""
    own = [SOURCE.replace('"tab"', f'"lockside-{name}"') for name in ("audit", "state")]
    (line,) = faults(written(tmp_path, own[0] + own[1].replace('"a"', '"b"')))
    assert 'id "a" watches audit.table = "lockside-audit"' in line
    assert 'id "b" watches state.table = "lockside-state"' in line


def test_source_ids_are_apart_and_tables_may_be_shared(tmp_path: Path) -> None:
    """Two sources may look at one table, but not under one id."""
    assert len(load(written(tmp_path, SOURCE + SOURCE.replace('"a"', '"b"'))).source) == 2
    (line,) = faults(written(tmp_path, SOURCE + SOURCE))
    assert line == 'source: id "a" is used 2 times; each source needs its own'


LAYOUT = (
    '[[layout]]\nname = "mine"\nkind = "lock"\nkeys = { names = ["id"] }\nowner = { attr = "who" }\n'
    'release = { rule = "none", mode = "delete" }\n'
)


def test_layouts_of_ones_own_join_the_built_in_ones(tmp_path: Path) -> None:
    """A [[layout]] is known by its name beside the built-in ones, and only to these settings."""
    settings = load(written(tmp_path, LAYOUT))
    assert [spec.name for spec in settings.layouts.find("mine")] == ["mine"]
    assert set(builtin().names) < set(settings.layouts.names)
    assert "mine" not in load(None).layouts.names


def test_sources_use_layouts_of_ones_own_and_their_meaning_is_in_the_recipe(tmp_path: Path) -> None:
    """A source names it like any other; what it means makes the digest that stands in the recipe, its notes do not."""

    def digest(text: str) -> str:
        settings = load(written(tmp_path, text + SOURCE.replace("awslabs", "mine")))
        (spec,) = specs_of(settings.source[0], 0, settings.layouts)
        return spec.digest

    plain = digest(LAYOUT)
    assert digest(LAYOUT + 'notes = "better said"\n') == plain
    assert digest(LAYOUT.replace("who", "holder")) != plain
    with pytest.raises(ConfigError, match=r"source\[0\].layout: layout 'mine' is not known"):
        digest("")


def test_faults_of_own_layouts_are_told_as_those_of_built_in_ones(tmp_path: Path) -> None:
    """Every fault of every layout at once, beside the settings' own, with field, value and what is allowed."""
    bad = LAYOUT.replace("who", "").replace('"none"', '"nun"').replace('"mine"', '"Mine"')
    told = faults(written(tmp_path, '[ops]\nlog_level = "loud"\n' + LAYOUT + bad))
    assert told[1] == "layout[1]: this layout is badly written"
    assert told[0].startswith("ops.log_level")
    for part in ("name: 'Mine' is not allowed", "owner.attr: '' is not allowed", "release.rule: 'nun' is not allowed"):
        assert any(line.startswith(part) for line in told), part


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (LAYOUT + LAYOUT, 'name "mine" is used 2 times; each layout needs its own'),
        (LAYOUT.replace("mine", "awslabs"), "the name 'awslabs' belongs to layout 'awslabs' already"),
        (LAYOUT.replace('kind = "lock"', 'kind = "lokc"'), "kind: 'lokc' is not allowed: it must be one of 'lock'"),
    ],
)
def test_own_layouts_are_refused(tmp_path: Path, text: str, part: str) -> None:
    """A name is taken once, and a kind is one of two."""
    assert part in "\n".join(faults(written(tmp_path, text)))


def test_row_filters_are_spelt_as_in_a_layout(tmp_path: Path) -> None:
    """A source's filter has the fields of a layout's own rule, and its faults name the nearest."""
    text = SOURCE + 'rows = { sort = { prefix = ["LOCK#"] }, required = { ownerName = ["S"] } }\n'
    (one,) = load(written(tmp_path, text)).source
    assert one.rows == Rows(sort=KeyRuleData(prefix=["LOCK#"]), required={"ownerName": ["S"]})
    lines = faults(
        written(tmp_path, SOURCE + 'rows = { sort = { prefx = ["a"] }, requird = {}, equals = { a = [] } }\n')
    )
    assert 'source[0].rows.sort.prefx: unknown key; did you mean "prefix"?' in lines
    assert 'source[0].rows.requird: unknown key; did you mean "required"?' in lines
    assert any(line.startswith("source[0].rows.equals.a") for line in lines)


def test_audit_and_state_need_two_tables(tmp_path: Path) -> None:
    """One table for both is refused, also where one of the two names is the default."""
    (line,) = faults(written(tmp_path, '[audit]\ntable = "lockside-state"\n'))
    assert line.startswith("state:")
    assert "audit.table too" in line


def test_variables_of_a_kubernetes_service_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service called lockside makes Kubernetes set variables that look like ours and are none."""
    for name in ("LOCKSIDE_SERVICE_HOST", "LOCKSIDE_PORT", "LOCKSIDE_PORT_9464_TCP_ADDR", "LOCKSIDE_CONFIG"):
        monkeypatch.setenv(name, "10.0.0.1")
    assert load(None) == Settings()


@pytest.mark.parametrize(
    ("text", "words"),
    [("[aws", "is not TOML"), (None, "cannot be read"), ("\udcff", "is not UTF-8")],
)
def test_an_unreadable_file_is_one_clear_message(tmp_path: Path, text: str | None, words: str) -> None:
    """A missing, broken or binary file is named with its path."""
    path = tmp_path / "lockside.toml"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=words) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_broken_json_in_the_environment_is_a_fault_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in the environment is JSON; where it is not, the variable's field is named and its text is not."""
    monkeypatch.setenv("LOCKSIDE_SOURCE", "hunter2")
    (line,) = faults(None)
    assert "source" in line
    assert "hunter2" not in line


def test_settings_are_frozen() -> None:
    """Nothing changes settings after they were checked."""
    with pytest.raises(ValueError, match="frozen"):
        load(None).ops.listen = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", None),
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_listen_addresses(text: str, address: tuple[str, int] | None) -> None:
    """A listen address is host and port, IPv6 in brackets, port 0 for any."""
    assert listen_address(text) == address


@pytest.mark.parametrize("text", ["9464", ":9464", "host:", "host:port", "host:65536", "host:-1", "host:٣"])
def test_bad_listen_addresses(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(ValueError, match=re.escape("127.0.0.1:9464")):
        listen_address(text)


def keys(model: type[BaseModel]) -> dict[str, object]:
    """Return a section's keys with their defaults."""
    return {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}


def plain(value: object) -> object:
    """Spell a default as TOML gives it back."""
    match value:
        case Path():
            return str(value)
        case tuple():
            return list(value)
        case BaseModel():
            # What TOML cannot spell as unset stands as a comment.
            inner = keys(type(value))
            return {name: plain(each) for name, each in inner.items() if each is not None}
        case _:
            return value


def test_the_commented_example_shows_every_key_with_its_default() -> None:
    """config/lockside.toml has each key of the model, and nothing else, each with its default and a comment above."""
    text = (CONFIG / "lockside.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    load(CONFIG / "lockside.toml")
    for section, default in keys(Settings).items():
        if section in {"source", "layout", "replica"}:
            continue
        assert section in document
        wanted = keys(type(default)) if isinstance(default, BaseModel) else {section: default}
        shown = document[section] if isinstance(default, BaseModel) else {section: document[section]}
        assert shown == {name: plain(value) for name, value in wanted.items()}
    # Keys without a default that TOML could spell stand as comments.
    shown_keys = set(re.findall(r"^(?:# )?(\w+) = ", text.partition("[[source]]")[2], re.MULTILINE))
    assert shown_keys == set(keys(SourceSettings))
    lines = text.splitlines()
    bare = [
        line
        for above, line in pairwise(lines)
        if re.match(r"\w+ = ", line) and not above.startswith("#") and not re.match(r"\w+ = ", above)
    ]
    assert [line for line in bare if line != 'id = "sessions"'] == []


def test_each_knob_of_kcl_is_shown_with_the_default_profiles_value() -> None:
    """The commented lines under [engine.kcl] are the default profile; no knob is left out."""
    text = (CONFIG / "lockside.toml").read_text(encoding="utf-8")
    section = text.partition("[engine.kcl]")[2].partition("[recipe]")[0]
    shown = {name: int(value) for name, value in re.findall(r"^# (\w+_ms) = (\d+)$", section, re.MULTILINE)}
    assert shown == asdict(PROFILES["default"])
    assert set(shown) <= set(KclSettings.model_fields)
    assert knobs_of(KclSettings(failover_ms=9_000)) == replace(PROFILES["default"], failover_ms=9_000)
    assert knobs_of(KclSettings(profile="conservative")) == PROFILES["conservative"]


def test_a_leader_that_cannot_miss_one_heartbeat_is_refused(tmp_path: Path) -> None:
    """KCL takes a leader for dead after one lease: it must be two heartbeats at least."""
    path = written(tmp_path, "[engine.kcl]\nleader_lease_ms = 1500\nleader_heartbeat_ms = 1000\n")
    assert faults(path) == ["engine.kcl.leader_heartbeat_ms = 1000: should be at most half of leader_lease_ms = 1500"]


def test_the_demo_settings_load() -> None:
    """config/demo.toml holds together, and watches two tables of each kind."""
    assert [source.id for source in load(CONFIG / "demo.toml").source] == [
        "locks",
        "sessions",
        "login-locks",
        "logins",
    ]
