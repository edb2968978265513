"""The session layouts: what each reads of a row, and what it makes of a row that is not as it should be."""

import json
import sys
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from lockside.core.entity import EntityKey
from lockside.core.row import SessionRow
from lockside.layouts.registry import builtin
from lockside.layouts.spec import Spec, load

KEY = EntityKey((("S", "session:abc"),))
AUTHJS_KEY = EntityKey((("S", "USER#1"), ("S", "SESSION#t")))
AUTHJS = {
    "pk": {"S": "USER#1"},
    "sk": {"S": "SESSION#t"},
    "GSI1PK": {"S": "SESSION#t"},
    "GSI1SK": {"S": "SESSION#t"},
    "sessionToken": {"S": "t"},
    "userId": {"S": "1"},
    "type": {"S": "SESSION"},
    "expires": {"N": "1795421471.741"},
}


def read(layout: str, image: dict[str, Any]) -> SessionRow:
    """Read a row."""
    (spec,) = builtin().find(layout)
    row = spec.read(image)
    assert isinstance(row, SessionRow)
    return row


def flask(value: Any, expiration: str = "1795421441.2476480007171630859375") -> dict[str, Any]:
    """Make a row as Flask-Session does."""
    return {"id": {"S": "session:abc"}, "val": {"B": msgpack.packb(value)}, "expiration": {"N": expiration}}


def web(value: Any, **more: Any) -> dict[str, Any]:
    """Make a row as dynamodb-session-web does."""
    return {"id": {"S": "abc"}, "data": {"S": json.dumps(value)}, "expires": {"N": "1795421916"}, **more}


def test_flask_session_is_read() -> None:
    """Principal, exact deadline and digest come out of a full row; the last digit of 32 is not rounded up."""
    row = read("flask-session", flask({"_user_id": "dave", "_permanent": True}))
    assert (row.principal, row.authenticated, row.deadline_ms, row.faults) == ("dave", "yes", 1_795_421_441_247, ())
    assert row.payload is not None
    late = read("flask-session", flask({"a": 1}, "1795421441.247" + "9" * 25))
    assert late.deadline_ms == 1_795_421_441_247


def test_deep_payload_reads_alike_whatever_the_callers_stack() -> None:
    """How deep a codec goes depends on who calls it; a record must not, nor on what of it is volatile."""
    image = web({"user_id": "u"})
    image["data"] = {"S": '{"_permanent":' + "[" * 900 + "]" * 900 + ',"user_id":"u"}'}

    def below(frames: int) -> SessionRow:
        return read("session-web", image) if frames == 0 else below(frames - 1)

    assert below(0) == below(200)
    assert below(0).faults == ("payload_unreadable",)


def test_long_integers_read_alike_whatever_the_environment_says() -> None:
    """PYTHONINTMAXSTRDIGITS decides how long an integer Python reads; a record does not depend on it."""
    image = web({"user_id": "u"})
    image["data"] = {"S": '{"user_id":"u","n":' + "9" * 5_000 + "}"}
    limit = sys.get_int_max_str_digits()
    row = read("session-web", image)
    sys.set_int_max_str_digits(0)
    try:
        assert read("session-web", image) == row
    finally:
        sys.set_int_max_str_digits(limit)
    assert row.faults == ("payload_unreadable",)


@pytest.mark.parametrize("payload", ["0", "false", "0.0"])
def test_a_lone_scalar_is_no_empty_session(payload: str) -> None:
    """Only a map, or nothing at all, is a session's payload."""
    assert read("session-web", {**web({}), "data": {"S": payload}}).faults == ("payload_unreadable",)


def test_flask_session_json_and_msgpack_say_the_same() -> None:
    """The serializer is a setting of the client, so both are read, from binary or text."""
    value = {"_user_id": "dave", "cart": [1, 2]}
    packed = read("flask-session", flask(value))
    spelled = json.dumps(value)
    for wire in ({"B": spelled.encode()}, {"S": spelled}):
        assert read("flask-session", {**flask(value), "val": wire}) == packed


