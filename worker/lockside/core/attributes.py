"""The codec of DynamoDB's attribute values: exact, and tolerant of both spellings of binary.

A wire value is a map with one member, `{"S": "text"}`. boto3 hands binary over as bytes, JSON as base64 text; both are
read. Numbers become Decimal within DynamoDB's 38 digits, never float.
Source: API reference, AttributeValue; equality with boto3's TypeDeserializer is kept by a property test.
"""

import base64
import binascii
import decimal
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from lockside.errors import WireFaultError

Wire = Mapping[str, Any]
"""One attribute value as it stands on the wire."""

Image = Mapping[str, Wire]
"""One item as it stands on the wire: attribute name to wire value."""

DEPTH_MAX: Final = 32
"""Levels of nesting DynamoDB allows (Developer Guide, quotas)."""

_CONTEXT: Final = decimal.Context(
    Emin=-128,
    Emax=126,
    prec=38,
    traps=[
        decimal.Clamped,
        decimal.Overflow,
        decimal.Inexact,
        decimal.Rounded,
        decimal.Underflow,
        decimal.InvalidOperation,
    ],
)


def decode(value: object, depth: int = 0) -> Any:
    """Decode one wire value to str, Decimal, bytes, bool, None, list, dict or frozenset.

    Raises WireFaultError with the code `attribute_shape`, `attribute_type`, `text`, `number`, `binary` or `depth`.
    """
    if depth > DEPTH_MAX:
        raise WireFaultError("depth")
    if not isinstance(value, Mapping) or len(value) != 1:
        raise WireFaultError("attribute_shape")
    tag, inner = next(iter(value.items()))
    match tag:
        case "S":
            return text(inner)
        case "N":
            return number(inner)
        case "B":
            return binary(inner)
        case "M":
            if not isinstance(inner, Mapping):
                raise WireFaultError("attribute_shape")
            return {text(k): decode(v, depth + 1) for k, v in inner.items()}
        case "L":
            return [decode(v, depth + 1) for v in _members(inner)]
        case "BOOL":
            if not isinstance(inner, bool):
                raise WireFaultError("attribute_shape")
            return inner
        case "NULL":
            return None
        case "SS" | "NS" | "BS":
            read = _SET_MEMBERS[tag]
            return frozenset(read(v) for v in _members(inner))
        case _:
            raise WireFaultError("attribute_type")


NAMES_SHOWN_MAX: Final = 24
NAME_CHARS_MAX: Final = 64
NAME_CHARS_READ: Final = 256
"""More than is shown, so that an id which the end of what is shown cuts in two is still known for one."""


ID_IN_A_NAME: Final = re.compile(r"(?=(?:[A-Za-z+/=_-]*\d){2})[0-9A-Za-z+/=_-]{8,}", re.ASCII)
"""Eight characters and more in a row, two digits among them: no word that a person chose, or no loss if it was."""


def shown_names(names: Iterable[object]) -> list[str]:
    """Spell attribute names for a log or a terminal, sorted: not too many, none too long, all of them printable.

    Names may come from an application's own data: what in them looks like an id (of a session, say) is left out.
    """
    spelled = sorted(_shown_name(name) for name in names if isinstance(name, str))
    left = len(spelled) - NAMES_SHOWN_MAX
    return [*spelled[:NAMES_SHOWN_MAX], *([f"… {left} more"] if left > 0 else [])]


def _shown_name(name: str) -> str:
    # Cut before it is searched, which costs the square of a name's length, and DynamoDB's may have 64 KB.
    begun = name[:NAME_CHARS_READ]
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in begun)
    plain = ID_IN_A_NAME.sub("#", plain)
    whole = len(name) <= NAME_CHARS_READ and len(plain) <= NAME_CHARS_MAX
    return plain if whole else f"{plain[:NAME_CHARS_MAX]}…"


def decode_image(image: Image) -> dict[str, Any]:
    """Decode a whole item."""
    return {text(name): decode(value) for name, value in image.items()}


def text(value: object) -> str:
    """Return `value` if it is text that UTF-8 can hold (a lone surrogate is not)."""
    if not isinstance(value, str):
        raise WireFaultError("text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise WireFaultError("text") from None
    return value


def number(value: object) -> Decimal:
    """Read a DynamoDB number: at most 38 significant digits, finite."""
    if not isinstance(value, str):
        raise WireFaultError("number")
    try:
        read = _CONTEXT.create_decimal(value)
    except decimal.DecimalException:
        raise WireFaultError("number") from None
    if not read.is_finite():
        raise WireFaultError("number")
    return read


def binary(value: object) -> bytes:
    """Read binary, from bytes as boto3 gives it or from base64 text as JSON does."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise WireFaultError("binary") from None
    raise WireFaultError("binary")


def number_text(value: Decimal) -> str:
    """Spell a number in one way only, whatever way the writer chose: `5`, not `5.0` or `5E0`."""
    if value == 0:
        return "0"
    plain = format(value.normalize(_CONTEXT), "f")
    return plain if len(plain) <= _PLAIN_DIGITS_MAX else str(value.normalize(_CONTEXT))


_PLAIN_DIGITS_MAX: Final = 40
_SET_MEMBERS: Final[Mapping[str, Callable[[object], Any]]] = {"SS": text, "NS": number, "BS": binary}


def _members(inner: object) -> list[Any]:
    if not isinstance(inner, list | tuple | set | frozenset):
        raise WireFaultError("attribute_shape")
    return list(inner)
