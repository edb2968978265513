"""What a log begins with: the recipe of its records, and the sealed log it goes on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import rfc8785

from lockside.audit.items import LOST, genesis_key
from lockside.core.log import LogHead
from lockside.core.ports import StartMode
from lockside.core.recipe import Source, recipe_digest, recipe_json

RECIPE: Final = "recipe"
DIGEST: Final = "digest"
START: Final = "start"
PREVIOUS: Final = "previous"
SINCE: Final = "since"
CREATED: Final = "created_ms"

RECIPE_DIGITS: Final = 16
"""Hex digits of a recipe's digest that name it for people."""


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
    """The first item of a log. `previous` is the sealed log it goes on from, with its final size and root.

    `lost` says after which position the stream lost changes, where that is why the log before was sealed. `since_ms` is
    the instant of a start at LATEST: no change of before it is in the log.

    `created_ms` tells people since when the recipe is in force. It stands beside the recipe and is no part of it: who
    writes the genesis first decides, and no record depends on it.
    """

    log: str
    intent: Intent
    created_ms: int
    previous: LogHead | None = None
    lost: str | None = None
    since_ms: int | None = None

    def first_head(self, epoch: int) -> LogHead:
        """Return the head of the empty log, which goes on from the sealed one's place and time."""
        if self.previous is None:
            return LogHead(self.log, epoch)
        sealed = self.previous
        return LogHead(self.log, epoch, last_position=sealed.last_position, running_max_ms=sealed.running_max_ms)

    def item(self) -> dict[str, Any]:
        """Return the genesis item."""
        item: dict[str, Any] = {
            **genesis_key(self.log),
            RECIPE: {"S": self.intent.recipe},
            DIGEST: {"S": self.intent.digest},
            START: {"S": self.intent.start},
            CREATED: {"N": str(self.created_ms)},
        }
        if self.previous is not None:
            item[PREVIOUS] = {
                "M": {
                    "log": {"S": self.previous.log},
                    "size": {"N": str(self.previous.size)},
                    "root": {"B": self.previous.root},
                }
            }
        if self.lost is not None:
            item[LOST] = {"S": self.lost}
        if self.since_ms is not None:
            item[SINCE] = {"N": str(self.since_ms)}
        return item


@dataclass(frozen=True, slots=True)
class InForce:
    """The recipe that a log is written by: the first of its digest, how it started, and since when (None: unknown)."""

    recipe: str
    start: str
    since_ms: int | None

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "InForce":
        """Read it from a stored genesis; an early one does not say since when."""
        since_ms = int(item[CREATED]["N"]) if CREATED in item else None
        return cls(item[DIGEST]["S"][:RECIPE_DIGITS], item[START]["S"], since_ms)


def intends(item: Mapping[str, Any], intent: Intent) -> bool:
    """Whether a stored genesis was written with this intent."""
    return bool(item[DIGEST]["S"] == intent.digest and item[START]["S"] == intent.start)
