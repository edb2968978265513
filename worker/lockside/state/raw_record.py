"""A raw stream record as bytes and back, so that what could not be decoded today can be read by another version.

What comes off the wire comes back equal: maps with text keys, lists, text (lone surrogates too), bytes, numbers of any
size, truth values, null and creation times, as boto3 or JSON hand them over, and images that cannot be read as their
text. Nothing executable is ever read (law 7).
"""

from datetime import datetime
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from lockside.core.lazy_image import LazyImage
from lockside.core.lazy_record import Members
from lockside.errors import WireFaultError

DEPTH_MAX: Final = 100
"""Levels kept. DynamoDB allows 32 of its own, which are two each here; what lies deeper is never read by the codec."""

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1

_TIME: Final = 1
_INTEGER: Final = 2
_LOST: Final = 3
_IMAGE: Final = 4


class Lost:
    """Stands where something was that no wire can carry: too deep, or of a foreign type. It decodes as nothing."""


LOST: Final = Lost()


def pack(raw: object) -> bytes:
    """Spell a raw record as bytes; whatever it is made of, this does not fail."""
    return bytes(msgpack.packb(_plain(raw, 0), unicode_errors="surrogatepass"))


def unpack(packed: bytes) -> Any:
    """Read a raw record back. Raises ValueError for bytes that `pack` did not make."""
    try:
        return msgpack.unpackb(packed, unicode_errors="surrogatepass", ext_hook=_extended)
    except (msgpack.UnpackException, msgpack.exceptions.StackError) as error:
        raise ValueError("not a packed record") from error


def _plain(value: object, depth: int) -> Any:
    if depth > DEPTH_MAX:
        return msgpack.ExtType(_LOST, b"")
    match value:
        case None | bool() | float():
            return value
        case str():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value)
        case int():
            within = INTEGER_MIN <= value <= INTEGER_MAX
            return int(value) if within else msgpack.ExtType(_INTEGER, f"{value:x}".encode())
        case datetime():
            return msgpack.ExtType(_TIME, value.isoformat().encode())
        case dict() | Members() if all(isinstance(name, str) for name in value):
            return {name: _plain(inner, depth + 1) for name, inner in value.items()}
        case LazyImage():
            return _read(value, depth)
        case list() | tuple() | set() | frozenset():
            return [_plain(inner, depth + 1) for inner in value]
        case _:
            return msgpack.ExtType(_LOST, b"")


def _read(image: LazyImage, depth: int) -> Any:
    try:
        return _plain(image.read(), depth)
    except WireFaultError:
        return msgpack.ExtType(_IMAGE, image.text)


def _extended(code: int, data: bytes) -> Any:
    match code:
        case 1:
            return datetime.fromisoformat(data.decode())
        case 2:
            return int(data, 16)
        case 3:
            return LOST
        case 4:
            return LazyImage(data)
        case _:
            raise ValueError("not a packed record")
