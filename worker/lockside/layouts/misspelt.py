"""What is wrong with a layout's data, in the file's own words: the field, its value, and what is allowed."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

VALUE_CHARS_MAX: Final = 60

SCALARS: Final[Mapping[object, str]] = {"str": "string_type", "int": "int_type", "bool": "bool_type"}
"""What pydantic puts at the end of a path for each kind of value that one field may have, and the fault it tells."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields there are: all of them, and those of each variant, by the field that names it and its value."""

    known: Collection[str]
    variants: Mapping[str, Mapping[str, Collection[str]]]


def fault_lines(error: ValidationError, fields: Fields) -> Iterator[str]:
    """Tell each fault in one line."""
    told: set[tuple[str, ...]] = set()
    for fault in error.errors(include_url=False):
        path = _field_path(fault)
        if _is_one_of_several(fault):
            if tuple(path) in told:
                continue
            told.add(tuple(path))
        yield f"{'.'.join(path) or '(the whole layout)'}: {_told(fault, path, fields)}"


def _field_path(fault: ErrorDetails) -> list[str]:
    """Spell where a fault is; the tags that pydantic puts into the path of a union are no fields of the file."""
    location = fault["loc"][:-1] if _is_one_of_several(fault) else fault["loc"]
    path = [str(part) for part in location]
    if path and path[0] in {"lock", "session"}:
        del path[0]
    if len(path) > 1 and path[0] == "release":
        del path[1]
    if fault["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        path.append(_discriminator(fault))
    return path


def _is_one_of_several(fault: ErrorDetails) -> bool:
    """Whether a value is none of several kinds that its field may have, of which each tells a fault of its own."""
    location = fault["loc"]
    return bool(location) and SCALARS.get(location[-1]) == fault["type"]


def _discriminator(fault: ErrorDetails) -> str:
    return str(fault.get("ctx", {})["discriminator"]).strip("'")


def _told(fault: ErrorDetails, path: list[str], fields: Fields) -> str:
    value = repr(fault["input"])
    shown = value if len(value) <= VALUE_CHARS_MAX else f"{value[:VALUE_CHARS_MAX]}…"
    if _is_one_of_several(fault):
        return f"{shown} is not allowed: it must be text, a whole number, or true or false"
    match fault["type"]:
        case "extra_forbidden":
            return f"no such field (value {shown}){_elsewhere(fault, path[-1], fields)}"
        case "missing":
            return "is missing"
        case "union_tag_not_found":
            return f"is missing; it must be one of {_tags(fault, fields)}"
        case "union_tag_invalid":
            return f"{fault.get('ctx', {})['tag']!r} is not allowed: it must be one of {_tags(fault, fields)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{shown} is not allowed: it must be a table"
        case "value_error":
            return fault["msg"].removeprefix("Value error, ")
        case _:
            return f"{shown} is not allowed: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _tags(fault: ErrorDetails, fields: Fields) -> str:
    return ", ".join(map(repr, fields.variants[_discriminator(fault)]))


def _elsewhere(fault: ErrorDetails, name: str, fields: Fields) -> str:
    """Say where a field belongs that stands in the wrong place, or what it is near to."""
    discriminator, own = _variant(fault["loc"])
    variants = fields.variants.get(discriminator, {})
    if others := [tag for tag, names in variants.items() if name in names]:
        return f"; it belongs to {discriminator} = {' or '.join(map(repr, others))}, not {own!r}"
    beside = variants.get(own, fields.known)
    near = difflib.get_close_matches(name, [one for one in beside if one != name], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _variant(location: tuple[int | str, ...]) -> tuple[str, str]:
    """Tell which variant of which table a field stands in, if it stands directly in one."""
    match location:
        case (str(kind), str()):
            return "kind", kind
        case (str(), "release", str(rule), str()):
            return "rule", rule
        case _:
            return "", ""
