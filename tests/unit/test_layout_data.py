"""Layouts as data: what a file may say, how it is refused, renamed and found."""

from typing import Any

import pytest

from lockside.core.entity import EntityKey
from lockside.core.row import Layout, LockRow, SessionRow
from lockside.errors import LayoutError
from lockside.layouts.field import LEASE_MS_MAX
from lockside.layouts.path import MISSING, compile_path, drop, find
from lockside.layouts.registry import builtin, of_kind
from lockside.layouts.spec import Spec, load

KEY = EntityKey((("S", "x"),))
LOCK: dict[str, Any] = {
    "name": "mine",
    "kind": "lock",
    "keys": {"names": ["id"]},
    "owner": {"attr": "who"},
    "release": {"rule": "none", "mode": "delete"},
}
SESSION: dict[str, Any] = {
    "name": "mine",
    "kind": "session",
    "keys": {"names": ["id"]},
    "payload": {"attr": "sess", "codecs": ["json"]},
}


def lock(image: dict[str, Any], **fields: Any) -> LockRow:
    """Read a row by a layout made for the test."""
    row = load({**LOCK, **fields}, "test").read(image)
    assert isinstance(row, LockRow)
    return row


def session(image: dict[str, Any], **fields: Any) -> SessionRow:
    """Read a row by a layout made for the test."""
    row = load({**SESSION, **fields}, "test").read(image)
    assert isinstance(row, SessionRow)
    return row


def refusal(document: dict[str, Any]) -> str:
    """Return what a document is refused with."""
    with pytest.raises(LayoutError) as error:
        load(document, "mine.toml")
    return str(error.value)


def test_builtin_layouts_are_layouts() -> None:
    """Each built-in layout fulfils the core's protocol, names its client and tells its default key."""
    specs: tuple[Layout, ...] = tuple(builtin())
    assert [spec.name for spec in specs] == sorted(builtin().names)
    assert all(
        spec.about.client and spec.about.docs and spec.key_names and len(spec.digest) == 64 for spec in builtin()
    )
    assert {spec.traits.kind for spec in of_kind(builtin(), "lock")} == {"lock"}
    (pydynlock,) = builtin().find("pydynlock")
    assert pydynlock.default_sort == "-"


def test_names_aliases_and_families_are_found() -> None:
    """A layout answers to its name and aliases in any case, a family to its own."""
    assert [spec.name for spec in builtin().find("dynamodb-session-flask")] == ["session-web"]
    assert [spec.name for spec in builtin().find("Flask-Session")] == ["flask-session"]
    assert [spec.name for spec in builtin().find("tristanls")] == ["tristanls-closed", "tristanls-open"]
    assert [spec.name for spec in builtin().resolve(["tristanls", "tristanls-open"])] == [
        "tristanls-closed",
        "tristanls-open",
    ]


def test_unknown_name_is_refused_with_the_nearest() -> None:
    """An unknown layout's message names the nearest and all known ones."""
    with pytest.raises(LayoutError, match=r"'awslab' is not known; did you mean 'awslabs'.*pydynlock"):
        builtin().find("awslab")


def test_locks_and_sessions_do_not_mix() -> None:
    """A source holds one kind."""
    with pytest.raises(LayoutError, match=r"not both: awslabs \(lock\), authjs \(session\)"):
        builtin().resolve(["awslabs", "authjs"])


def test_own_layouts_join_and_may_not_take_a_name() -> None:
    """A user's layout stands beside the built-in ones, under a name of its own."""
    assert "mine" in builtin().with_layouts([LOCK], "layout").names
    with pytest.raises(LayoutError, match="'awslabs' belongs to layout 'awslabs' already"):
        builtin().with_layouts([{**LOCK, "aliases": ["awslabs"]}], "layout")
    with pytest.raises(LayoutError, match="family = 'next-auth' is a name of layout 'authjs'"):
        builtin().with_layouts([{**LOCK, "family": "next-auth"}], "layout")


