"""Which rows of a table are a layout's own: rules on the key by position, and on attributes by presence and value.

Keys are ruled by position because clients let their users rename them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lockside.core import attributes
from lockside.core.attributes import Image
from lockside.core.entity import EntityKey
from lockside.errors import WireFaultError


@dataclass(frozen=True, slots=True)
class KeyRule:
    """What one part of the key must look like. Of each list one entry is enough; an empty list asks for nothing."""

    types: tuple[str, ...] = ()
    equals: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    not_prefix: tuple[str, ...] = ()
    not_suffix: tuple[str, ...] = ()
    pattern: tuple[str, ...] = ()

    def holds(self, tag: str, part: str) -> bool:
        """Whether a key part is as it must be."""
        return (
            (not self.types or tag in self.types)
            and (not self.equals or part in self.equals)
            and (not self.prefix or part.startswith(self.prefix))
            and (not self.suffix or part.endswith(self.suffix))
            and (not self.contains or any(inner in part for inner in self.contains))
            and not (self.not_prefix and part.startswith(self.not_prefix))
            and not (self.not_suffix and part.endswith(self.not_suffix))
            and (not self.pattern or any(re.search(pattern, part) for pattern in self.pattern))
        )


@dataclass(frozen=True, slots=True)
class RowRule:
    """Which rows belong to a layout.

    `required` maps an attribute that must be there to the types it may have (none named: any). `equals` maps an
    attribute to the values it may have, in their canonical text; `if_present` does so for one that may be missing.
    `within` is a source's own filter: both must hold.
    """

    keys: tuple[KeyRule | None, ...] = ()
    required: tuple[tuple[str, frozenset[str]], ...] = ()
    absent: tuple[str, ...] = ()
    equals: tuple[tuple[str, frozenset[str]], ...] = ()
    if_present: tuple[tuple[str, frozenset[str]], ...] = ()
    within: "RowRule | None" = None

    @property
    def chain(self) -> "tuple[RowRule, ...]":
        """This rule, then the filters that it stands within."""
        return (self,) if self.within is None else (self, *self.within.chain)

    @property
    def asks_keys(self) -> bool:
        """Whether the key has a say."""
        return any(rule is not None for one in self.chain for rule in one.keys)

    @property
    def asks_nothing(self) -> bool:
        """Whether every row of a table belongs."""
        return not self.asks_keys and not any(
            one.required or one.absent or one.equals or one.if_present for one in self.chain
        )

    def holds(self, key: EntityKey, image: Image) -> bool:
        """Whether a row belongs to the layout."""
        return (
            all(_key_holds(rule, index, key) for index, rule in enumerate(self.keys) if rule is not None)
            and self.fits(image)
            and (self.within is None or self.within.holds(key, image))
        )

    def fits(self, image: Image) -> bool:
        """Whether a row belongs to the layout as far as its attributes tell."""
        # Loops, as this is asked of every image of every record, and `has_type` written out.
        for name, types in self.required:
            wire = image.get(name)
            if wire is None or (types and tag_of(wire) not in types):
                return False
        for name in self.absent:
            if name in image:
                return False
        for name, values in self.if_present:
            if name in image and _scalar_text(image[name]) not in values:
                return False
        if self.equals and not all(_scalar_text(image.get(name)) in values for name, values in self.equals):
            return False
        return self.within is None or self.within.fits(image)


def has_type(image: Image, name: str, types: frozenset[str]) -> bool:
    """Whether an attribute is there with one of the types, or with any where none is named."""
    wire = image.get(name)
    if wire is None:
        return False
    return not types or tag_of(wire) in types


def tag_of(wire: object) -> str | None:
    """Return a wire value's type tag, None if it has no legal shape."""
    # By exact type first: asking an abstract class is most of the cost, and every heartbeat comes through here.
    if not (type(wire) is dict or isinstance(wire, Mapping)) or len(wire) != 1:
        return None
    [tag] = wire
    return tag if type(tag) is str else None


def scalar_text(value: Any) -> str | None:
    """Spell a decoded scalar canonically, for comparison with what a layout's data names."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case Decimal():
            return attributes.number_text(value)
        case _:
            return None


def _scalar_text(wire: object) -> str | None:
    if wire is None:
        return None
    try:
        return scalar_text(attributes.decode(wire))
    except WireFaultError:
        return None


def _key_holds(rule: KeyRule, index: int, key: EntityKey) -> bool:
    return index < len(key.parts) and rule.holds(*key.parts[index])
