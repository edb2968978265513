"""What Django's session backends store, unwrapped to the JSON within; signatures are not checked, nothing is unpickled.

Strategy: one wrapping is taken off after the other until JSON stands there: a signed text (`payload:time:signature`, a
leading dot for zlib; since Django 3.1), base64 of `hash:payload` (before), base64 of zlib (the DynamoDB forks). What is
not JSON in the end, such as a pickle, is unreadable.
Source: django/core/signing.py, django/contrib/sessions/backends/base.py.
"""

import base64
import binascii
import re
import zlib
from typing import Any, Final

from lockside.layouts.decoders import json_text
from lockside.layouts.decoders.limits import BYTES_MAX

WRAPPINGS_MAX: Final = 4
_SIGNED: Final = re.compile(rb"(\.?)([A-Za-z0-9_-]+):[A-Za-z0-9]{1,12}:[A-Za-z0-9_-]{20,128}")
_HASHED: Final = re.compile(rb"[0-9a-f]{32,128}:")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_\-\s]++={0,2}\s*+")
"""Possessive: both parts take white space, and giving it back one by one would cost the square of the text."""

_ZLIB: Final = re.compile(rb"\x78[\x01\x5e\x9c\xda]")


def decode(data: bytes) -> Any:
    """Read the session's map. Raises ValueError, ArithmeticError or RecursionError."""
    for _ in range(WRAPPINGS_MAX):
        if len(data) > BYTES_MAX:
            raise ValueError
        if data.startswith(b"{"):
            return json_text.decode(data)
        data = _unwrapped(data)
    return json_text.decode(data)


def _unwrapped(data: bytes) -> bytes:
    if _ZLIB.match(data):
        return _inflated(data)
    if signed := _SIGNED.fullmatch(data):
        inner = _from_base64(signed[2])
        return _inflated(inner) if signed[1] else inner
    if hashed := _HASHED.match(data):
        return data[hashed.end() :]
    if _BASE64.fullmatch(data):
        return _from_base64(data)
    raise ValueError


def _from_base64(data: bytes) -> bytes:
    plain = b"".join(data.split()).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise ValueError from None


def _inflated(data: bytes) -> bytes:
    """Unfold zlib, never to more than a payload may be."""
    unfolding = zlib.decompressobj()
    try:
        unfolded = unfolding.decompress(data, BYTES_MAX + 1)
    except zlib.error:
        raise ValueError from None
    if len(unfolded) > BYTES_MAX or not unfolding.eof:
        raise ValueError
    return unfolded
