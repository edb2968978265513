"""From an event to the bytes that are kept: RFC 8785 JSON of a CloudEvents 1.0 event.

Nothing here depends on a clock, a host, a batch or what came before (law 2).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """The record of one event of one change.

    `pk` is `E#` and the entity id. `sort` is `<stream label>#<sequence number, padded 40>#<ordinal>`; the writer adds
    the log's epoch. `actor` is the actor as the record spells it, None where there is none to index. `body` is hashed.
    """

    pk: str
    sort: str
    id: str
    type: str
    time_ms: int
    position: int
    actor: str | None
    body: bytes