def test_all_faults_are_told_at_once_with_field_and_value() -> None:
    """A badly written layout is refused with file, field, value and what is allowed, for every fault."""
    told = refusal(
        {
            **LOCK,
            "ownr": "x",
            "owner": {"attr": ""},
            "lease": {"attr": "l", "unit": "minutes"},
            "release": {"rule": "equals", "mode": "perhaps", "attr": "r"},
        }
    )
    assert told.startswith("mine.toml: ")
    for part in (
        "ownr: no such field (value 'x'); did you mean owner?",
        "owner.attr: ''",
        "lease.unit: 'minutes' is not allowed: input should be 'ms', 's' or 'go-duration'",
        "release.mode: 'perhaps' is not allowed",
        "release.value: is missing",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"kind": "lokc"}, "kind: 'lokc' is not allowed: it must be one of 'lock', 'session'"),
        ({"release": {"mode": "delete"}}, "release.rule: is missing; it must be one of 'none', 'exists', 'absent'"),
        ({"release": {"rule": "exist", "mode": "mark"}}, "release.rule: 'exist' is not allowed: it must be one of"),
        ({"release": "none"}, "release: 'none' is not allowed: it must be a table"),
        ({"keys": "id"}, "keys: 'id' is not allowed: it must be a table"),
        ({"payload": {"attr": "x"}}, "(value {'attr': 'x'}); it belongs to kind = 'session', not 'lock'"),
        ({"absnt_user": "no"}, "absnt_user: no such field (value 'no')"),
        ({"owner": {"attr": "o", "payload": "x"}}, "owner.payload: no such field (value 'x')"),
        ({"name": "Not A Name"}, "name: 'Not A Name'"),
        ({"principals": ["x"]}, "principals: no such field"),
        ({"lease": {"attr": "l", "unit": "s"}, "deadline": {"attr": "d", "unit": "s"}}, "only one of them"),
        ({"owner": None}, "rows.required"),
        ({"keys": {"names": ["a", "b", "c"]}}, "keys.names"),
        (
            {"release": {"rule": "none", "mode": "delete", "attr": "x"}},
            "release.attr: no such field (value 'x'); it belongs to rule = 'exists' or 'absent' or 'equals'",
        ),
        ({"rows": {"required": {"a": ["TEXT"]}}}, "rows.required.a.0: 'TEXT'"),
    ],
)
def test_faulty_lock_layouts_are_refused(change: dict[str, Any], part: str) -> None:
    """Each kind of fault is told by its field."""
    assert part in refusal({**LOCK, **change})


def test_a_value_of_no_kind_that_is_allowed_is_told_once_by_its_field() -> None:
    """A field that takes text, numbers or truth values has one fault, at the path that stands in the file."""
    told = refusal(
        {
            **LOCK,
            "release": {"rule": "equals", "attr": "x", "mode": "mark", "value": 1.5},
            "rows": {"equals": {"s": ["a", 2.5]}},
        }
    )
    allowed = "is not allowed: it must be text, a whole number, or true or false"
    assert told.splitlines()[1:] == [f"  rows.equals.s.1: 2.5 {allowed}", f"  release.value: 1.5 {allowed}"]


def test_a_field_is_never_suggested_for_itself() -> None:
    """What stands in the wrong table is not misspelt."""
    told = refusal({**LOCK, "attr": "x", "owner": {"attr": "o", "payload": "x"}})
    assert "did you mean attr" not in told
    assert "did you mean payload" not in told


NO_OWNER: dict[str, Any] = {"rule": "absent", "attr": "who", "mode": "mark"}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"deadline": {"attr": "d", "unit": "iso"}}, "deadline.types: ['N'] with unit \"iso\""),
        (
            {"deadline": {"attr": "d", "unit": "s", "otherwise": {"attr": "e", "unit": "iso"}}},
            "deadline.otherwise.types: ['N'] with unit",
        ),
        (
            {"deadline": {"attr": "d", "unit": "s", "none_until": {"attr": "e", "unit": "iso"}}},
            "deadline.none_until.types: ['N'] with unit",
        ),
        ({"lease": {"attr": "l", "unit": "go-duration"}}, "lease.types: ['N'] with unit \"go-duration\""),
        ({"release": {"rule": "lease_equals", "value": 1, "mode": "mark"}}, "without a lease"),
        ({"release": {"rule": "none", "mode": "mark"}}, 'release.mode: "mark" with rule "none"'),
        ({"release": {"rule": "none", "mode": "both"}}, 'release.mode: "both" with rule "none"'),
        ({"release": NO_OWNER, "rows": {"required": {"who": []}}}, "all would be held for ever"),
        ({"release": NO_OWNER, "rows": {"equals": {"who": ["a"]}}}, "all would be held for ever"),
        ({"release": {"rule": "exists", "attr": "who", "mode": "mark"}}, "all would be free for ever"),
        ({"release": NO_OWNER, "rows": {"absent": ["who"]}}, "all would be free for ever"),
        ({"rows": {"absent": ["x"], "required": {"x": []}}}, "rows.absent: ['x'] must be there"),
        ({"keys": {"names": ["id", "id"]}}, "keys.names: ['id', 'id'] names one attribute twice"),
        ({"lease": {"attr": "l", "unit": "s"}, "prunes": True}, "prunes: a contender's clearing"),
    ],
)
def test_lock_layouts_that_can_never_work_are_refused(change: dict[str, Any], part: str) -> None:
    """Written well, and yet every row would be unreadable, or no lock ever free: told before a row is seen."""
    told = refusal({**LOCK, "owner": {"attr": "who"}, **change})
    assert len(told.splitlines()) == 2
    assert part in told


