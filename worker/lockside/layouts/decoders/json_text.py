"""JSON, strictly: no NaN, no Infinity, numbers exact."""

import json
from decimal import Decimal
from typing import Any, Final, NoReturn

_INT_DIGITS_MAX: Final = 640
"""Python refuses longer integers or not as its environment says, but never shorter ones."""


def decode(data: bytes) -> Any:
    """Decode UTF-8 JSON text. Raises ValueError, ArithmeticError or RecursionError."""
    return json.loads(data.decode(), parse_float=Decimal, parse_int=_integer, parse_constant=_refuse)


def _integer(text: str) -> int:
    if len(text) > _INT_DIGITS_MAX:
        raise ValueError
    return int(text)


def _refuse(_constant: str) -> NoReturn:
    # NaN and Infinity are no JSON; two of them would not even equal themselves.
    raise ValueError
