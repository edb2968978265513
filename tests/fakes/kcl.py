"""KCL's side of one shard, without Java: a checkpointer that answers as told, and lines as the adapter spells them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from lockside.engines.kcl.checkpointer import Saved


@dataclass
class FakeCheckpointer:
    """Keeps what is saved; answers `saves` and `ends` in turn, and then that it is done."""

    saves: list[Saved] = field(default_factory=list)
    ends: list[Saved] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    finished: int = 0

    def save(self, position: int) -> Saved:
        """Save a position."""
        answer = self.saves.pop(0) if self.saves else Saved.DONE
        if answer is Saved.DONE:
            self.saved.append(position)
        return answer

    def finish(self) -> Saved:
        """Mark the end."""
        answer = self.ends.pop(0) if self.ends else Saved.DONE
        self.finished += answer is Saved.DONE
        return answer


def lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Spell records of GetRecords as KCL hands them over: milliseconds, and members of an identity in lower case."""
    return b"\n".join(orjson.dumps(_spelled(record)) for record in records)


def _spelled(record: Mapping[str, Any]) -> dict[str, Any]:
    body = dict(record["dynamodb"])
    created = body.get("ApproximateCreationDateTime")
    if created is not None:
        seconds = created if isinstance(created, int | float) else created.timestamp()
        body["ApproximateCreationDateTime"] = round(seconds * 1000)
    spelled = {**record, "dynamodb": body}
    identity = record.get("userIdentity")
    if identity:
        spelled["userIdentity"] = {name[0].lower() + name[1:]: value for name, value in identity.items()}
    return spelled