@pytest.mark.parametrize(
    "change",
    [
        {"deadline": {"attr": "d", "unit": "iso", "types": ["S", "N"]}},
        {"lease": {"attr": "l", "unit": "go-duration", "types": ["S"]}},
        {"release": NO_OWNER},
        {"deadline": {"attr": "d", "unit": "s"}, "prunes": True},
        {"rows": {"sort": {"prefix": ["_"]}}},
    ],
)
def test_lock_layouts_that_look_alike_and_work_are_taken(change: dict[str, Any]) -> None:
    """Also a rule on a sort key that the client does not name: its users' tables may have one."""
    assert load({**LOCK, "owner": {"attr": "who"}, **change}, "mine.toml").name == LOCK["name"]


def test_session_layouts_never_name_a_codec_that_executes() -> None:
    """There is no pickle, nor any codec for a row that is flat."""
    assert "'json', 'msgpack', 'map', 'php', 'django' or 'opaque'" in refusal(
        {**SESSION, "payload": {"attr": "a", "codecs": ["pickle"]}}
    )
    assert "codecs belong to an attribute" in refusal({**SESSION, "payload": {"codecs": ["json"]}})


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"payload": {"path": "a"}}, "path and churns belong to an attribute"),
        ({"payload": {"attr": "a", "codecs": ["opaque", "json"]}}, "it must be the last of codecs"),
        ({"ended": {"path": "a"}}, "equals or below, one of them"),
        ({"ended": {"path": "a", "equals": ["x"], "below": 0}}, "equals or below, one of them"),
        ({"rows": {"partition": {"pattern": ["("]}}}, "rows.partition.pattern.0: is no regular expression"),
        ({"absent_user": "yes"}, "absent_user: 'yes' is not allowed"),
        ({"deadline": {"attr": "a", "unit": "s", "offset_ms": 10**9}}, "deadline.offset_ms"),
        ({"lifetime_max_ms": 0}, "lifetime_max_ms"),
    ],
)
def test_faulty_session_layouts_are_refused(change: dict[str, Any], part: str) -> None:
    """Each kind of fault is told by its field."""
    assert part in refusal({**SESSION, **change})


def test_documentation_is_not_in_the_digest() -> None:
    """A corrected note makes no new recipe; a changed meaning does; one path spelled two ways is one meaning."""
    plain = load(LOCK, "test").digest
    assert load({**LOCK, "notes": "better said", "docs": "https://example.org"}, "test").digest == plain
    assert load({**LOCK, "shows": {"more": ["S"]}, "fallback": True}, "test").digest == plain
    assert load({**LOCK, "owner": {"attr": "other"}}, "test").digest != plain
    dotted, listed = ({**SESSION, "principals": [path]} for path in ("a.b", ["a", "b"]))
    assert load(dotted, "test").digest == load(listed, "test").digest


def test_attributes_can_be_renamed() -> None:
    """The layout's name = the table's, everywhere the layout names it; the recipe differs."""
    (spec,) = builtin().find("tristanls-open")
    renamed = spec.with_overrides({"owner": "holder", "leaseDurationMs": "ttl_ms", "guid": "owner"})
    image = {
        "holder": {"S": "a"},
        "owner": {"B": "AAEC"},
        "ttl_ms": {"N": "1"},
        "fencingToken": {"N": "1"},
    }
    assert renamed.claims(KEY, image)
    assert renamed.read(image) == LockRow("a", "AAEC", 1, None, released=True, fence="1")
    assert renamed.digest != spec.digest
    assert spec.with_overrides({}) is spec


