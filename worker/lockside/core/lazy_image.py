"""An image that stays text until it is asked for: most are heartbeats', of which three attributes matter.

A page of 1,000 records read whole is megabytes of small maps, gone through again and again while they lie cold. Read
one at a time, an image is warm, and gone before the next.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from lockside.errors import WireFaultError

read_text: Final[Callable[[Any], Any]] = msgspec.json.Decoder().decode
"""Reads JSON text. Raises one of UNREADABLE for what cannot be read, TypeError for what is no text."""

UNREADABLE: Final = (msgspec.DecodeError, RecursionError)


class LazyImage:
    """One image as JSON text; equal to another that reads the same. Comparing never fails."""

    __slots__ = ("_text",)

    def __init__(self, text: bytes | msgspec.Raw) -> None:
        """Keep the text: sound JSON in UTF-8."""
        self._text = text

    def read(self) -> Any:
        """Read the text, anew each time. Raises WireFaultError `image_shape` for a number that no wire value has."""
        try:
            return read_text(self._text)
        except UNREADABLE:
            raise WireFaultError("image_shape") from None

    @property
    def text(self) -> bytes:
        """The text as it came."""
        return bytes(self._text)

    def __eq__(self, other: object) -> bool:
        """Compare the texts, then what is read; an image that cannot be read equals none but its own text."""
        if not isinstance(other, LazyImage):
            return False
        if self.text == other.text:
            return True
        try:
            return bool(self.read() == other.read())
        except WireFaultError:
            return False

    __hash__ = None  # type: ignore[assignment] # what is compared by content and holds maps has no hash


def opened(image: Any) -> Any:
    """Return an image as it is, read if it is still text. Raises WireFaultError as `LazyImage.read` does."""
    return image.read() if type(image) is LazyImage else image
