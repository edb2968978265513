"""Sees what a lock client writes, as the server acknowledged it, and tells it: the library stays as it is published.

Strategy: boto3's own events carry each call's parameters and answer. The condition that python_dynamodb_lock puts on a
write says what the write is, whatever thread it came from.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lockside.emulators.clients.truth import Teller

OK: Final = 200
PARAMETERS: Final = "lockside_parameters"
"""Our own entry in the context botocore hands from one event of a call to the next."""


@dataclass(slots=True)
class Witness:
    """Tells every acknowledged write of one owner's client, and counts heartbeats."""

    teller: Teller
    owner: str
    lease_seconds: float
    _beats: dict[str, int] = field(default_factory=dict)
    _holders: dict[str, str] = field(default_factory=dict)
    _beaten: threading.Condition = field(default_factory=threading.Condition)

    def watch(self, client: Any) -> None:
        """Follow a boto3 client."""
        client.meta.events.register("provide-client-params.dynamodb", self._before)
        client.meta.events.register("after-call.dynamodb", self._after)

    def wait_beats(self, lock: str, count: int, seconds_max: float) -> None:
        """Wait for `count` more heartbeats of a lock, at most so long."""
        with self._beaten:
            goal = self._beats.get(lock, 0) + count
            self._beaten.wait_for(lambda: self._beats.get(lock, 0) >= goal, seconds_max)

    def _before(self, params: Mapping[str, Any], context: dict[str, Any], **_event: object) -> None:
        context[PARAMETERS] = params

    def _after(self, http_response: Any, parsed: Mapping[str, Any], model: Any, context: Any, **_event: object) -> None:
        if http_response.status_code != OK:
            return
        params = context[PARAMETERS]
        lock = (params.get("Item") or params.get("Key") or {}).get("lock_key", "")
        match model.name:
            case "GetItem":
                self._holders[lock] = parsed.get("Item", {}).get("owner_name", "")
            case "PutItem" if ":old_rvn" in params.get("ExpressionAttributeValues", {}):
                previous = self._holders.get(lock)
                self._tell("taken_over", lock, previous=previous, lease_s=self.lease_seconds)
            case "PutItem":
                self._tell("acquired", lock, lease_s=self.lease_seconds)
            case "UpdateItem":
                self._tell("renewed", lock, by="background")
                with self._beaten:
                    self._beats[lock] = self._beats.get(lock, 0) + 1
                    self._beaten.notify_all()
            case "DeleteItem":
                self._tell("released", lock, mode="delete")

    def _tell(self, step: str, lock: str, **facts: Any) -> None:
        self.teller.tell(step, lock=lock, owner=self.owner, **facts)