def test_principals_of_a_source_come_first() -> None:
    """A source's own paths to the user are tried before the layout's."""
    (spec,) = builtin().find("session-web")
    own = spec.with_overrides({"principal": ["profile.sub"]})
    both = {"data": {"S": '{"user": "u", "profile": {"sub": "s"}}'}, "expires": {"N": "1"}}
    other = {"data": {"S": '{"user": "u"}'}, "expires": {"N": "1"}}
    rows = [own.read(image) for image in (both, other)]
    assert [row.principal for row in rows if isinstance(row, SessionRow)] == ["s", "u"]


def test_flat_layouts_are_renamed_in_their_paths_too() -> None:
    """In a flat row a path begins at an attribute, so it is renamed with it."""
    (spec,) = builtin().find("authjs")
    row = spec.with_overrides({"sessionToken": "tok", "expires": "until"}).read(
        {"tok": {"S": "t"}, "until": {"N": "5"}, "type": {"S": "SESSION"}, "pk": {"S": "a"}}
    )
    assert row == SessionRow(None, "no", 5_000, None)


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"onwer": "x"}, "'onwer' is no attribute of this layout; did you mean 'owner'"),
        ({"owner": ""}, "owner = '': must be the attribute's name"),
        ({"owner": 5}, "owner = 5"),
        ({"principal": ["x"]}, "only sessions have one"),
    ],
)
def test_faulty_overrides_are_refused(overrides: dict[str, Any], part: str) -> None:
    """An override that fits nothing in the layout is refused with the nearest name."""
    (spec,) = builtin().find("tristanls-open")
    with pytest.raises(LayoutError) as error:
        spec.with_overrides(overrides)
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("unit", "wire", "lease_ms"),
    [
        ("ms", {"N": "1500.9"}, 1_500),
        ("s", {"N": "0.0015"}, 1),
        ("s", {"S": "20"}, 20_000),
        ("go-duration", {"S": "1m30s"}, 90_000),
        ("go-duration", {"S": "500ms"}, 500),
        ("go-duration", {"S": "1h0m0.5s"}, 3_600_500),
        ("go-duration", {"S": "1.5us"}, 0),
        ("go-duration", {"S": "20"}, None),
        ("go-duration", {"S": ""}, None),
        ("go-duration", {"S": "-20s"}, None),
        ("ms", {"N": str(LEASE_MS_MAX + 1)}, None),
    ],
)
def test_lease_units(unit: str, wire: dict[str, str], lease_ms: int | None) -> None:
    """Leases of every unit become whole milliseconds, rounded down; another unit's spelling is not guessed at."""
    row = lock({"who": {"S": "a"}, "l": wire}, lease={"attr": "l", "types": ["S", "N"], "unit": unit})
    assert row.lease_ms == lease_ms
    assert row.faults == (() if lease_ms is not None else ("lease_unreadable",))


@pytest.mark.parametrize(
    ("unit", "wire", "deadline_ms"),
    [
        ("s", {"N": "1.0019"}, 1_001),
        ("ms", {"N": "1795421916123"}, 1_795_421_916_123),
        ("ns", {"N": "1795421916123456789"}, 1_795_421_916_123),
        ("auto", {"N": "1795421916"}, 1_795_421_916_000),
        ("auto", {"N": "1795421916123"}, 1_795_421_916_123),
        ("auto", {"N": "1795421916123456"}, 1_795_421_916_123),
        ("auto", {"N": "1795421916123456789"}, 1_795_421_916_123),
        ("auto", {"S": "1795421916"}, 1_795_421_916_000),
        ("auto", {"S": "2026-11-23T08:18:36.5Z"}, 1_795_421_916_500),
        ("iso", {"S": "2026-11-23T08:18:36.123456+00:00"}, 1_795_421_916_123),
        ("iso", {"S": "2026-11-23T17:18:36+09:00"}, 1_795_421_916_000),
        ("iso", {"S": "2026-11-23T08:18:36"}, 1_795_421_916_000),
        ("iso", {"S": "20261123"}, None),
        ("iso", {"S": "0001-01-01T00:00:00+23:59"}, None),
        ("iso", {"S": "tomorrow"}, None),
        ("iso", {"N": "1795421916"}, None),
    ],
)
def test_deadline_units(unit: str, wire: dict[str, str], deadline_ms: int | None) -> None:
    """Instants of every unit and ISO text become epoch milliseconds, rounded down."""
    row = lock({"who": {"S": "a"}, "d": wire}, deadline={"attr": "d", "types": ["S", "N"], "unit": unit})
    assert row.deadline_ms == deadline_ms
    assert bool(row.faults) == (deadline_ms is None)


