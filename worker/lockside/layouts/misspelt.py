"""What is wrong with a layout's data, in the file's own words: the field, its value, and what is allowed."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

VALUE_CHARS_MAX: Final = 60
_KINDS: Final = "'lock', 'session'"


def fault_lines(error: ValidationError, known_fields: Sequence[str]) -> Iterator[str]:
    """Tell each fault in one line."""
    for fault in error.errors(include_url=False):
        path = _field_path(fault["loc"])
        yield f"{'.'.join(path) or '(the whole layout)'}: {_told(fault, path, known_fields)}"


def _field_path(location: tuple[int | str, ...]) -> list[str]:
    """Spell where a fault is; the tags that pydantic puts into the path of a union are no fields of the file."""
    path = [str(part) for part in location]
    if path and path[0] in {"lock", "session"}:
        del path[0]
    if len(path) > 1 and path[0] == "release":
        del path[1]
    return path


def _told(fault: ErrorDetails, path: list[str], known_fields: Sequence[str]) -> str:
    value = repr(fault["input"])
    shown = value if len(value) <= VALUE_CHARS_MAX else f"{value[:VALUE_CHARS_MAX]}…"
    match fault["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(path[-1], known_fields, n=1)
            return f"no such field (value {shown}){f'; did you mean {near[0]}?' if near else ''}"
        case "missing":
            return "is missing"
        case "union_tag_invalid" | "union_tag_not_found":
            context = fault.get("ctx", {})
            return f"{context.get('discriminator', 'kind')} must be one of {context.get('expected_tags', _KINDS)}"
        case "value_error":
            return fault["msg"].removeprefix("Value error, ")
        case _:
            return f"{shown} is not allowed: {fault['msg'][0].lower()}{fault['msg'][1:]}"
