"""What is wrong with settings, for whoever wrote them: key, value, where it stood, what is allowed."""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel

VALUE_CHARACTERS_MAX: Final = 80


def unknown_environment(prefix: str, delimiter: str, model: type[BaseModel]) -> Iterator[str]:
    """Find variables of sections that the model has not.

    Only those with `__`: Kubernetes sets LOCKSIDE_SERVICE_HOST and the like where a Service is called lockside.
    """
    for variable in sorted(os.environ):
        section, found, _ = variable.upper().removeprefix(prefix).partition(delimiter)
        if variable.upper().startswith(prefix) and found and section.lower() not in model.model_fields:
            yield f"{variable}: unknown section{_nearest(section.lower(), model.model_fields)}"


def _nearest(key: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else f"; known here: {', '.join(known)}"


def fault(model: type[BaseModel], detail: Mapping[str, Any], origins: Sequence[tuple[Mapping[str, Any], str]]) -> str:
    """Spell one of pydantic's errors as key, value and way out; `origins` are the trees that a value may come from."""
    location: tuple[str | int, ...] = detail["loc"]
    origin = next((f" (from {name})" for tree, name in origins if _holds(tree, location)), "")
    path = _spell(location) + origin
    kind, allowed = detail["type"], str(detail["msg"])
    if kind == "extra_forbidden":
        # What stands under an unknown key may be a secret put in the wrong place: it is not shown.
        return f"{path}: unknown key{_nearest(str(location[-1]), _known_keys(model, location[:-1]))}"
    if kind == "missing":
        return f"{path}: is missing"
    for opening in ("Value error, ", "Input ", "String ", "Assertion failed, "):
        allowed = allowed.removeprefix(opening)
    value = detail["input"]
    if isinstance(value, BaseModel | Mapping | list | tuple):
        return f"{path}: {allowed}"
    return f"{path} = {_shown(value)}: {allowed}"


def _shown(value: object) -> str:
    """Show a scalar setting; a URL's user part is a credential."""
    text = str(value)
    if "@" in text:
        text = "…@" + text.rpartition("@")[2]
    text = text if len(text) <= VALUE_CHARACTERS_MAX else text[:VALUE_CHARACTERS_MAX] + "…"
    return f'"{text}"' if isinstance(value, str) else text


def _spell(location: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _holds(tree: Any, location: Sequence[str | int]) -> bool:
    for part in location:
        if not isinstance(tree, Mapping) or part not in tree:
            return isinstance(tree, list | tuple)
        tree = tree[part]
    return True


def _known_keys(settings: type[BaseModel], location: Sequence[str | int]) -> Sequence[str]:
    model: Any = settings
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = next((a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)), annotation)
    return list(model.model_fields)


def clashes(replicas: Sequence[Any]) -> Iterator[str]:
    """Find replicas that would get in each other's way."""
    ids = [replica.id for replica in replicas]
    for name in sorted({name for name in ids if ids.count(name) > 1}):
        yield f'id "{name}" is used {ids.count(name)} times; each replica needs its own'
    tables: dict[str, Any] = {}
    places: dict[tuple[str, ...], Any] = {}
    for replica in replicas:
        other = tables.setdefault(replica.reader_name, replica)
        if other.table != replica.table:
            yield f'ids "{other.id}" and "{replica.id}" share the reader "{replica.reader_name}" and not their table'
        place = (replica.region, replica.endpoint_url, replica.profile, replica.target_table or "")
        other = places.setdefault(place if replica.to == "dynamodb" else (replica.url, replica.prefix), replica)
        if other is not replica:
            yield f'ids "{other.id}" and "{replica.id}" have the same target; each needs its own'


def loops(replicas: Sequence[Any], others: Mapping[str, Any]) -> Iterator[str]:
    """Find replicas that would replicate themselves, or write into a table that is somebody else's."""
    aws, audit, state = (others.get(name) for name in ("aws", "audit", "state"))
    watched = {source.table: "a [[source]] watches it" for source in others.get("source") or ()}
    replicated = {replica.table: "a [[replica]] is fed from it" for replica in replicas}
    own = {each.table: "it is Lockside's own" for each in (audit, state) if each is not None}
    taken = {**watched, **replicated, **own}
    for replica in replicas:
        if state is not None and replica.table == state.table:
            yield f'id "{replica.id}" replicates state.table = "{state.table}", which each of its checkpoints changes'
        target = replica.target_table
        if replica.to == "dynamodb" and target in taken and aws is not None and replica.is_beside(aws):
            yield f'id "{replica.id}" writes to target_table = "{target}", but {taken[target]}; name another table'
