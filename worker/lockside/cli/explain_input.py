"""Stream records out of whatever a person has at hand: JSON Lines, one JSON document, or pages and events in lines.

Strategy: lines are read one by one and each may hold a record, a page (`Records`) or a list. Only a text that is not
JSON Lines is taken for one document and read whole, within a limit. What is no JSON becomes an entry that says where.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from lockside.errors import UsageError

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
BLOCK_BYTES: Final = 256 * 1024
DOCUMENT_BYTES_MAX: Final = 512 * 1024 * 1024
_SPACE: Final = re.compile(r"\s*")
OPENINGS: Final = frozenset({b"[", b"{"})
ACCEPTED: Final = "JSON Lines of GetRecords records, the output of `aws dynamodbstreams get-records`, or a Lambda event"


class Entry(NamedTuple):
    """One record and where it stood; `raw` is None where there was no JSON object, and `fault` then says what."""

    place: str
    raw: Mapping[str, Any] | None
    fault: str = ""


def entries(stream: BinaryIO, before_wait: Callable[[], None] = lambda: None) -> Iterator[Entry]:
    """Read records one by one; `before_wait` is called whenever more input may have to be waited for.

    Raises UsageError for an input of none of the accepted kinds.
    """
    lines = _lines(stream, before_wait)
    head = [line for _, line in zip(range(2), lines, strict=False)]
    if not head:
        raise UsageError(f"the input is empty; give {ACCEPTED}")
    parsed = [_parse(text) for _, text in head]
    broken = isinstance(parsed[0], _NotJson)
    # A bracket alone opens a document, though the line after it may be a whole record of the list.
    opens = head[0][1].strip() in OPENINGS
    if broken and (opens or not (len(parsed) > 1 and isinstance(parsed[1], Mapping))):
        yield from _document(chain(head, lines))
        return
    for number, text in chain(head, lines):
        value = _parse(text)
        if type(value) is dict and "Records" not in value:
            yield Entry(f"line {number}", _with_time(value))
        else:
            yield from _flat(value, f"line {number}")


@dataclass(frozen=True, slots=True)
class _NotJson:
    """A text that is not JSON, and what the parser said of its place."""

    told: str


def _lines(stream: BinaryIO, before_wait: Callable[[], None]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(_pieces(stream, before_wait), start=1):
        if len(line) > LINE_BYTES_MAX:
            raise UsageError(f"line {number} is longer than {LINE_BYTES_MAX} bytes; give {ACCEPTED}")
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if text and not text.isspace():
            yield number, text


def _pieces(stream: BinaryIO, before_wait: Callable[[], None]) -> Iterator[bytes]:
    """Cut what is there into lines, without waiting for more than one read needs; a line too long is not read whole."""
    read = getattr(stream, "read1", None) or stream.read
    rest: list[bytes] = []
    size = 0
    while True:
        before_wait()
        block = read(BLOCK_BYTES)
        if not block:
            break
        *whole, last = block.split(b"\n")
        if whole:
            yield b"".join([*rest, whole[0]])
            yield from whole[1:]
            rest, size = [], 0
        rest.append(last)
        size += len(last)
        if size > LINE_BYTES_MAX:
            break
    if size:
        yield b"".join(rest)


def _parse(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _parse_slowly(text)


def _parse_slowly(text: bytes) -> Any:
    """Read what the quick reader refuses: some of it is JSON to Python, and what is not is told by its place."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return _NotJson(f"{error.msg} at line {error.lineno}, column {error.colno}")
    except (ValueError, RecursionError):
        return _NotJson("not UTF-8, or nested too deeply")


def _document(lines: Iterator[tuple[int, bytes]]) -> Iterator[Entry]:
    """Take all lines as one document, or several in a row; if they are none, but some line is an object, as lines."""
    held: list[tuple[int, bytes]] = []
    size = 0
    for number, text in lines:
        size += len(text)
        if size > DOCUMENT_BYTES_MAX:
            raise UsageError(
                f"a single JSON document may have {DOCUMENT_BYTES_MAX} bytes; give longer input as JSON Lines"
            )
        held.append((number, text))
    joined = b"\n".join(text for _, text in held)
    whole = _parse(joined)
    documents = _concatenated(joined) if isinstance(whole, _NotJson) else [whole]
    for number, value in enumerate(documents, start=1):
        yield from _flat(value, f"document {number}" if len(documents) > 1 else "the document")
    if documents or not isinstance(whole, _NotJson):
        return
    if not any(isinstance(_parse(text), Mapping) for _, text in held):
        raise UsageError(f"the input is no JSON ({whole.told}); give {ACCEPTED}")
    for number, text in held:
        yield from _flat(_parse(text), f"line {number}")


def _concatenated(data: bytes) -> list[Any]:
    """Read documents that stand one after another, as pages appended to one file do; nothing if they are not."""
    decoder, found = json.JSONDecoder(), []
    try:
        text = data.decode()
        position = _next(text, 0)
        while position < len(text):
            value, end = decoder.raw_decode(text, position)
            found.append(value)
            position = _next(text, end)
    except (ValueError, RecursionError):
        return []
    return found if all(isinstance(value, Mapping | list) for value in found) else []


def _next(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return position if space is None else space.end()


def _flat(value: Any, place: str) -> Iterator[Entry]:
    match value:
        case _NotJson():
            yield Entry(place, None, "not_json")
        case {"Records": list() as members} | list(members):
            for index, member in enumerate(members, start=1):
                yield _entry(member, f"{place}, record {index}")
        case _:
            yield _entry(value, place)


def _entry(value: Any, place: str) -> Entry:
    if not isinstance(value, Mapping):
        return Entry(place, None, "not_an_object")
    return Entry(place, _with_time(value))


def _with_time(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read a creation time that is text: version 2 of the AWS CLI prints times in ISO 8601."""
    body = raw.get("dynamodb")
    text = body.get("ApproximateCreationDateTime") if type(body) is dict else None
    if type(body) is not dict or not isinstance(text, str):
        return raw
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return raw
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return {**raw, "dynamodb": {**body, "ApproximateCreationDateTime": aware}}
