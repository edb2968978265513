"""What a session's payload says, without running any of it: codecs that only read, and a digest of the rest.

Strategy: a payload is bytes from a stranger. It is decoded only by codecs that make plain values, within limits on
size, depth and members; whatever does not fit is opaque and digested as it came. Pickle, Marshal, Java and PHP objects
are opaque for ever (law 7). The digest is over a typed, length-prefixed spelling in which equal values are equal and
map order does not count.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, Literal

import msgpack  # type: ignore[import-untyped]

from lockside.layouts.decoders import django_text, json_text, msgpack_bytes, php_text
from lockside.layouts.decoders.limits import BYTES_MAX, DEPTH_MAX, MEMBERS_MAX
from lockside.layouts.path import MISSING, Path, find

Codec = Literal["json", "msgpack", "php", "django"]


class UnreadableError(Exception):
    """A payload that no allowed codec reads within the limits. Says nothing of its contents."""


def decode(raw: str | bytes, codecs: tuple[Codec, ...], path: Path = ()) -> Any:
    """Decode by the first codec that reads the whole payload as a map, or as nothing (null, an empty list or text).

    An empty map may come as `[]` from writers whose language knows one kind of array. With a path, the payload is what
    stands there within a map or a list. Raises UnreadableError.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if len(data) > BYTES_MAX:
        raise UnreadableError
    if not data:
        return None
    for codec in codecs:
        try:
            value = _DECODERS[codec](data)
        # Each codec has its own errors for bad bytes; RecursionError and ArithmeticError come from hostile nesting
        # and exponents. All mean the same: not readable by this codec.
        except (ValueError, TypeError, RecursionError, ArithmeticError, msgpack.UnpackException):
            continue
        if not _shallow(value):
            continue
        try:
            value = within(value, path)
        except UnreadableError:
            continue
        if isinstance(value, dict) or value is None or value in _NOTHING:
            return value
    raise UnreadableError


def within(value: Any, path: Path) -> Any:
    """Return what stands at a path of a map or a list, None where that is empty.

    Raises UnreadableError where something stands there, but nothing at the path: it is not what the layout says.
    """
    if not path or not value:
        return value
    found = find(value, path)
    if found is MISSING:
        raise UnreadableError
    return found


def digest(value: Any) -> str:
    """Digest a decoded value: SHA-256 over its canonical spelling, in hex. Raises UnreadableError past the limits."""
    return hashlib.sha256(_Spelling().spell(value, 0)).hexdigest()


def digest_opaque(value: Any) -> str:
    """Digest a value as it came, whatever it is; nesting past the limits counts only as such."""
    match value:
        case str():
            data = b"text:" + value.encode("utf-8", "surrogatepass")
        case bytes():
            data = b"bytes:" + value
        case _:
            try:
                data = b"value:" + _Spelling().spell(value, 0)
            except UnreadableError:
                data = b"limits"
    return hashlib.sha256(data).hexdigest()


def text_of(value: Any) -> str | None:
    """Spell a text or a whole number; None for anything else, or for text that UTF-8 cannot hold."""
    match value:
        case bool():
            return None
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                return None
            return value
        case int():
            return str(value)
        case Decimal() if value == value.to_integral_value() and value.adjusted() < _INTEGER_DIGITS_MAX:
            return str(int(value))
        case _:
            return None


_INTEGER_DIGITS_MAX: Final = 38
_NOTHING: Final[tuple[Any, ...]] = ([], "", b"")


def _shallow(value: Any, depth: int = 0) -> bool:
    # Asked of the whole: how deep a codec itself goes depends on the caller's stack, and records must not.
    if depth > DEPTH_MAX:
        return False
    match value:
        case dict():
            return all(_shallow(member, depth + 1) for member in value.values())
        case list():
            return all(_shallow(member, depth + 1) for member in value)
        case _:
            return True


_DECODERS: Final[Mapping[Codec, Callable[[bytes], Any]]] = {
    "json": json_text.decode,
    "msgpack": msgpack_bytes.decode,
    "php": php_text.decode,
    "django": django_text.decode,
}


class _Spelling:
    """One canonical spelling, with what it has left of its limit of members."""

    def __init__(self) -> None:
        self._members_left = MEMBERS_MAX

    def spell(self, value: Any, depth: int) -> bytes:
        """Spell a value as type tag, length and content."""
        self._members_left -= 1
        if depth > DEPTH_MAX or self._members_left < 0:
            raise UnreadableError
        match value:
            case Mapping():
                pairs = sorted((self.spell(k, depth + 1), self.spell(v, depth + 1)) for k, v in value.items())
                return _part(b"m", b"".join(k + v for k, v in pairs))
            case list() | tuple() if not isinstance(value, msgpack.ExtType):
                return _part(b"l", b"".join(self.spell(member, depth + 1) for member in value))
            case set() | frozenset():
                return _part(b"e", b"".join(sorted(self.spell(member, depth + 1) for member in value)))
            case _:
                return _scalar(value)


def _scalar(value: Any) -> bytes:
    match value:
        case None:
            return _part(b"z", b"")
        case bool():
            return _part(b"b", b"1" if value else b"0")
        case str():
            return _part(b"s", value.encode("utf-8", "surrogatepass"))
        case bytes() | bytearray():
            return _part(b"y", bytes(value))
        case int():
            return _part(b"i", hex(value).encode())
        case Decimal():
            return _part(b"n", _decimal(value))
        case float():
            return _part(b"f", repr(value).encode())
        case msgpack.Timestamp():
            return _part(b"t", value.to_bytes())
        case msgpack.ExtType():
            return _part(b"x", f"{value.code}:".encode() + base64.b64encode(value.data))
        case _:
            raise UnreadableError


def _decimal(value: Decimal) -> bytes:
    # Not through a context: `normalize` would round what has more digits than the context's precision.
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits))
    stripped = text.rstrip("0")
    if not stripped:
        return b"0"
    # NaN and Infinity have letters for an exponent; no codec lets them through, and a letter spells as itself.
    scale = exponent + len(text) - len(stripped) if isinstance(exponent, int) else exponent
    return f"{'-' if sign else ''}{stripped.lstrip('0')}e{scale}".encode()


def _part(tag: bytes, content: bytes) -> bytes:
    return b"%s%d:%s" % (tag, len(content), content)
