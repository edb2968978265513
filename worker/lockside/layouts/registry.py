"""All layouts by name, alias and family: the built-in ones from this package's data, and users' own."""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from lockside.core.entity import Kind
from lockside.errors import LayoutError
from lockside.layouts.spec import Spec, load

FOLDERS: Final = ("locks", "sessions")


class Registry:
    """Layouts in the order of their names. Immutable; `with_layouts` makes a larger one."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        """Hold the layouts. Raises LayoutError if two answer to one name."""
        self._specs = tuple(sorted(specs, key=lambda spec: spec.name))
        self._by_name: dict[str, tuple[Spec, ...]] = {}
        for spec in self._specs:
            self._answer_to(spec.name, spec)
        for spec in self._specs:
            for alias in spec.aliases:
                self._answer_to(alias, spec)
        for spec in self._specs:
            if spec.family != spec.name:
                members = tuple(other for other in self._specs if other.family == spec.family)
                self._answer_for_family(spec, members)

    def __iter__(self) -> Iterator[Spec]:
        """Iterate over the layouts, by name."""
        return iter(self._specs)

    @property
    def names(self) -> tuple[str, ...]:
        """The layouts' own names."""
        return tuple(spec.name for spec in self._specs)

    def find(self, name: str) -> tuple[Spec, ...]:
        """Return the layout of a name or alias, or all of a family.

        Raises LayoutError naming the nearest known name.
        """
        found = self._by_name.get(_folded(name))
        if found is None:
            near = difflib.get_close_matches(_folded(name), self._by_name, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise LayoutError(f"layout {name!r} is not known; {hint}Known layouts: {', '.join(self.names)}")
        return found

    def resolve(self, names: Iterable[str]) -> tuple[Spec, ...]:
        """Return the layouts of several names, each once, in order.

        Raises LayoutError if they mix locks and sessions.
        """
        found = tuple(dict.fromkeys(spec.name for name in names for spec in self.find(name)))
        specs = tuple(self.find(name)[0] for name in found)
        if len({spec.traits.kind for spec in specs}) > 1:
            listed = ", ".join(f"{spec.name} ({spec.traits.kind})" for spec in specs)
            raise LayoutError(f"layout: a source holds locks or sessions, not both: {listed}; make two sources of it")
        return specs

    def with_layouts(self, documents: Iterable[Mapping[str, Any]], origin: str) -> "Registry":
        """Return a registry with users' own layouts in it. Raises LayoutError."""
        return Registry((*self._specs, *(load(document, f"{origin}[{i}]") for i, document in enumerate(documents))))

    def _answer_for_family(self, spec: Spec, members: tuple[Spec, ...]) -> None:
        taken = self._by_name.get(_folded(spec.family), members)
        if not set(taken) <= set(members):
            raise LayoutError(
                f"layout {spec.name!r}: family = {spec.family!r} is a name of layout {taken[0].name!r}; choose another"
            )
        self._by_name[_folded(spec.family)] = members

    def _answer_to(self, name: str, spec: Spec) -> None:
        folded = _folded(name)
        if folded in self._by_name and self._by_name[folded] != (spec,):
            other = self._by_name[folded][0].name
            raise LayoutError(
                f"layout {spec.name!r}: the name {name!r} belongs to layout {other!r} already; choose another"
            )
        self._by_name[folded] = (spec,)


def _folded(name: str) -> str:
    return name.strip().lower()


@cache
def builtin() -> Registry:
    """Return the built-in layouts."""
    return Registry(load(document, origin) for origin, document in _documents())


def of_kind(registry: Registry, kind: Kind) -> tuple[Spec, ...]:
    """Return the layouts of one kind."""
    return tuple(spec for spec in registry if spec.traits.kind == kind)


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for folder in FOLDERS:
        entries = files(__package__).joinpath(folder).iterdir()
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.endswith(".toml"):
                yield f"{folder}/{entry.name}", tomllib.loads(entry.read_text(encoding="utf-8"))
