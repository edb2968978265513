"""A stream record as a page's parser leaves it: its few members, and the images as text.

It reads like the map that boto3 makes of a record. Whoever takes in thousands asks its members by name instead: a map
for each record and its body would be most of what reading a page costs.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType

from lockside.core.lazy_image import LazyImage

CREATED: Final = "ApproximateCreationDateTime"


class Members(Struct, gc=False, forbid_unknown_fields=True, eq=False):
    """Members of which some may be missing, as a map: of what is there, in the order of the fields."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return a member; an image to be read when it is asked for."""
        value = getattr(self, name, UNSET) if name in self.__struct_fields__ else UNSET
        if value is UNSET:
            return default
        return LazyImage(value) if type(value) is Raw else value

    def keys(self) -> list[str]:
        """Return the names of what is there."""
        return [name for name in self.__struct_fields__ if getattr(self, name) is not UNSET]

    def items(self) -> list[tuple[str, Any]]:
        """Return what is there."""
        return [(name, self[name]) for name in self.keys()]

    def values(self) -> list[Any]:
        """Return what is there, without the names."""
        return [self[name] for name in self.keys()]

    def __getitem__(self, name: str) -> Any:
        """Return a member. Raises KeyError."""
        value = self.get(name, UNSET)
        if value is UNSET:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        """Whether a member is there."""
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        """Go through the names of what is there."""
        return iter(self.keys())

    def __len__(self) -> int:
        """Count what is there."""
        return len(self.keys())

    def __eq__(self, other: object) -> bool:
        """Compare as maps do: with images that are equal if they read the same."""
        return isinstance(other, Mapping) and dict(self) == dict(other)

    def __ne__(self, other: object) -> bool:
        """Compare as `==` does: msgspec's own answer stands in the way of Python's."""
        return not self == other

    __hash__ = None  # type: ignore[assignment] # what holds maps has no hash


class LazyBody(Members, gc=False, forbid_unknown_fields=True, eq=False):
    """A record's `dynamodb` member. A creation time may be a `datetime` too, as botocore makes of a fraction."""

    ApproximateCreationDateTime: int | float
    Keys: Any = UNSET
    NewImage: Raw | UnsetType = UNSET
    OldImage: Raw | UnsetType = UNSET
    SequenceNumber: str | UnsetType = UNSET
    SizeBytes: int | UnsetType = UNSET
    StreamViewType: str | UnsetType = UNSET


class LazyRecord(Members, gc=False, forbid_unknown_fields=True, eq=False):
    """One record. Only removals by TTL have a `userIdentity`."""

    dynamodb: LazyBody
    eventID: str | UnsetType = UNSET
    eventName: str | UnsetType = UNSET
    eventVersion: str | UnsetType = UNSET
    eventSource: str | UnsetType = UNSET
    awsRegion: str | UnsetType = UNSET
    userIdentity: Any = UNSET


Mapping.register(Members)