@pytest.mark.parametrize("image", [{"id": {"S": "x"}}, flask({}), flask({"_permanent": True})])
def test_stub_and_emptied_row_hold_no_session(image: dict[str, Any]) -> None:
    """A row of keys only (moto's first INSERT), or emptied of its payload, belongs to the table and says nothing."""
    (spec,) = builtin().find("flask-session")
    assert spec.claims(KEY, image)
    assert (read("flask-session", image).payload, read("flask-session", image).principal) == (None, None)


def test_volatile_parts_change_no_digest() -> None:
    """What changes without meaning does not count."""
    plain = read("flask-session", flask({"_user_id": "d"})).payload
    assert read("flask-session", flask({"_user_id": "d", "_permanent": True})).payload == plain
    assert read("flask-session", flask({"_user_id": "d", "x": 1})).payload != plain


@pytest.mark.parametrize(
    ("value", "principal", "authenticated"),
    [
        ({"_user_id": 5}, "5", "yes"),
        ({"_user_id": 0}, "0", "yes"),
        ({"_user_id": ""}, None, "no"),
        ({"_user_id": None}, None, "no"),
        ({"_user_id": {}}, None, "no"),
        ({"a": 1}, None, "no"),
        ({"_user_id": ["d"]}, None, "unknown"),
        ({"_user_id": True}, None, "unknown"),
    ],
)
def test_principal_is_text_or_number(value: dict[str, Any], principal: str | None, authenticated: str) -> None:
    """A user is a text or a whole number; something else in its place is unknown, never nobody."""
    row = read("flask-session", flask(value))
    assert (row.principal, row.authenticated) == (principal, authenticated)
    assert row.faults == (("principal_unreadable",) if authenticated == "unknown" else ())


@pytest.mark.parametrize(
    "wire",
    [
        {"B": b"\x80\x04\x95\x0b\x00\x00\x00}\x94."},
        {"B": b"\xc1"},
        {"B": msgpack.packb([1, 2])},
        {"B": msgpack.packb(dict.fromkeys(range(1_001)))},
        {"B": b'{"a": NaN}'},
        {"B": b'{"a": 1e9999999999999999999}'},
        {"B": b'{"a": ' + b"9" * 5_000 + b"}"},
        {"B": b'{"a":' * 40 + b"1" + b"}" * 40},
        {"B": b"[" * 100_000},
        {"B": json.dumps({"a": list(range(60_000))}).encode()},
        {"B": b'{"a": "' + b"x" * 410_000 + b'"}'},
        {"N": "5"},
        {"M": {"_user_id": {"S": "d"}}},
        {"B": "no base64!"},
        {"ODD": 1},
        "text",
    ],
    ids=range(16),
)
def test_unreadable_payload_is_unknown_and_still_has_a_digest(wire: Any) -> None:
    """Pickle, broken, hostile and foreign payloads are opaque: nobody is called logged out because of them."""
    row = read("flask-session", {**flask({}), "val": wire})
    assert (row.principal, row.authenticated, row.faults) == (None, "unknown", ("payload_unreadable",))
    assert row.payload is not None
    assert row.payload == read("flask-session", {**flask({}), "val": wire}).payload


def test_unreadable_payload_digest_is_the_same_from_bytes_and_base64() -> None:
    """boto3 hands bytes over and KCL base64: the record must not differ."""
    by_boto3 = read("flask-session", {**flask({}), "val": {"B": b"\xc1\xc1"}})
    assert read("flask-session", {**flask({}), "val": {"B": "wcE="}}) == by_boto3


@pytest.mark.parametrize(
    ("wire", "deadline_ms", "faults"),
    [
        ({"N": "1795421916"}, 1_795_421_916_000, ()),
        ({"N": "0"}, 0, ()),
        ({"S": "1795421916"}, None, ("deadline_unreadable",)),
        ({"N": "soon"}, None, ("deadline_unreadable",)),
        ({"N": "-5"}, None, ("deadline_absurd",)),
        ({"N": "1795421916000"}, None, ("deadline_absurd",)),
        ({"N": "1E+125"}, None, ("deadline_absurd",)),
        ({"L": []}, None, ("deadline_unreadable",)),
        ({"Z": "1"}, None, ("deadline_unreadable",)),
        ({"NULL": True}, None, ("deadline_missing",)),
        (None, None, ("deadline_missing",)),
    ],
)
def test_deadline_faults(wire: Any, deadline_ms: int | None, faults: tuple[str, ...]) -> None:
    """A deadline that cannot be read, or that no clock will reach, is none and a fault."""
    image = {name: wire for name, wire in {**web({"user": "d"}), "expires": wire}.items() if wire is not None}
    row = read("session-web", image)
    assert (row.deadline_ms, row.faults, row.principal) == (deadline_ms, faults, "d")


