"""Properties of the decoders: no bytes make them fail in another way, hang or grow; what is written is read."""

import base64
import json
import zlib
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lockside.layouts import payload
from lockside.layouts.decoders.limits import BYTES_MAX
from lockside.layouts.payload import Codec

CODECS: list[Codec] = ["json", "msgpack", "php", "django"]

names = st.text(st.characters(codec="utf-8", exclude_characters="|"), min_size=1, max_size=8).filter(
    lambda name: not name.startswith("!")
)
texts = st.text(st.characters(codec="utf-8"), max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts,
    lambda inner: st.dictionaries(texts.filter(lambda key: not key.isdecimal()), inner, max_size=3),
    max_leaves=12,
)
sessions = st.dictionaries(names, plain, max_size=4)
pieces = st.sampled_from(
    [
        *(
            b"a:",
            b"O:",
            b"C:",
            b"E:",
            b"s:",
            b"i:",
            b"d:",
            b"b:",
            b"N;",
            b"R:",
            b"1",
            b"9",
            b":{",
            b"}",
            b'"',
            b";",
            b"|",
        ),
        *(b"eJw", b".", b":", b"x\x9c", b"{}", b"e30", b"\x93", b"\xc4", b"\xff", b"\x00", b"="),
    ]
)


def serialised(value: Any) -> bytes:
    """Write a value as PHP's serialize does."""
    match value:
        case None:
            return b"N;"
        case bool():
            return b"b:%d;" % value
        case int():
            return b"i:%d;" % value
        case str():
            raw = value.encode()
            return b's:%d:"%s";' % (len(raw), raw)
        case _:
            members = b"".join(serialised(name) + serialised(member) for name, member in value.items())
            return b"a:%d:{%s}" % (len(value), members)


@given(st.binary(max_size=300) | st.lists(pieces, max_size=40).map(b"".join), st.sampled_from(CODECS))
@example(b"a:100000000:{" * 1_000, "php")
@example(b"x|" + b"a:1:{i:0;" * 10_000, "php")
@example(base64.b64encode(zlib.compress(b"0" * 50_000_000)), "django")
@example(b"[" * 400_000, "json")
def test_any_bytes_are_a_payload_or_unreadable(raw: bytes, codec: Codec) -> None:
    """Whatever stands there, a decoder answers with a map, with nothing, or with the one error that it names."""
    try:
        value = payload.decode(raw, (codec,))
    except payload.UnreadableError:
        return
    assert isinstance(value, dict) or not value
    assert payload.decode(raw, (codec,)) == value


@given(sessions)
def test_php_session_text_is_read_as_it_was_written(session: dict[str, Any]) -> None:
    """Names and values come back, lengths in bytes and separators within texts notwithstanding."""
    text = b"".join(name.encode() + b"|" + serialised(value) for name, value in session.items())
    assert payload.decode(text, ("php",)) == (session or None)


@given(sessions)
def test_php_values_are_read_as_they_were_written(session: dict[str, Any]) -> None:
    """A whole serialised map comes back, and so it does from inside a text."""
    assert payload.decode(serialised(session), ("php",)) == session
    assert payload.decode(serialised(serialised(session).decode()), ("php",)) == session


@given(sessions, st.sets(st.sampled_from(["packed", "signed"])))
def test_django_texts_are_read_as_they_were_written(session: dict[str, Any], wrappings: set[str]) -> None:
    """JSON comes back from base64, with and without zlib, with and without a signature."""
    raw = json.dumps(session).encode()
    text = base64.urlsafe_b64encode(zlib.compress(raw) if "packed" in wrappings else raw).rstrip(b"=")
    if "signed" in wrappings:
        text = (b"." if "packed" in wrappings else b"") + text + b":1xXO52:" + b"s" * 43
    assert payload.decode(text, ("django",)) == session


@given(sessions, st.data())
def test_a_changed_byte_is_read_in_no_other_way_than_refused_or_as_a_map(
    session: dict[str, Any], data: st.DataObject
) -> None:
    """A spoilt payload of each kind is a payload or unreadable, as any bytes are."""
    spelled: dict[Codec, bytes] = {
        "json": json.dumps(session).encode(),
        "msgpack": msgpack.packb(session),
        "php": serialised(session),
        "django": base64.b64encode(zlib.compress(json.dumps(session).encode())),
    }
    for codec, raw in spelled.items():
        place = data.draw(st.integers(0, len(raw) - 1))
        spoilt = raw[:place] + bytes([data.draw(st.integers(0, 255))]) + raw[place + 1 :]
        try:
            value = payload.decode(spoilt, (codec,))
        except payload.UnreadableError:
            continue
        assert isinstance(value, dict) or not value


@pytest.mark.parametrize("codec", CODECS)
def test_a_payload_over_the_limit_is_unreadable(codec: Codec) -> None:
    """Nothing longer than an item may be is even looked at."""
    with pytest.raises(payload.UnreadableError):
        payload.decode(b"{" + b" " * BYTES_MAX + b"}", (codec,))
