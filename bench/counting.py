"""Counts a client's calls and the write units they cost."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

WRITES = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems", "BatchExecuteStatement")


@dataclass
class Bill:
    """Calls by operation, and write units: table and indexes, as the service itself counts them."""

    calls: Counter[str] = field(default_factory=Counter)
    units: float = 0.0

    def watch(self, client: Any) -> None:
        """Count what a client does from now on."""
        for operation in WRITES:
            # First, so that a body that is written ahead holds the question too.
            client.meta.events.register_first(f"provide-client-params.dynamodb.{operation}", _ask)
        client.meta.events.register("after-call.dynamodb", self._note)

    def _note(self, parsed: Any, model: Any, **_: Any) -> None:
        self.calls[model.name] += 1
        capacity = parsed.get("ConsumedCapacity") or []
        for one in capacity if isinstance(capacity, list) else [capacity]:
            if model.name in WRITES:
                self.units += one["CapacityUnits"]


def _ask(params: Any, **_: Any) -> None:
    params["ReturnConsumedCapacity"] = "TOTAL"