def test_session_web_ignores_accessed_and_finds_the_user() -> None:
    """`accessed` is written on every request and is no payload; a user may be an object with an id."""
    one = read("session-web", web({"user": "dave"}, accessed={"S": "2026-11-23T08:18:33.436969+00:00"}))
    assert one == read("session-web", web({"user": "dave"}, accessed={"S": "2026-11-23T08:18:34+00:00"}))
    assert read("session-web", web({"user": {"id": 7, "name": "x"}})).principal == "7"
    assert read("session-web", web({})).payload is None


def test_authjs_claims_sessions_only() -> None:
    """Users, accounts and verification tokens share the table: the sort key tells, not `type`."""
    (spec,) = builtin().find("authjs")
    assert spec.claims(AUTHJS_KEY, AUTHJS)
    account = EntityKey((("S", "USER#1"), ("S", "ACCOUNT#github#1")))
    assert not spec.claims(account, {**AUTHJS, "sk": {"S": "ACCOUNT#github#1"}, "type": {"S": "oauth"}})
    assert not spec.claims(EntityKey((("S", "USER#1"),)), AUTHJS)
    assert not spec.claims(AUTHJS_KEY, {**AUTHJS, "type": {"S": "oauth"}})


def test_authjs_row_is_flat() -> None:
    """The user is an attribute; the deadline has milliseconds, or is ISO text in old rows; moving it is no change."""
    row = read("authjs", AUTHJS)
    assert (row.principal, row.authenticated, row.deadline_ms) == ("1", "yes", 1_795_421_471_741)
    old = read("authjs", {**AUTHJS, "expires": {"S": "2026-11-23T08:11:11.741Z"}})
    assert old == row
    assert read("authjs", {**AUTHJS, "expires": {"N": "1795421999"}}).payload == row.payload
    assert read("authjs", {**AUTHJS, "aws:rep:deleting": {"BOOL": False}}).payload == row.payload
    assert read("authjs", {**AUTHJS, "role": {"S": "admin"}}).payload != row.payload
    assert read("authjs", {name: AUTHJS[name] for name in ("pk", "sk", "type", "expires")}).payload is None


def test_authjs_row_with_an_illegal_attribute_is_unreadable() -> None:
    """In a flat row every attribute is payload, so one illegal value makes it opaque."""
    row = read("authjs", {**AUTHJS, "odd": {"WHAT": 1}})
    assert (row.authenticated, row.faults, row.principal) == ("unknown", ("payload_unreadable",), None)


OWN: dict[str, Any] = {
    "name": "mine",
    "kind": "session",
    "keys": {"names": ["id"]},
    "payload": {"attr": "data", "codecs": ["json"]},
    "principals": ["user"],
}


def own(image: dict[str, Any], **fields: Any) -> SessionRow:
    """Read a row by a layout made for the test."""
    row = load({**OWN, **fields}, "test").read(image)
    assert isinstance(row, SessionRow)
    return row


