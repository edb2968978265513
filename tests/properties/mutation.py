"""A seeded mutator of stream records and pages: quick enough for a million inputs, where Hypothesis is not.

Everything comes from one `Random`. It grows from the captures of real clients, as JSON or as boto3 parses them.
"""

import base64
import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import orjson

from tests.fakes.captures import CAPTURES, NAMES, read

LAYOUT_OF: Final = {"dynamodb-session-flask": "session-web"}

CORPUS: Final[dict[str, list[bytes]]] = {
    LAYOUT_OF.get(name, name): [orjson.dumps(record) for record in read(CAPTURES / f"{name}.jsonl")] for name in NAMES
}
"""Records of real clients by layout, as JSON: parsing is the quickest copy."""

LAYOUTS: Final = tuple(CORPUS)
TAGS: Final = ("S", "N", "B", "M", "L", "BOOL", "NULL", "SS", "NS", "BS", "X", "")
MEMBERS: Final = ("Keys", "NewImage", "OldImage", "SequenceNumber", "ApproximateCreationDateTime", "dynamodb", "")
LONG: Final = "x" * 70_000
DEEP_LEVELS: Final = 45
MILLION_BYTES_ONE_IN: Final = 2_000
"""How rarely a text of a megabyte is put in: each costs as much as hundreds of ordinary inputs."""


def deep(levels: int) -> dict[str, Any]:
    """Nest maps in lists."""
    value: dict[str, Any] = {"S": "x"}
    for _ in range(levels):
        value = {"M": {"a": {"L": [value]}}}
    return value


STRANGE: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1.5, 1e308, float("nan"), float("inf"), 2**63, -(2**80), 10**40),
    *("", "x", "\0", "\ud800", "é" * 300, "a\nb#|/~", LONG, "1", "-1", "1795421460", "1e400", "NaN", "{", "[[", "null"),
    *(b"", b"\xff" * 20, b"\x81\xa8_user_id\xa3ann", [], {}, [[]], [None], {"": None}, {"S": None}),
    *(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)),
    *({"S": ""}, {"S": "\ud800"}, {"S": LONG}, {"S": "x", "N": "1"}, {"S": 5}, {"S": {"S": "x"}}, {"X": "y"}),
    *({"N": "1e125"}, {"N": "1E-130"}, {"N": "9" * 39}, {"N": "-0"}, {"N": "Infinity"}, {"N": ""}, {"N": "0x10"}),
    *({"N": "253402300800"}, {"N": "-62135596801"}, {"N": "99999999999999999999"}, {"N": "1795421460.5"}, {"N": 7}),
    *({"B": ""}, {"B": "!"}, {"B": "AAE="}, {"B": b"\0"}, {"B": None}, {"NULL": False}, {"BOOL": "true"}, {"BOOL": 1}),
    *({"SS": []}, {"SS": "ab"}, {"NS": ["x"]}, {"BS": [1]}, {"L": {}}, {"L": [{"S": "a"}, {}]}, {"M": []}),
    *({"M": {"": {"S": "a"}}}, {"M": {"\ud800": {"S": "a"}}}, deep(14), deep(DEEP_LEVELS), "2026-11-23T08:00:00Z"),
)
OUT_OF_PLACE: Final = 0.01
SPLINTERS: Final = (b"null", b"{}", b"[]", b'""', b"1e999", b"\xff", b"[" * 3_000)


