"""What a log begins with: the recipe of its records, and the sealed log it goes on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import rfc8785

from lockside.audit.items import genesis_key
from lockside.core.log import LogHead
from lockside.core.ports import StartMode
from lockside.core.recipe import Source, recipe_digest, recipe_json

RECIPE: Final = "recipe"
DIGEST: Final = "digest"
START: Final = "start"
PREVIOUS: Final = "previous"


@dataclass(frozen=True, slots=True)
class Intent:
    """What a worker would write into a log: another intent than the stored one needs another log."""

    recipe: str
    digest: str
    start: str

    @classmethod
    def of(cls, sources: tuple[Source, ...], start: StartMode) -> "Intent":
        """Take the recipe of all sources on the log's stream."""
        document = recipe_json(sources)
        return cls(rfc8785.dumps(document).decode(), recipe_digest(document), start)


OBSERVED: Final = Intent("{}", recipe_digest({}), "OBSERVED")
"""The intent of an observer log, whose records are not made by a recipe."""


@dataclass(frozen=True, slots=True)
class Genesis:
    """The first item of a log. `previous` is the sealed log it goes on from, with its final size and root."""

    log: str
    intent: Intent
    previous: LogHead | None = None

    def first_head(self, epoch: int) -> LogHead:
        """Return the head of the empty log: what the sealed log covers is not recorded again."""
        return LogHead(self.log, epoch, last_position=self.previous.last_position if self.previous else None)

    def item(self) -> dict[str, Any]:
        """Return the genesis item."""
        item: dict[str, Any] = {
            **genesis_key(self.log),
            RECIPE: {"S": self.intent.recipe},
            DIGEST: {"S": self.intent.digest},
            START: {"S": self.intent.start},
        }
        if self.previous is not None:
            item[PREVIOUS] = {
                "M": {
                    "log": {"S": self.previous.log},
                    "size": {"N": str(self.previous.size)},
                    "root": {"B": self.previous.root},
                }
            }
        return item


def intends(item: Mapping[str, Any], intent: Intent) -> bool:
    """Whether a stored genesis was written with this intent."""
    return bool(item[DIGEST]["S"] == intent.digest and item[START]["S"] == intent.start)