@pytest.mark.parametrize(
    ("fields", "image", "deadline_ms"),
    [
        ({"never": [0, -1]}, {"expires": {"N": "0"}}, None),
        ({"never": [0, -1]}, {"expires": {"N": "-1"}}, None),
        ({"never": [0], "types": ["S"]}, {"expires": {"S": "0"}}, None),
        ({"never": [0]}, {"expires": {"N": "1"}}, 1_000),
        ({"offset_ms": 7_200_000}, {"expires": {"N": "10000"}}, 2_800_000),
        ({"offset_ms": -7_200_000}, {"expires": {"N": "10000"}}, 17_200_000),
        ({"none_until": {"attr": "at", "unit": "s"}}, {"expires": {"N": "100"}, "at": {"N": "100"}}, None),
        ({"none_until": {"attr": "at", "unit": "s"}}, {"expires": {"N": "101"}, "at": {"N": "100"}}, 101_000),
        (
            {"none_until": {"attr": "at", "unit": "s", "within_ms": 1_000}},
            {"expires": {"N": "101"}, "at": {"N": "100"}},
            None,
        ),
        ({"none_until": {"attr": "at", "unit": "s"}}, {"expires": {"N": "100"}}, 100_000),
        ({"none_until": {"attr": "at", "unit": "s"}}, {"expires": {"N": "100"}, "at": {"S": "x"}}, 100_000),
    ],
)
def test_what_is_stored_as_a_deadline_may_be_none(
    fields: dict[str, Any], image: dict[str, Any], deadline_ms: int | None
) -> None:
    """A number that means never, the present of a client without a limit, a clock that does not run by UTC."""
    row = own(image, deadline={"attr": "expires", "unit": "s", **fields})
    assert (row.deadline_ms, row.faults) == (deadline_ms, ())


@pytest.mark.parametrize(
    ("test", "wire", "over"),
    [
        ({"below": 0}, {"N": "-1"}, True),
        ({"below": 0}, {"N": "0"}, False),
        ({"below": 0}, {"S": "-1"}, False),
        ({"equals": ["revoked", True]}, {"S": "revoked"}, True),
        ({"equals": ["revoked", True]}, {"BOOL": True}, True),
        ({"equals": ["revoked", True]}, {"BOOL": False}, False),
        ({"equals": ["revoked", True]}, {"M": {}}, False),
        ({"equals": ["revoked", True]}, {"WHAT": 1}, False),
        ({"equals": ["revoked", True]}, None, False),
    ],
)
def test_a_row_may_say_that_its_session_is_over(test: dict[str, Any], wire: Any, *, over: bool) -> None:
    """A mark of the end empties the row; what cannot be read is no mark."""
    image = {"data": {"S": '{"user":"u"}'}} | ({} if wire is None else {"state": wire})
    row = own(image, ended={"path": "state", **test})
    assert (row.payload is None, row.principal) == (over, None if over else "u")


def test_opaque_by_design_is_no_fault_and_may_churn() -> None:
    """What the codecs leave to `opaque` is unknown without a fault; where it churns, a change of it is none."""
    images = [{"data": {"S": text}} for text in ("BAh7", "BAh8")]
    plain = [own(image, payload={"attr": "data", "codecs": ["json", "opaque"]}) for image in images]
    assert {(row.authenticated, row.faults) for row in plain} == {("unknown", ())}
    assert plain[0].payload != plain[1].payload
    churning = [own(image, payload={"attr": "data", "codecs": ["json", "opaque"], "churns": True}) for image in images]
    assert churning[0] == churning[1]
    assert own({"data": {"S": ""}}, payload={"attr": "data", "churns": True}).payload is None


def test_nobody_where_the_application_may_keep_a_user_elsewhere_is_unknown() -> None:
    """Until the source says where its user stands: then nobody there is nobody."""
    spec = load({**OWN, "absent_user": "unknown"}, "test")
    told = spec.with_overrides({"principal": ["profile.sub"]})
    image = {"data": {"S": '{"a":1}'}}
    read = [one.read(image) for one in (spec, told)]
    assert [(row.authenticated, row.nobody) for row in read if isinstance(row, SessionRow)] == [
        ("unknown", True),
        ("no", True),
    ]
    somebody = own({"data": {"S": '{"user":["x"]}'}}, absent_user="unknown")
    assert (somebody.authenticated, somebody.nobody) == ("unknown", False)


def test_privileges_are_digested_apart() -> None:
    """Only what the layout names as rights makes a change one of rights."""
    paths = {"privileges": ["roles", "admin"]}
    rows = [
        own({"data": {"S": json.dumps({"user": "u", **more})}}, **paths)
        for more in ({"roles": ["a"]}, {"roles": ["a"], "cart": 1}, {"roles": ["a", "b"]}, {})
    ]
    assert rows[0].privileges == rows[1].privileges
    assert len({row.privileges for row in rows}) == 3
    assert own({"data": {"S": '{"user":"u"}'}}).privileges is None