class Mutator:
    """Makes records and pages; the same `Random` makes the same ones."""

    def __init__(self, random: Random) -> None:
        """Keep where chance comes from."""
        self._random = random

    def records(self, layout: str, first: int, number: int) -> list[dict[str, Any]]:
        """Make so many records: any of the client's, most of them spoilt, or a piece of its history with few spoilt."""
        random, corpus = self._random, CORPUS[layout]
        if random.random() < 0.5:
            return [self._made(random.choice(corpus), layout, first + n, 0.9) for n in range(number)]
        start = random.randrange(len(corpus))
        return [self._made(corpus[(start + n) % len(corpus)], layout, first + n, 0.2) for n in range(number)]

    def _made(self, good: bytes, layout: str, sequence_number: int, spoilt: float) -> dict[str, Any]:
        random = self._random
        record: dict[str, Any] = orjson.loads(good)
        record["dynamodb"]["SequenceNumber"] = f"{sequence_number:021d}"
        if random.random() < 0.3:
            as_boto3(record)
        if random.random() > spoilt:
            return record
        for _ in range(random.choice((1, 1, 1, 2, 2, 3, 8))):
            random.choices(CHANGES, WEIGHTS)[0](self, record, layout)
        if random.random() > OUT_OF_PLACE:
            # One without its place makes the whole page faulty, and nothing else of it is tested.
            body = record.get("dynamodb")
            kept = body if isinstance(body, dict) else {}
            record["dynamodb"] = {**kept, "SequenceNumber": f"{sequence_number:021d}"}
        return record

    def page(self, layout: str, first: int) -> bytes:
        """Make the body of a GetRecords answer, spoilt in its tree, its bytes or not at all."""
        random = self._random
        numbers = range(first, first + random.randrange(6))
        page: dict[str, Any] = {"Records": [self.good(layout, number) for number in numbers]}
        if random.random() < 0.8:
            page["NextShardIterator"] = "next"
        for _ in range(random.choice((0, 1, 1, 3))):
            self.node(page, layout)
        body = json.dumps(page, default=str).encode()
        for _ in range(random.choice((0, 0, 0, 1, 1, 4))):
            body = self._spoilt(body)
        return body

    def node(self, record: Any, layout: str) -> None:
        """Change one value somewhere in the tree: another value, name, type or place; or none."""
        random = self._random
        holder, name = self._somewhere(record)
        if holder is None:
            return
        match random.randrange(8):
            case 0:
                del holder[name]
            case 1 | 2 | 3:
                holder[name] = self._strange()
            case 4:
                holder[name] = self._other(layout)
            case 5 if isinstance(holder, dict):
                holder[random.choice((*TAGS, *MEMBERS, "\ud800", LONG[:2_000]))] = holder.pop(name)
            case 6:
                holder[name] = {random.choice(TAGS): holder[name]}
            case _:
                holder[name] = self._worn(holder[name])

    def image(self, record: Any, layout: str) -> None:
        """Exchange, drop or borrow an image."""
        body = record.get("dynamodb")
        if not isinstance(body, dict):
            return
        random = self._random
        one, other = random.sample(("NewImage", "OldImage"), 2)
        match random.randrange(4):
            case 0:
                body.pop(one, None)
            case 1:
                body[one] = body.get(other)
            case 2:
                body[one] = orjson.loads(random.choice(CORPUS[layout]))["dynamodb"].get(other)
            case _:
                body[one], body[other] = body.get(other), body.get(one)

    def head(self, record: Any, layout: str) -> None:
        """Change what stands around the images: name, time, identity, keys."""
        random = self._random
        body = record.get("dynamodb")
        match random.randrange(4):
            case 0:
                record["eventName"] = random.choice(("INSERT", "MODIFY", "REMOVE", "insert", "", None, 3, ["INSERT"]))
            case 1:
                identity = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
                lower = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
                record["userIdentity"] = random.choice((identity, lower, {}, [], "x", None, {"Type": ["Service"]}))
            case 2 if isinstance(body, dict):
                times = (0, -1, 1, 1795421460, 1795421460.999, 1795421460123, 10**13, 10**15, "1795421460")
                body["ApproximateCreationDateTime"] = random.choice((*times, self._strange()))
            case _:
                if isinstance(body, dict):
                    body["Keys"] = orjson.loads(random.choice(CORPUS[layout]))["dynamodb"]["Keys"]

    def good(self, layout: str, number: int) -> dict[str, Any]:
        """Return a record as a client made it, at this place."""
        record: dict[str, Any] = orjson.loads(self._random.choice(CORPUS[layout]))
        record["dynamodb"]["SequenceNumber"] = f"{number:021d}"
        return record

    def _somewhere(self, tree: Any) -> tuple[Any, Any]:
        random = self._random
        holder: Any = None
        name: Any = None
        inner = tree
        while isinstance(inner, dict | list) and inner and (holder is None or random.random() < 0.8):
            holder = inner
            name = random.choice(list(inner)) if isinstance(inner, dict) else random.randrange(len(inner))
            inner = holder[name]
        return holder, name

    def _strange(self) -> Any:
        random = self._random
        if random.randrange(MILLION_BYTES_ONE_IN) == 0:
            return {random.choice("SNB"): random.choice(("[", '"', "9", "A", "\x81")) * 1_000_000}
        # A copy: what is put in may be changed in its turn.
        return deepcopy(random.choice(STRANGE))

    def _other(self, layout: str) -> Any:
        """Return a value out of another record."""
        holder, name = self._somewhere(orjson.loads(self._random.choice(CORPUS[layout])))
        return holder[name]

    def _worn(self, value: Any) -> Any:
        """Return a scalar with a little of it changed."""
        random = self._random
        match value:
            case str() if value:
                at = random.randrange(len(value))
                put = random.choice(("", "\0", "\ud800", "9", "-", '"', "}", "é", chr(random.randrange(0x20, 0x250))))
                return value[:at] + put + value[at + random.randrange(3) :]
            case bytes() if value:
                return self._spoilt(value)
            case bool():
                return not value
            case int() | float():
                return value * random.choice((-1, 0, 10, 1000, 1e-3, 1e9))
            case _:
                return self._strange()

    def _spoilt(self, body: bytes) -> bytes:
        random = self._random
        at, other = random.randrange(len(body) + 1), random.randrange(len(body) + 1)
        first, last = min(at, other), max(at, other)
        match random.randrange(6):
            case 0:
                return body[:first] + bytes([random.randrange(256)]) + body[first + 1 :]
            case 1:
                return body[:at]
            case 2:
                return body[:first] + body[min(last, first + 20) :]
            case 3:
                return body[:first] + body[first : min(last, first + 200)] + body[first:]
            case 4:
                return body[:at] + random.choice(SPLINTERS) + body[at:]
            case _:
                return body[:at] + body[first:last][:50] + body[at:]

    def payload(self, record: Any, layout: str) -> None:
        """Spoil the bytes within a binary or a text, which hold a payload of their own."""
        del layout
        body = record.get("dynamodb")
        image = body.get(self._random.choice(("NewImage", "OldImage"))) if isinstance(body, dict) else None
        if not isinstance(image, dict) or not image:
            return
        wire = image[self._random.choice(list(image))]
        if not isinstance(wire, dict):
            return
        for tag, value in list(wire.items()):
            if isinstance(value, bytes) and value:
                wire[tag] = self._spoilt(value)
            elif isinstance(value, str) and tag == "B":
                wire[tag] = base64.b64encode(self._spoilt(_bytes_of(value))).decode()
            elif isinstance(value, str):
                wire[tag] = self._spoilt(value.encode(errors="surrogatepass")).decode(errors="replace")


Change = Callable[[Mutator, Any, str], None]
CHANGES: Final[tuple[Change, ...]] = (Mutator.node, Mutator.image, Mutator.head, Mutator.payload)
WEIGHTS: Final = (5, 1, 1, 2)


def as_boto3(record: Any) -> None:
    """Bring a record as JSON into the shape that boto3 parses it into: bytes, and a creation time."""
    body = record["dynamodb"]
    body["ApproximateCreationDateTime"] = datetime.fromtimestamp(body["ApproximateCreationDateTime"], UTC)
    for member in ("Keys", "NewImage", "OldImage"):
        for wire in body.get(member, {}).values():
            _with_bytes(wire)


def _with_bytes(wire: Any) -> None:
    match wire:
        case {"B": str() as text}:
            wire["B"] = base64.b64decode(text)
        case {"M": dict() as members}:
            for member in members.values():
                _with_bytes(member)
        case {"L": list() as listed}:
            for member in listed:
                _with_bytes(member)
        case _:
            pass


def _bytes_of(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        return text.encode(errors="surrogatepass")
