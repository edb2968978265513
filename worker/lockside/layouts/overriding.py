"""A layout's data for a source whose users renamed attributes, or keep their user in a place of its own."""

import difflib
from collections.abc import Mapping
from typing import Any, Final

from lockside.errors import LayoutError

PRINCIPAL: Final = "principal"
"""An override that is no attribute: paths to the user, tried in order before the layout's own."""

RELEASES: Final = "releases"
"""The other one: how a source's clients let go, where their library can more ways than one."""

RELEASE_MODES: Final = ("delete", "mark", "both")

ROLES: Final = (
    "owner",
    "version",
    "lease",
    "deadline",
    "fence",
    "acquired_at",
    "handoff",
    "progress",
    "blocked",
    "ttl",
    "payload",
    "release",
)


ROW_RULES: Final = ("required", "equals", "absent", "if_present")
DETECTED_BY: Final = ("shows", "carries")
BESIDE_DEADLINE: Final = ("otherwise", "none_until")
BESIDE_PROGRESS: Final = "beside"


def overridden(document: Mapping[str, Any], overrides: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the data with attributes renamed everywhere: the layout's name for it = the table's.

    All at once, so that two names may be swapped. Raises LayoutError for a name that the layout does not use.
    """
    names = {was: new for was, new in overrides.items() if was not in {PRINCIPAL, RELEASES}}
    known = attribute_names(document)
    faults = [_fault(was, new, known) for was, new in names.items() if was not in known or not _is_name(new)]
    if PRINCIPAL in overrides and document.get("kind") != "session":
        faults.append(f"{PRINCIPAL} = {overrides[PRINCIPAL]!r}: only sessions have one")
    if RELEASES in overrides and not _may_choose(document):
        faults.append(f"{RELEASES} = {overrides[RELEASES]!r}: there is only one way in which its clients let go")
    if faults:
        raise LayoutError(f"overrides of layout {name!r}: {'; '.join(faults)}")
    changed = _renamed(dict(document), names)
    if PRINCIPAL in overrides:
        changed["principals"] = [*overrides[PRINCIPAL], *changed.get("principals", [])]
        # Told where its user stands, the layout no longer has to suppose one elsewhere.
        changed.pop("absent_user", None)
    if RELEASES in overrides:
        changed["release"] = {**changed["release"], "mode": overrides[RELEASES]}
    return changed


def _may_choose(document: Mapping[str, Any]) -> bool:
    """Whether clients can both delete a row and mark it free."""
    release = document.get("release")
    return isinstance(release, Mapping) and release["rule"] != "none" and release["mode"] in RELEASE_MODES


def attribute_names(document: Mapping[str, Any]) -> frozenset[str]:
    """Collect every attribute that a layout names."""
    rows = document.get("rows", {})
    named = {role["attr"] for key in ROLES if isinstance(role := document.get(key), Mapping) and "attr" in role}
    named |= {*document["keys"]["names"], *(name for rule in ROW_RULES for name in rows.get(rule, ()))}
    if isinstance(deadline := document.get("deadline"), Mapping):
        named |= {deadline[role]["attr"] for role in BESIDE_DEADLINE if role in deadline}
    if isinstance(progress := document.get("progress"), Mapping):
        named |= {*progress.get(BESIDE_PROGRESS, ())}
    return frozenset(named | set(document.get("secrets", ())))


def _is_name(new: object) -> bool:
    return isinstance(new, str) and bool(new)


def _fault(was: str, new: object, known: frozenset[str]) -> str:
    if was in known:
        return f"{was} = {new!r}: must be the attribute's name in the table"
    near = difflib.get_close_matches(was, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{was!r} is no attribute of this layout; {hint}It has {', '.join(sorted(known))}"


def _renamed(document: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    for role in ROLES:
        if isinstance(table := document.get(role), Mapping) and "attr" in table:
            document[role] = _with_attr(table, names)
    for hint in DETECTED_BY:
        if isinstance(types := document.get(hint), Mapping):
            document[hint] = {names.get(name, name): tags for name, tags in types.items()}
    keys = document["keys"]
    document["keys"] = {**keys, "names": [names.get(name, name) for name in keys["names"]]}
    if isinstance(rows := document.get("rows"), Mapping):
        document["rows"] = {rule: _in_rule(rule, value, names) for rule, value in rows.items()}
    if "secrets" in document:
        document["secrets"] = [names.get(name, name) for name in document["secrets"]]
    return document | _flat_paths(document, names)


def _with_attr(table: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    renamed = {**table, "attr": names.get(table["attr"], table["attr"])}
    if BESIDE_PROGRESS in table:
        renamed[BESIDE_PROGRESS] = {names.get(name, name): types for name, types in table[BESIDE_PROGRESS].items()}
    return renamed | {role: _with_attr(table[role], names) for role in BESIDE_DEADLINE if role in table}


def _in_rule(rule: str, value: Any, names: Mapping[str, str]) -> Any:
    match rule:
        case "required" | "equals" | "if_present":
            return {names.get(name, name): wanted for name, wanted in value.items()}
        case "absent":
            return [names.get(name, name) for name in value]
        case _:
            return value


def _flat_paths(document: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Rename where paths start at attributes: in a flat row, in principals beside the payload, in a mark of the end."""
    payload = document.get("payload")
    flat = isinstance(payload, Mapping) and "attr" not in payload
    changed: dict[str, Any] = {}
    if isinstance(payload, Mapping) and flat and "volatile" in payload:
        changed["payload"] = {**payload, "volatile": [_start(path, names) for path in payload["volatile"]]}
    if isinstance(ended := document.get("ended"), Mapping):
        changed["ended"] = {**ended, "path": _start(ended["path"], names)}
    if flat and "privileges" in document:
        changed["privileges"] = [_start(path, names) for path in document["privileges"]]
    if "principals" in document:
        tables = [one if isinstance(one, Mapping) else {"path": one} for one in document["principals"]]
        changed["principals"] = [
            {**one, "path": _start(one["path"], names)} if flat or one.get("of") == "row" else one for one in tables
        ]
    return changed


def _start(path: str | list[str], names: Mapping[str, str]) -> list[str]:
    first, *rest = path.split(".") if isinstance(path, str) else path
    return [names.get(first, first), *rest]