BESIDE: list[Any] = [{"path": "who", "of": "row"}]


@pytest.mark.parametrize(
    ("codecs", "data", "faults"),
    [
        ([], {"B": b"\x81"}, ()),
        (["json", "opaque"], {"S": "BAh7"}, ()),
        (["json"], {"S": "{spoilt"}, ("payload_unreadable",)),
    ],
)
def test_a_user_beside_a_payload_that_cannot_be_read_is_known(
    codecs: list[str], data: dict[str, Any], faults: tuple[str, ...]
) -> None:
    """Opaque by design or spoilt: what stands beside it does not depend on it."""
    fields = {"payload": {"attr": "data", "codecs": codecs}, "principals": BESIDE}
    named, unnamed = own({"data": data, "who": {"S": "bob"}}, **fields), own({"data": data}, **fields)
    assert (named.principal, named.authenticated, named.faults) == ("bob", "yes", faults)
    assert (unnamed.principal, unnamed.authenticated, unnamed.nobody) == (None, "no", True)
    both = own({"data": data}, **{**fields, "principals": [*BESIDE, "user"]})
    assert (both.authenticated, both.nobody) == ("unknown", False)
    assert own({"who": {"S": "bob"}}, **fields).payload is None
    assert own({"who": {"S": "bob"}}, **fields).principal is None


@pytest.mark.parametrize(
    "name",
    [
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.aaa",
        "bearer 0123456789abcdef0123",
        "eyJ1c2VyIjoiYm9iIiwidG9rZW4iOiJzM2NyZXQifQ==",
        '"eyJhbGciOiJIUzI1NiJ9.x.y"',
        " eyJhbGciOiJIUzI1NiJ9.x.y",
        "gho_" + "x1" * 18,
        "github_pat_x",
        "glpat-x",
        "xoxb-1-x",
        "sk_live_x",
        "AKIA" + "X" * 16,
        'a:1:{s:5:"token";s:6:"secret";}',
        'O:4:"User":1:{s:2:"id";i:7;}',
        's:4:"x";',
        'j:{"a":1}',
        "%7B%22token%22%3A%22x%22%7D",
        "$2a$12$abcdefghijklmnopqrstuu",
        "$argon2id$v=19$x",
        "pbkdf2_sha256$260000$abc$def",
        "<xml><token>s</token>",
        "-----BEGIN PRIVATE KEY-----",
        "x" * 257,
        # Of the row itself: its key, the id at the key's end, a long part of that, another secret attribute.
        "sess:aaaa-BBBB1111x",
        "aaaa-BBBB1111x",
        "BBB1111x",
        "s3cr3t",
    ],
)
def test_what_looks_like_a_secret_or_is_one_of_the_rows_is_nobodys_name(name: str) -> None:
    """It stands in a user's place by an application's mistake, and must not be told (law 7)."""
    image = {"id": {"S": "sess:aaaa-BBBB1111x"}, "data": {"S": json.dumps({"user": name})}, "hash": {"S": "s3cr3t"}}
    row = own(image, secrets=["id", "hash"])
    assert (row.principal, row.authenticated, row.faults) == (None, "unknown", ("principal_unreadable",))
    assert row.payload is not None


@pytest.mark.parametrize(
    "name", ["ann", "ann@example.org", "a:b", "Sk Live", "eyJ", "basic", "7", "BBBB1111x", "DOMAIN\\ann", "akia"]
)
def test_a_name_is_a_name(name: str) -> None:
    """What only begins a little like a secret is none, nor is a short end of a key."""
    image = {"id": {"S": f"sess:aaaaBBBB1111{name}" if len(name) == 1 else "sess:aaaaBBBB1111"}}
    assert own({**image, "data": {"S": json.dumps({"user": name})}}).principal == name


def test_a_short_id_after_a_mark_is_one() -> None:
    """Whatever its length: it is all that the key has besides its prefix."""
    rows = [own({"id": {"S": f"{key}aaa"}, "data": {"S": '{"user":"aaa"}'}}) for key in ("sess:", "sess_", "sess")]
    assert [row.principal for row in rows] == [None, None, "aaa"]


