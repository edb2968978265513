"""The decoders of payloads: what each reads, and that what it does not read it refuses in one way."""

import base64
import json
import zlib
from decimal import Decimal
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from lockside.layouts import payload
from lockside.layouts.decoders.limits import BYTES_MAX, DEPTH_MAX, MEMBERS_MAX
from lockside.layouts.path import compile_path

USER = {"_auth_user_id": "7", "cart": ["book"]}
# Written by Django 5.2.19: SessionBase.encode of an empty session, of one item, and of one with a user (compressed).
DJANGO_EMPTY = "e30:1xXO52:RvkrdQ8zqjun9cCyAPH_gJHC5-wkMrzR9ICn4b1XkXE"
DJANGO_SHORT = "eyJjYXJ0IjpbImJvb2siXX0:1xXO52:k65zp7QgdE-VeH6hWbsMgaHNhuhEXphjUhFWJL7GxZI"
DJANGO_USER = (
    ".eJyrVopPLC3JiC8tTi2Kz0xRslIyV9JBFktKTM5OzQNJpGQl5qXn6yXn55UUZSbpgZToQWWL9XzzU1JznKBqUQzISCzOAOpOMrQ0MUtMtjQysTRK"
    "MTI2MU82MzI2TTJJMTIzNDS0MFGqBQBmeS4f:1xXO52:jHV7f1I1kyqJwwExiAsmJlp3Gi49634YR4KYiXnlOXg"
)
# Written by rmp-serde 1.3 of a tower-sessions-core Record: [id, data, deadline].
TOWER = bytes.fromhex(
    "93c4100000000000000042ed123b0bd8203a1482af6178756d2d6c6f67696e2e6461746182a9617574685f68617368920102a7757365725f69"
    "6407a46361727491a4626f6f6b99cd07eacd0147090a0000000000"
)


def php(text: str | bytes) -> Any:
    """Read PHP's text."""
    return payload.decode(text, ("php",))


def django(text: str | bytes) -> Any:
    """Read Django's text."""
    return payload.decode(text, ("django",))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('user|s:5:"alice";', {"user": "alice"}),
        ("a|i:-7;b|b:1;c|b:0;d|N;e|d:0.5;", {"a": -7, "b": True, "c": False, "d": None, "e": Decimal("0.5")}),
        ("e|d:1.0E+25;", {"e": Decimal("1.0E+25")}),
        ("e|d:INF;f|d:-INF;g|d:NAN;", {"e": b"INF;", "f": b"-INF;", "g": b"NAN;"}),
        ('cart|a:2:{i:0;s:4:"book";s:1:"n";a:0:{}}', {"cart": {"0": "book", "n": {}}}),
        ('n|s:6:"naïve";', {"n": "naïve"}),
        ('q|s:9:"a";b|i:1;";', {"q": 'a";b|i:1;'}),
        ("!gone|", {"gone": None}),
        ("", None),
        ("a:0:{}", {}),
        ('a:1:{s:1:"u";i:7;}', {"u": 7}),
        ('s:18:"a:1:{s:1:"u";i:7;}";', {"u": 7}),
        ('s:7:"{"u":7}";', {"u": 7}),
        ('s:0:"";', None),
    ],
)
def test_php_is_read(text: str, value: Any) -> None:
    """Session text, serialised values, and a serialised session or JSON inside a text, as Laravel keeps them."""
    assert php(text) == value


@pytest.mark.parametrize(
    "spelled",
    [
        'O:8:"App\\User":1:{s:2:"id";i:7;}',
        'O:8:"App\\User":1:{s:12:"\0App\\User\0id";i:7;}',
        'C:3:"Old":4:{i:7;}',
        'E:11:"Suit:Hearts";',
        "R:1;",
        "r:12;",
    ],
)
def test_php_objects_stay_what_they_are_written_in(spelled: str) -> None:
    """Objects, enumerations and references are bytes among the values, and what follows is still found."""
    assert php(f"o|{spelled}user|i:7;") == {"o": spelled.encode(), "user": 7}


