"""What PHP's `serialize` writes, and the session text made of it, read over without making anything of it.

Strategy: one pass over the bytes; every length is checked against what is there. Arrays become maps, as PHP's are, with
their keys as text. An object becomes the bytes it is written in: its class is never looked up, nothing of it runs, and
nobody is found inside it. References stay bytes too.
Source: php-src ext/standard/var.c and ext/session/session.c (handlers `php` and `php_serialize`).
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from lockside.layouts.decoders import json_text
from lockside.layouts.decoders.limits import BYTES_MAX, DEPTH_MAX, MEMBERS_MAX

_INTEGER: Final = re.compile(rb"[+-]?[0-9]{1,20};")
_FLOAT: Final = re.compile(rb"([+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,5})?);")
_NO_NUMBER: Final = re.compile(rb"(-?INF|NAN);")
_LENGTH: Final = re.compile(rb"([0-9]{1,9}):")
_REFERENCE: Final = re.compile(rb"[0-9]{1,9};")
_NAME_BYTES_MAX: Final = 1_024


def decode(data: bytes) -> Any:
    """Read one serialised value, or session text: `name|value` again and again.

    A lone text is read once more, as Laravel keeps a serialised session inside one. Raises ValueError.
    """
    if len(data) > BYTES_MAX:
        raise ValueError
    try:
        value = _whole(data)
    except ValueError:
        return _session(data)
    return value if not isinstance(value, str) else _inner(value.encode("utf-8", "surrogateescape"))


def _inner(data: bytes) -> Any:
    if not data:
        return None
    try:
        return _whole(data)
    except ValueError:
        return json_text.decode(data)


def _whole(data: bytes) -> Any:
    reader = _Reader(data)
    value = reader.value(0)
    if reader.place != len(data):
        raise ValueError
    return value


def _session(data: bytes) -> dict[str, Any]:
    reader = _Reader(data)
    variables: dict[str, Any] = {}
    while reader.place < len(data):
        bar = data.find(b"|", reader.place, reader.place + _NAME_BYTES_MAX)
        if bar < 0:
            raise ValueError
        name = _text(data[reader.place : bar])
        reader.place = bar + 1
        if name.startswith("!"):
            # Registered and never set: a name without a value.
            variables[name[1:]] = None
        else:
            variables[name] = reader.value(1)
    return variables


def _text(data: bytes) -> str:
    # PHP's strings are bytes; what is no UTF-8 stays apart from what is, and is nobody's name.
    return data.decode("utf-8", "surrogateescape")


@dataclass(slots=True)
class _Reader:
    """A place in serialised bytes."""

    data: bytes
    place: int = 0
    members_left: int = MEMBERS_MAX

    def value(self, depth: int) -> Any:
        """Read one value."""
        self.members_left -= 1
        if depth > DEPTH_MAX or self.members_left < 0:
            raise ValueError
        began = self.place
        tag = self.data[began : began + 2]
        self.place += 2
        match tag:
            case b"N;":
                return None
            case b"b:":
                return self._take(_INTEGER) != b"0;"
            case b"i:":
                return int(self._take(_INTEGER)[:-1])
            case b"d:":
                return self._float()
            case b"s:":
                return self._string()
            case b"a:":
                return self._array(depth)
            case b"O:" | b"C:" | b"E:":
                self._skip_object(tag, depth)
                return self.data[began : self.place]
            case b"R:" | b"r:":
                self._take(_REFERENCE)
                return self.data[began : self.place]
            case _:
                raise ValueError

    def _take(self, pattern: re.Pattern[bytes]) -> bytes:
        found = pattern.match(self.data, self.place)
        if found is None:
            raise ValueError
        self.place = found.end()
        return found[0]

    def _expect(self, mark: bytes) -> None:
        if not self.data.startswith(mark, self.place):
            raise ValueError
        self.place += len(mark)

    def _length(self) -> int:
        return int(self._take(_LENGTH)[:-1])

    def _float(self) -> Decimal | bytes:
        if _NO_NUMBER.match(self.data, self.place):
            return self._take(_NO_NUMBER)
        return Decimal(self._take(_FLOAT)[:-1].decode())

    def _quoted(self) -> bytes:
        length = self._length()
        self._expect(b'"')
        content = self.data[self.place : self.place + length]
        if len(content) != length:
            raise ValueError
        self.place += length
        self._expect(b'"')
        return content

    def _string(self) -> str:
        content = self._quoted()
        self._expect(b";")
        return _text(content)

    def _array(self, depth: int) -> dict[str, Any]:
        count = self._length()
        self._expect(b"{")
        members: dict[str, Any] = {}
        for _ in range(count):
            key = self._key()
            members[key] = self.value(depth + 1)
        self._expect(b"}")
        return members

    def _key(self) -> str:
        if self.data.startswith((b"i:", b"s:"), self.place):
            return str(self.value(0))
        raise ValueError

    def _skip_object(self, tag: bytes, depth: int) -> None:
        self._quoted()
        match tag:
            case b"E:":
                self._expect(b";")
            case b"C:":
                self._expect(b":")
                length = self._length()
                self._expect(b"{")
                self.place += length
                self._expect(b"}")
            case _:
                self._expect(b":")
                self._array(depth)
