"""Keys as bytes whose order is DynamoDB's order of a sort key: for places that order by bytes alone.

Text by its UTF-8 bytes and binary by its unsigned bytes, as DynamoDB does it (developer guide, Query). A number becomes
its sign, its exponent and its digits, the negative ones turned round.
"""

import base64
from decimal import Decimal
from typing import Final

from lockside.core.attributes import number

NEGATIVE: Final = b"\x00"
ZERO: Final = b"\x01"
POSITIVE: Final = b"\x02"
BEYOND_DIGITS: Final = b"\xff"
"""Ends a negative number, so that of two which begin alike the one with more digits comes first."""

EXPONENT_OFFSET: Final = 512
"""Makes every exponent positive: DynamoDB's go from -130 to 126."""


def sort_bytes(tag: str, text: str) -> bytes:
    """Return a key part (`EntityKey.parts`) as bytes that sort as DynamoDB sorts it. No two parts share them."""
    match tag:
        case "S":
            return text.encode()
        case "B":
            return base64.b64decode(text)
        case "N":
            return _number(number(text))
        case _:
            raise ValueError(f"no key has the type {tag}")


def _number(value: Decimal) -> bytes:
    if value == 0:
        return ZERO
    sign, digits, _ = value.as_tuple()
    spelled = "".join(map(str, digits)).rstrip("0").encode()
    magnitude = (value.adjusted() + EXPONENT_OFFSET).to_bytes(2, "big") + spelled
    return NEGATIVE + bytes(255 - byte for byte in magnitude) + BEYOND_DIGITS if sign else POSITIVE + magnitude