def test_a_number_at_the_end_of_a_key_may_be_the_user() -> None:
    """Shopify's online tokens stand under the shop and its user."""
    online = {"M": {"associated_user": {"M": {"id": {"N": "902541635"}}}}}
    shop = {"id": {"S": "a.myshopify.com_902541635"}, "accessToken": {"S": "t"}, "onlineAccessInfo": online}
    assert read("shopify", shop).principal == "902541635"


def test_the_part_of_a_key_that_names_the_user_may_be_repeated() -> None:
    """Auth.js and Lucia put the user into the partition key on purpose; so may a layout of one's own."""
    assert read("authjs", AUTHJS | {"pk": {"S": "1"}}).principal == "1"
    image = {"id": {"S": "user#annabelle"}, "data": {"S": '{"user":"annabelle"}'}}
    assert own(image).principal is None
    assert own(image, principals=[{"path": "id", "of": "row", "strip": "user#"}]).principal == "annabelle"


def test_a_name_is_held_against_each_row_by_itself() -> None:
    """Two rows with the same payload are decoded once; the key of only one of them is that name."""
    spec = load(OWN, "test")
    data = {"data": {"S": '{"user":"aaaaBBBB1111"}'}}
    rows = [spec.read({"id": {"S": key}, **data}) for key in ("sess:other", "sess:aaaaBBBB1111", "sess:other")]
    assert [row.principal for row in rows if isinstance(row, SessionRow)] == ["aaaaBBBB1111", None, "aaaaBBBB1111"]


@pytest.mark.parametrize("tag", ["\ud800", "é" * 16, "", "N"])
def test_a_payload_of_a_type_that_nobody_knows_is_unreadable(tag: str) -> None:
    """It is told as such, and is no fault of ours."""
    assert "payload_unreadable" in read("flask-session", {"val": {tag: "text"}, "expiration": {"N": "1"}}).faults


def test_all_attributes_of_a_session_layout_can_be_renamed() -> None:
    """Also what a deadline is measured against, and what marks the end."""
    (rack,) = builtin().find("rack")
    image = {"until": {"N": "100"}, "seen": {"S": "100.5"}, "data": {"S": '{"user_id":7}'}}
    row = rack.with_overrides({"expire_at": "until", "updated_at": "seen"}).read(image)
    assert isinstance(row, SessionRow)
    assert (row.principal, row.deadline_ms, row.faults) == ("7", None, ())
    mine: Spec = load({**OWN, "rows": {"required": {"state": ["S"]}}, "ended": {"path": "state", "equals": ["x"]}}, "t")
    over = mine.with_overrides({"state": "status"}).read({"data": {"S": '{"user":"u"}'}, "status": {"S": "x"}})
    assert isinstance(over, SessionRow)
    assert over.payload is None


def test_sessions_among_other_rows_are_told_by_their_key() -> None:
    """A Laravel session's key ends in its id, alone or after a prefix; cache entries and locks do not."""
    (laravel,) = builtin().find("laravel")
    image = {"value": {"S": "x"}, "expires_at": {"N": "1"}}
    names = ["a" * 40, "laravel_cache_" + "A1" * 20, "myapp" + "a" * 40]
    others = ["laravel_cache_framework/schedule-" + "a1" * 20, "a" * 39, "settings", "a" * 40 + "!"]
    assert all(laravel.claims(EntityKey((("S", name),)), image) for name in names)
    assert not any(laravel.claims(EntityKey((("S", name),)), image) for name in others)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("authjs", "408ebf934497c694ced1c075bd661da5247f7a307535f80e4266da3bc59ad92d"),
        ("flask-session", "c7e52b151cabba53e6fd12f854b914c4e7da38c2188afbeba3563f7dbab58489"),
        ("session-web", "03ad5f20f9257ffa134d4cf106bbc24924d4bf4d46038c5a7b02af491f0cd4ae"),
    ],
)
def test_layouts_that_trails_are_written_with_stay_what_they_are(name: str, digest: str) -> None:
    """Another digest is another recipe: it seals the log of every worker that is upgraded."""
    (spec,) = builtin().find(name)
    assert spec.digest == digest