@pytest.mark.parametrize(
    ("release", "image", "free"),
    [
        ({"rule": "absent", "attr": "who"}, {}, True),
        ({"rule": "absent", "attr": "who"}, {"who": {"S": "a"}}, False),
        ({"rule": "equals", "attr": "who", "value": "__empty__"}, {"who": {"S": "__empty__"}}, True),
        ({"rule": "equals", "attr": "n", "value": 0}, {"who": {"S": "a"}, "n": {"N": "0.0"}}, True),
        ({"rule": "equals", "attr": "b", "value": True}, {"who": {"S": "a"}, "b": {"BOOL": True}}, True),
        ({"rule": "equals", "attr": "b", "value": True}, {"who": {"S": "a"}, "b": {"ODD": 1}}, False),
    ],
)
def test_release_rules(release: dict[str, Any], image: dict[str, Any], *, free: bool) -> None:
    """Each rule frees the row by what it names, and never by what cannot be read."""
    assert lock(image, release={**release, "mode": "mark"}).released is free


def test_layout_that_is_free_without_owner_claims_unowned_rows() -> None:
    """Where a missing owner means free, a row without one is still the layout's."""
    spec = load({**LOCK, "release": {"rule": "absent", "attr": "who", "mode": "mark"}}, "test")
    assert spec.claims(KEY, {"id": {"S": "x"}})


def test_owner_may_stand_in_json() -> None:
    """Terraform keeps the owner in the JSON of an attribute, and a digest row that is no lock beside the lock."""
    spec = load(
        {
            **LOCK,
            "owner": {"attr": "Info", "path": "Who"},
            "version": {"attr": "Info", "path": "ID"},
            "rows": {"partition": {"not_suffix": ["-md5"]}},
        },
        "test",
    )
    image = {"Info": {"S": '{"ID": "1", "Who": "me@host"}'}}
    assert spec.read(image) == LockRow("me@host", "1", None, None, released=False)
    assert spec.claims(KEY, image)
    assert not spec.claims(EntityKey((("S", "bucket/state-md5"),)), image)
    for broken in ({"S": "{"}, {"S": "[1]"}):
        row = spec.read({"Info": broken})
        assert isinstance(row, LockRow)
        assert row.faults == ("owner_unreadable", "version_unreadable")


def test_map_and_opaque_payloads() -> None:
    """A DynamoDB map is read as it is; without a codec a payload is opaque by design, and no fault."""
    row = session(
        {"sess": {"M": {"user": {"N": "7"}}}}, payload={"attr": "sess", "codecs": ["map"]}, principals=["user"]
    )
    assert (row.principal, row.authenticated, row.faults) == ("7", "yes", ())
    opaque = session({"sess": {"B": "AAEC"}}, payload={"attr": "sess"})
    assert (opaque.authenticated, opaque.faults, opaque.payload is None) == ("unknown", (), False)
    assert session({"sess": {"B": ""}}, payload={"attr": "sess"}).payload is None


def test_principal_beside_the_payload_without_its_prefix() -> None:
    """A user may stand in the key, behind a prefix that is no name."""
    principal = {"path": "PK", "of": "row", "strip": "USER#"}
    row = session({"PK": {"S": "USER#42"}, "sess": {"S": '{"a": 1}'}}, principals=[principal])
    assert (row.principal, row.authenticated) == ("42", "yes")


def test_paths_find_and_drop() -> None:
    """Paths lead through maps and lists, and a star stands for any text, in sorted order."""
    value = {"warden": {"key": [["id", 5], "salt"]}, "login_b": 2, "login_a": 1, "cookie": {"x": 1, "y": 2}}
    assert find(value, compile_path("warden.key.0.1")) == 5
    assert find(value, compile_path("login_*")) == 1
    assert find(value, compile_path("warden.key.7")) is MISSING
    assert find(value, compile_path("login_a.b")) is MISSING
    drop(value, compile_path("cookie.*"))
    drop(value, compile_path("nothing.here"))
    assert value["cookie"] == {}


def test_spec_repr_holds_no_document() -> None:
    """A layout's text form is short."""
    assert "document" not in repr(next(iter(builtin())))
    assert isinstance(next(iter(builtin())), Spec)