@pytest.mark.parametrize(
    "text",
    [
        "user",
        "user|",
        'user|s:6:"alice";',
        'user|s:4:"alice";',
        'user|s:99999999:"x";',
        "user|a:1:{}",
        "user|a:999999999:{}",
        "user|a:1:{b:1;i:1;}",
        "user|a:1:{a:0:{}i:1;}",
        'user|O:1:"A":1:{i:1;}',
        'user|C:1:"A":9:{i:1;}',
        "user|i:" + "9" * 40 + ";",
        "user|x:1;",
        "i:7;",
        '{"user":7}',
        "BAh7BkkiCGNhcnQGOgZFVFsGSSIJYm9vawY7AFQ=",
        "deep|" + "a:1:{i:0;" * (DEPTH_MAX + 1) + "i:1;" + "}" * (DEPTH_MAX + 1),
        f"wide|a:{MEMBERS_MAX}:{{" + "".join(f"i:{n};i:1;" for n in range(MEMBERS_MAX // 2 + 1)) + "}",
        "long|s:1:" + '"' * BYTES_MAX,
        "x" * 2_000 + "|i:1;",
        's:9:"encrypted";',
    ],
    ids=range(21),
)
def test_what_is_no_php_is_refused(text: str) -> None:
    """Cut off, lying lengths, foreign, too deep, too wide and too long: refused, never half read."""
    with pytest.raises(payload.UnreadableError):
        php(text)


def test_php_text_that_is_no_utf8_is_nobodys_name() -> None:
    """PHP's strings are bytes; those that are no text stay apart from all text, and are no name."""
    value = php(b'user|s:2:"\xff\xfe";')
    assert value == php(b'user|s:2:"\xff\xfe";')
    assert payload.digest(value) != payload.digest({"user": "\ufffd\ufffd"})
    assert payload.text_of(value["user"]) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (DJANGO_EMPTY, {}),
        (DJANGO_SHORT, {"cart": ["book"]}),
        (base64.b64encode(b"ab" * 20 + b":" + json.dumps(USER).encode()), USER),
        (base64.b64encode(zlib.compress(json.dumps(USER).encode())), USER),
        (base64.encodebytes(zlib.compress(json.dumps(USER).encode())), USER),
        (zlib.compress(json.dumps(USER).encode()), USER),
        (json.dumps(USER), USER),
        ("", None),
    ],
    ids=["empty", "signed", "hashed", "fork", "fork in lines", "zlib", "plain", "nothing"],
)
def test_django_is_read(text: str | bytes, value: Any) -> None:
    """Each wrapping that Django or a fork of its DynamoDB backend puts around JSON is taken off."""
    assert django(text) == value


def test_django_user_is_found_in_a_compressed_session() -> None:
    """What a real Django wrote at login names its user."""
    assert django(DJANGO_USER)["_auth_user_id"] == "7"


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(b"\x80\x04}\x94."),
        base64.b64encode(b"0" * 40 + b":\x80\x02}q\x00."),
        DJANGO_SHORT.replace("eyJ", "!!!"),
        "." + DJANGO_SHORT,
        zlib.compress(json.dumps(USER).encode())[:-5],
        base64.b64encode(zlib.compress(b'{"a":"' + b"0" * (64 * BYTES_MAX) + b'"}')),
        zlib.compress(zlib.compress(zlib.compress(zlib.compress(zlib.compress(b"{}"))))),
        "gAAAAABh",
        "[1]",
        "a",
        b"\xff",
    ],
    ids=range(11),
)
def test_what_is_no_django_is_refused(text: str | bytes) -> None:
    """Pickles, spoilt texts, bombs and wrappings without end are refused."""
    with pytest.raises(payload.UnreadableError):
        django(text)


def test_white_space_costs_no_more_than_its_length() -> None:
    """A base64 text in lines may hold any amount; a pattern that tries each way to share it out takes minutes."""
    with pytest.raises(payload.UnreadableError):
        django("A" + " " * (BYTES_MAX - 2) + "!")


def test_keys_that_are_no_text_are_read_and_digested() -> None:
    """Msgpack's maps may have any; equal maps have equal digests, whatever order they were written in."""
    one, other = ({1: "a", None: "b", b"c": 2.5, "1": "d"}, {"1": "d", b"c": 2.5, None: "b", 1: "a"})
    read = [payload.decode(msgpack.packb({"cart": cart}), ("msgpack",)) for cart in (one, other)]
    assert read[0] == {"cart": one}
    assert payload.digest(read[0]) == payload.digest(read[1])
    assert payload.digest({"cart": {1: "a"}}) != payload.digest({"cart": {"1": "a"}})


@pytest.mark.parametrize("packed", [b"\x81\x91\x01\x02", msgpack.packb(dict.fromkeys(range(1_001)))])
def test_keys_that_cannot_be_told_apart_cheaply_are_refused(packed: bytes) -> None:
    """A list is no key of a map here, and very many numbers may be chosen so that all of them collide."""
    with pytest.raises(payload.UnreadableError):
        payload.decode(packed, ("msgpack",))


def test_a_payload_within_a_list_or_a_map_is_found() -> None:
    """tower-sessions' record is a list, Adonis' message a map; nothing at the path is no payload."""
    data = payload.decode(TOWER, ("msgpack",), compile_path("1"))
    assert data["axum-login.data"]["user_id"] == 7
    message = compile_path("message")
    assert payload.decode('{"message":{"a":1},"purpose":"id"}', ("json",), message) == {"a": 1}
    assert payload.decode("{}", ("json",), message) == {}
    assert payload.decode('{"message":[]}', ("json",), message) == []
    for foreign in ('{"message":"text"}', '{"other":{}}', "[1]", "5", '"text"'):
        with pytest.raises(payload.UnreadableError):
            payload.decode(foreign, ("json",), message)
    with pytest.raises(payload.UnreadableError):
        payload.decode(msgpack.packb([1]), ("msgpack",))
