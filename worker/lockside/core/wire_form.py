"""Whole items as they stand on the wire, brought to the form that a place wants them in; nothing of them is lost.

A replica holds what the table holds: every type of attribute, numbers as the digits they came in, sets as sets. So an
item is never decoded on its way: only binary, which boto3 hands over as bytes and JSON as base64 text, changes its
spelling.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

from lockside.core import attributes
from lockside.core.attributes import DEPTH_MAX, Image
from lockside.core.lazy_image import opened
from lockside.errors import WireFaultError

Spell = Callable[[bytes], Any]
"""How a place spells binary."""


def image_of(image: Any, member: str) -> Image:
    """Return a record's image, read if it is still text. Raises WireFaultError where it is missing or no map."""
    image = opened(image)
    if image is None:
        raise WireFaultError(f"{member}_missing")
    if not isinstance(image, Mapping):
        raise WireFaultError("image_shape")
    return image


def for_boto3(image: Image) -> dict[str, Any]:
    """Spell an item for a boto3 call: binary as bytes. Raises WireFaultError as `attributes.decode` does."""
    return {attributes.text(name): _spelled(value, bytes, 0) for name, value in image.items()}


def for_json(image: Image) -> dict[str, Any]:
    """Spell an item for JSON: binary as base64 text. Raises WireFaultError as `attributes.decode` does."""
    return {attributes.text(name): _spelled(value, _base64, 0) for name, value in image.items()}


def canonical(image: Image) -> dict[str, Any]:
    """Spell an item so that two are equal if, and only if, DynamoDB would hold the same for both.

    Numbers by their value, sets without an order; types stay apart: the number 1 is neither true nor the text "1".
    """
    return {attributes.text(name): _canonical(value, 0) for name, value in image.items()}


def differing(one: Image, other: Image) -> tuple[str, ...]:
    """Name the attributes in which two items differ, in order."""
    ours, theirs = canonical(one), canonical(other)
    return tuple(sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)))


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _opened(value: object, depth: int) -> tuple[str, Any]:
    if depth > DEPTH_MAX:
        raise WireFaultError("depth")
    if not isinstance(value, Mapping) or len(value) != 1:
        raise WireFaultError("attribute_shape")
    tag, inner = next(iter(value.items()))
    return tag, inner


def _spelled(value: object, spell: Spell, depth: int) -> dict[str, Any]:
    tag, inner = _opened(value, depth)
    match tag:
        case "S":
            return {tag: attributes.text(inner)}
        case "N":
            attributes.number(inner)
            return {tag: inner}
        case "B":
            return {tag: spell(attributes.binary(inner))}
        case "BOOL" | "NULL" if isinstance(inner, bool):
            return {tag: inner}
        case "M" if isinstance(inner, Mapping):
            return {tag: {attributes.text(name): _spelled(each, spell, depth + 1) for name, each in inner.items()}}
        case "L":
            return {tag: [_spelled(each, spell, depth + 1) for each in _members(inner)]}
        case "SS":
            return {tag: [attributes.text(each) for each in _members(inner)]}
        case "NS":
            return {tag: [_number(each) for each in _members(inner)]}
        case "BS":
            return {tag: [spell(attributes.binary(each)) for each in _members(inner)]}
        case "BOOL" | "NULL" | "M":
            raise WireFaultError("attribute_shape")
        case _:
            raise WireFaultError("attribute_type")


def _number(value: Any) -> Any:
    attributes.number(value)
    return value


def _canonical(value: object, depth: int) -> Any:
    tag, inner = _opened(value, depth)
    match tag:
        case "M":
            return tag, {name: _canonical(each, depth + 1) for name, each in inner.items()}
        case "L":
            return tag, [_canonical(each, depth + 1) for each in _members(inner)]
        case "N" | "NS" | "B" | "BS" | "SS":
            return tag, _PLAIN[tag](inner)
        case _:
            return tag, attributes.decode(value, depth)


def _digits(value: Any) -> str:
    return attributes.number_text(attributes.number(value))


_PLAIN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "N": _digits,
    "B": attributes.binary,
    "SS": lambda inner: frozenset(map(attributes.text, _members(inner))),
    "NS": lambda inner: frozenset(map(_digits, _members(inner))),
    "BS": lambda inner: frozenset(map(attributes.binary, _members(inner))),
}


def _members(inner: object) -> list[Any]:
    if not isinstance(inner, list | tuple | set | frozenset):
        raise WireFaultError("attribute_shape")
    return list(inner)
