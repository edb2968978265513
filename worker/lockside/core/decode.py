"""From one stream record as it came to a Change; images stay raw and are decoded where they are touched.

Read alike: the GetRecords shape as boto3 parses it or as JSON, a Lambda event's record, and KCL's JSON.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lockside.core.attributes import Image
from lockside.core.change import Change, Operation, ShardRef
from lockside.core.entity import EntityKey, KeySchema, entity_key
from lockside.core.lazy_image import opened
from lockside.core.lazy_record import LazyRecord
from lockside.errors import FaultyPageError, WireFaultError

SEQUENCE_DIGITS_MAX: Final = 40
MILLISECONDS_FROM: Final = 100_000_000_000
"""A creation time at or above this is in milliseconds (KCL), below it in seconds (GetRecords, until the year 5138)."""

CREATED_MS_END: Final = MILLISECONDS_FROM * 1000
"""A creation time from here on is none."""

TTL_PRINCIPAL: Final = "dynamodb.amazonaws.com"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def decode_record(raw: Mapping[str, Any], shard: ShardRef, schema: KeySchema, precision_ms: int) -> Change:
    """Decode one stream record.

    Raises FaultyPageError without a usable sequence number, and WireFaultError for anything else that cannot be
    understood: `operation`, `creation_time`, `image_missing`, `image_shape`, `key_missing`, `key_type`, or a code of
    the attribute codec.
    """
    position = sequence_number(raw)
    body = raw["dynamodb"]
    operation = _operation(raw.get("eventName"))
    old = _image(body, "OldImage")
    new = _image(body, "NewImage")
    # moto tells the creation of a row by UpdateItem as two INSERTs, so INSERT promises a new image and no more.
    if (operation != "REMOVE" and new is None) or (operation != "INSERT" and old is None):
        raise WireFaultError("image_missing")
    return Change(
        shard=shard,
        sequence_number=position,
        operation=operation,
        created_ms=created_ms(body, precision_ms),
        key=entity_key(body.get("Keys"), schema),
        old=old,
        new=new,
        by_ttl=operation == "REMOVE" and _by_ttl(raw.get("userIdentity")),
    )


def sequence_number(raw: object) -> int:
    """Read the sequence number, or raise FaultyPageError: without it a record has no place."""
    # By exact type first: asking an abstract class is most of the cost, and every record comes through here.
    if type(raw) is LazyRecord:
        value: object = raw.dynamodb.SequenceNumber
    else:
        body = raw.get("dynamodb") if type(raw) is dict or isinstance(raw, Mapping) else None
        value = body.get("SequenceNumber") if type(body) is dict or isinstance(body, Mapping) else None
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= SEQUENCE_DIGITS_MAX
        or not (value.isascii() and value.isdigit())
    ):
        raise FaultyPageError("sequence number")
    return int(value)


def sequence_numbers(raws: Sequence[object]) -> list[int]:
    """Read the sequence numbers of a batch; as `sequence_number` does, and all at once where they are plain texts."""
    try:
        texts = [raw.dynamodb.SequenceNumber for raw in raws]  # type: ignore[attr-defined] # or it is caught
        joined = "".join(texts)
    except (AttributeError, TypeError):
        return [sequence_number(raw) for raw in raws]
    lengths = {*map(len, texts)}
    if not (
        joined.isascii() and joined.isdigit() and lengths and min(lengths) > 0 and max(lengths) <= SEQUENCE_DIGITS_MAX
    ):
        return [sequence_number(raw) for raw in raws]
    return [*map(int, texts)]


def created_ms(body: Mapping[str, Any], precision_ms: int) -> int:
    """Read the creation time, rounded down to the precision that the recipe says the backend has."""
    return moment_ms(body.get("ApproximateCreationDateTime"), precision_ms)


def moment_ms(value: object, precision_ms: int) -> int:
    """Read a creation time as it came. Raises WireFaultError."""
    match value:
        case datetime() if value.tzinfo is not None:
            # By subtraction: `timestamp` fails at the calendar's ends. Without an offset it would be the host's time.
            milliseconds = (value - _EPOCH).total_seconds() * 1000
        case bool():
            raise WireFaultError("creation_time")
        case int() | float():
            milliseconds = value if value >= MILLISECONDS_FROM else value * 1000
        case _:
            raise WireFaultError("creation_time")
    if not 0 <= milliseconds < CREATED_MS_END:
        raise WireFaultError("creation_time")
    exact = round(milliseconds)
    return exact - exact % precision_ms


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What can still be read of a record that could not be decoded."""

    key: EntityKey | None
    created_ms: int | None


def salvage(raw: Mapping[str, Any], schema: KeySchema, precision_ms: int) -> Salvaged:
    """Read the key and the creation time of a record that could not be decoded, where they are sound."""
    body = raw["dynamodb"]
    key: EntityKey | None = None
    created: int | None = None
    with suppress(WireFaultError):
        key = entity_key(body.get("Keys"), schema)
    with suppress(WireFaultError):
        created = created_ms(body, precision_ms)
    return Salvaged(key, created)


def _operation(name: object) -> Operation:
    match name:
        case "INSERT" | "MODIFY" | "REMOVE":
            return name
        case _:
            raise WireFaultError("operation")


def _image(body: Mapping[str, Any], member: str) -> Image | None:
    image = opened(body.get(member))
    if image is None:
        return None
    if not isinstance(image, Mapping):
        raise WireFaultError("image_shape")
    return image


def _by_ttl(identity: object) -> bool:
    """Tell a TTL removal: GetRecords spells the members with capitals, Lambda and KCL without."""
    if not isinstance(identity, Mapping):
        return False
    principal = identity.get("PrincipalId", identity.get("principalId"))
    return bool(identity.get("Type", identity.get("type")) == "Service" and principal == TTL_PRINCIPAL)
