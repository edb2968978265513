"""What a phrase may be called and may hold, and how it stands in an item. Pure.

A value comes back equal and of the same type: text and other JSON as JSON text, bytes as binary, whole numbers and
decimals as DynamoDB numbers where those hold them exactly.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from lockside.core import attributes
from lockside.errors import LimitError, SetupError, WireFaultError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Value = Json | bytes | Decimal
"""JSON as Python has it, bytes, or a decimal number. Tuples, other keys than text, NaN and infinities are no JSON."""

KEY_BYTES_MAX: Final = 1_024
"""DynamoDB's limit for a sort key."""

PREFIX_BYTES_MAX: Final = 1_024
ITEM_BYTES_MAX: Final = 400 * 1_024
"""DynamoDB's limit for an item, with the names of its attributes."""

OVERHEAD_BYTES: Final = 128
"""Room for all of an item but its keys and its value."""

DIGITS_MAX: Final = 38
EXPONENT_MIN: Final = -130
EXPONENT_MAX: Final = 125

VALUE: Final = "v"
TAG: Final = "t"
JSON_TAG: Final = "j"
BYTES_TAG: Final = "b"
WHOLE_TAG: Final = "n"
DECIMAL_TAG: Final = "d"


def checked_key(key: str) -> str:
    """Return a key that can be one. Raises LimitError."""
    size = _size("key", key)
    if not 0 < size <= KEY_BYTES_MAX:
        raise LimitError(f"key of {size} bytes: give 1 to {KEY_BYTES_MAX} bytes of UTF-8")
    return key


def checked_bound(what: str, bound: str | None) -> None:
    """Raise LimitError for a bound of a scan that cannot be one; it may be empty, and None is none."""
    size = 0 if bound is None else _size(what, bound)
    if size > KEY_BYTES_MAX:
        raise LimitError(f"{what} of {size} bytes: no key is longer than {KEY_BYTES_MAX} bytes of UTF-8")


def checked_prefix(prefix: str) -> str:
    """Return a prefix that can be one; it may be empty. Raises LimitError."""
    size = _size("prefix", prefix)
    if size > PREFIX_BYTES_MAX:
        raise LimitError(f"prefix of {size} bytes: give at most {PREFIX_BYTES_MAX} bytes of UTF-8")
    return prefix


def encode(value: Value, taken_bytes: int) -> tuple[dict[str, Any], int]:
    """Return the attributes of a value, and the bytes of the item; `taken_bytes` is what its keys take.

    Raises LimitError.
    """
    tag, wire, size = _encoded(value)
    rest = ITEM_BYTES_MAX - OVERHEAD_BYTES - taken_bytes
    if size > rest:
        raise LimitError(
            f"value of {size} bytes: an item holds {ITEM_BYTES_MAX} with its keys, which leaves {rest}; "
            "store what is larger in S3, and its place here"
        )
    return {VALUE: wire, TAG: {"S": tag}}, taken_bytes + OVERHEAD_BYTES + size


def decode(item: Mapping[str, Any]) -> Value:
    """Return the value of an item. Raises SetupError for one that no store wrote."""
    tag = item.get(TAG, {}).get("S")
    try:
        read = attributes.decode(item[VALUE])
        match tag:
            case "j" if isinstance(read, str):
                value: Value = json.loads(read)
                return value
            case "b" if isinstance(read, bytes):
                return read
            case "n" if isinstance(read, Decimal):
                return int(read)
            case "d" if isinstance(read, Decimal):
                return read
    except (KeyError, ValueError, WireFaultError):
        pass
    raise SetupError(f"an item with {TAG} = {tag!r} holds no value of this store; it was written by something else")


def _encoded(value: Value) -> tuple[str, dict[str, Any], int]:
    match value:
        case bytes():
            return BYTES_TAG, {"B": value}, len(value)
        case bool() | None | str() | float() | list() | dict():
            return _json(value)
        case int() if abs(value) < 10**DIGITS_MAX:
            return WHOLE_TAG, {"N": str(value)}, DIGITS_MAX
        case int():
            return _json(value)
        case Decimal():
            return DECIMAL_TAG, {"N": _number(value)}, DIGITS_MAX
        case _:
            raise LimitError(f"value of type {type(value).__name__}: give JSON, bytes, int or Decimal")


def _number(value: Decimal) -> str:
    try:
        read = attributes.number(str(value))
    except WireFaultError:
        read = None
    if read is None or (read and not EXPONENT_MIN <= read.adjusted() <= EXPONENT_MAX):
        raise LimitError(
            f"decimal of {len(value.as_tuple().digits)} digits: DynamoDB holds {DIGITS_MAX} digits, from 1e-130 to "
            "9.9e125, and no NaN or infinity; store its text"
        )
    return attributes.number_text(read)


def _json(value: Json) -> tuple[str, dict[str, Any], int]:
    text = json_text(value)
    return JSON_TAG, {"S": text}, len(text.encode())


def json_text(value: Json) -> str:
    """Spell JSON so that it is read back as it was. Raises LimitError for what would not be."""
    _checked_json(value, 0)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; its escape has.
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise LimitError("a value holds NaN or an infinity, which JSON cannot spell; store None or its text") from None
    return text


JSON_DEPTH_MAX: Final = 200
"""Python's own reader of JSON goes about a thousand levels down."""


def _checked_json(value: Json, depth: int) -> None:
    """Refuse what would come back as something else: a tuple as a list, a number as a key as text."""
    if depth > JSON_DEPTH_MAX:
        raise LimitError(f"a value is nested deeper than {JSON_DEPTH_MAX} levels; store it flatter")
    match value:
        case list():
            for member in value:
                _checked_json(member, depth + 1)
        case dict():
            for name, member in value.items():
                if type(name) is not str:
                    raise LimitError(f"a JSON object has a key of type {type(name).__name__}: keys are text")
                _checked_json(member, depth + 1)
        case None | bool() | int() | float() | str():
            return
        case _:
            raise LimitError(f"a value holds a {type(value).__name__}, which is no JSON; bytes and Decimal stand alone")


def _size(what: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise LimitError(
            f"{what} {text!r}: holds a lone surrogate, which UTF-8 cannot spell; mend its decoding"
        ) from None
